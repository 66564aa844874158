"""Log lines as `time level event key=value …`, to standard error or to a file.

Logging never raises once it is set up, and it never blocks. Callers never pass passwords, tokens or message
bodies.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
#: Seconds between attempts to use a log file again after a failure.
_RETRY = 1.0
#: Bytes that a writable pipe takes without blocking (pipe(7)).
_PIPE_BUF = select.PIPE_BUF
_STDERR = 2
_logger = logging.getLogger("forkchat")


class _Handler(logging.Handler):
    """Handler that writes each line at once to the file `path`, or to standard error without a path.

    The handler follows the path: after a rename or a removal, the next line goes to a new file. If the path
    cannot be opened, lines go to the old file. If the old file cannot be written either, lines go to standard
    error. The handler reports this once on standard error, and retries every `_RETRY` seconds. Several
    processes append to one file.
    """

    def __init__(self, path: str | None, prepare: Callable[[str], object]):
        """Open the file. Raises OSError if it cannot be opened."""
        super().__init__()
        self._path = path
        self._prepare = prepare
        self._fd = _STDERR if path is None else self._open(path)
        self._is_torn = False  # the file ends in the middle of a line of ours
        self._is_lost = False  # the file cannot be written
        self._trouble: OSError | None = None
        self._retry_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            line = f"{self.format(record)}\n"
            if self._path is None:
                say(line)
            else:
                self._to_file(line, self._path)

    def follow(self) -> None:
        with suppress(Exception):
            if self._path is not None:
                self._to_file("", self._path)

    def reopen(self) -> None:
        """Open the path again at the next line, even if this failed a moment ago (SIGUSR1)."""
        self._retry_at = 0.0

    def close(self) -> None:
        if self._fd != _STDERR:
            os.close(self._fd)
            self._fd = _STDERR
        super().close()

    def _to_file(self, line: str, path: str) -> None:
        now = time.monotonic()
        before, was_lost, is_due = self._trouble, self._is_lost, now >= self._retry_at
        if is_due:
            self._trouble = self._follow(path)
            self._is_lost = False
        if not self._is_lost:
            try:
                self._append(line)
            except OSError as error:
                self._trouble, self._is_lost = error, True
        if is_due:
            self._retry_at = now + _RETRY if self._trouble else 0.0
        if self._trouble and not (before and was_lost == self._is_lost):
            goes_on = "on standard error" if self._is_lost else "in the old file"
            self._note("log.trouble", file=path, why=self._trouble.strerror, goes_on=goes_on)
        elif before and not self._trouble:
            self._note("log.mended", file=path)
        if self._is_lost:
            say(line)

    def _follow(self, path: str) -> OSError | None:
        """Open the path again if it names another file than the open one. Return the error if that fails."""
        with suppress(OSError):
            if not self._is_lost and os.path.samestat(os.stat(path), os.fstat(self._fd)):
                return None
        try:
            fd = self._open(path)
        except OSError as error:
            return error
        os.close(self._fd)
        self._fd = fd
        return None

    def _open(self, path: str) -> int:
        self._prepare(path)
        # A FIFO without a reader fails here at once. A full FIFO fails when it is written.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        return os.open(path, flags, 0o644)

    def _append(self, line: str) -> None:
        """Write the whole line, in one write unless the disk fills up within the line."""
        rest = _encode(f"\n{line}" if self._is_torn else line)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
            self._is_torn = bool(rest)

    def _note(self, event: str, **fields: Any) -> None:
        say(f"{self.format(_record(logging.WARNING, event, fields))}\n")


def _encode(text: str) -> bytes:
    return text.encode(errors="backslashreplace")


def say(text: str, fd: int = _STDERR) -> None:
    """Write to a standard stream. Drop what it cannot take now, because its reader may have stopped."""
    rest = _encode(text)
    with suppress(OSError):
        while rest and select.select([], [fd], [], 0)[1]:
            rest = rest[os.write(fd, rest[:_PIPE_BUF]) :]


def _nothing(_path: str) -> None:
    return


def setup(level: str, path: str | None, process: str, prepare: Callable[[str], object] = _nothing) -> None:
    """Log lines of `level` (one of LEVELS) and above to `path`, or to standard error if it is None.

    `process` ("master", "worker1", …) is on each line. `prepare(path)` is called before each opening of the
    file, and may raise OSError. Raises OSError if the file cannot be opened.
    """
    handler = _Handler(path, prepare)
    for old in list(_logger.handlers):
        _logger.removeHandler(old)
        old.close()
    _logger.addHandler(handler)
    _logger.propagate = False
    set_process(process)
    set_level(level)


def set_process(process: str) -> None:
    """Set the name of the process on each line from now on. A forked child calls this."""
    text = f"%(asctime)s.%(msecs)03d %(levelname)s {process} %(message)s"
    for handler in _logger.handlers:
        handler.setFormatter(logging.Formatter(text, "%Y-%m-%dT%H:%M:%S"))


def follow() -> None:
    """Check whether the file was renamed or removed, as every log line does.

    A process calls this if it seldom logs, and if only this process may make the new file.
    """
    for handler in _logger.handlers:
        if isinstance(handler, _Handler):
            handler.follow()


def reopen() -> None:
    """Use the file that has the log's name now (SIGUSR1). If there is none, it is made."""
    for handler in _logger.handlers:
        if isinstance(handler, _Handler):
            handler.reopen()
    _logger.handle(_record(logging.INFO, "log.reopen", {}))  # at any level, because the line opens the file


def _record(level: int, event: str, fields: dict[str, Any]) -> logging.LogRecord:
    return _logger.makeRecord("forkchat", level, "", 0, "%s", (_line(event, fields),), None)


def set_level(level: str) -> None:
    _logger.setLevel(level.upper())


def _line(event: str, fields: dict[str, Any]) -> str:
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: Any) -> str:
    """Return one word. A text with blanks, quotes, `=` or unprintable characters is quoted and escaped."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if text and text.isprintable() and not any(c in text for c in ' "='):
        return text
    return '"' + "".join(_escape(c) for c in text) + '"'


def _escape(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()


def debug(event: str, **fields: Any) -> None:
    if _logger.isEnabledFor(logging.DEBUG):
        _logger.debug("%s", _line(event, fields))


def info(event: str, **fields: Any) -> None:
    _logger.info("%s", _line(event, fields))


def warning(event: str, **fields: Any) -> None:
    _logger.warning("%s", _line(event, fields))


def error(event: str, **fields: Any) -> None:
    _logger.error("%s", _line(event, fields))


def exception(event: str, error: BaseException, **fields: Any) -> None:
    """Log a fault of the server, with its trace."""
    _logger.error("%s", _line(event, fields), exc_info=error)
