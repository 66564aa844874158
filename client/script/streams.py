"""Standard input, output and error of scripts: lines, whatever state the streams are in."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from client.commands.shell import UsageError
from client.i18n import _
from client.script.codes import USAGE

_IN, _OUT, _ERR = 0, 1, 2
#: Seconds between two looks whether standard output is still read.
_LOOK_TIME = 0.5
#: Seconds that a complaint waits for a reader of standard error that stands still.
_COMPLAINT_TIME = 1.0


def open_closed() -> None:
    """Open /dev/null for standard streams that are closed: else the next files opened take their place.

    It is opened for reading: an input is at its end, an output fails.
    """
    for fd in (_IN, _OUT, _ERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # it gets the lowest number that is free


class Input:
    """Standard input, line by line, read no further than asked for."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)  # lines that the reader may hand over
        self._reader: threading.Thread | None = None

    async def line(self) -> str:
        """Raises EOFError at the end, UsageError if it cannot be read."""
        if self._reader is None:
            # A thread, because a file cannot be waited for; a daemon, because its read cannot be ended.
            loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, args=(loop,), daemon=True)
            self._reader.start()
        self._wanted.release()
        line = await self._lines.get()
        if isinstance(line, OSError):
            raise UsageError(_("standard input cannot be read: {reason}").format(reason=line.strerror))
        if not line:
            raise EOFError
        return line.decode(errors="replace").rstrip("\r\n")

    async def rest(self) -> str:
        """All lines that are left. Raises UsageError."""
        lines = []
        with suppress(EOFError):
            while True:
                lines.append(await self.line())
        return "\n".join(lines)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop has ended
            for line in _lines():
                self._wanted.acquire()
                loop.call_soon_threadsafe(self._lines.put_nowait, line)


def _lines() -> Iterator[bytes | OSError]:
    """The lines of standard input, then b"" for its end, or why it cannot be read."""
    try:
        os.set_blocking(_IN, True)  # another program may have changed it; a read would take that for the end
        # Not sys.stdin: at its end the interpreter wants the lock that our read would hold.
        with open(_IN, "rb", closefd=False) as stream:
            yield from stream
    except OSError as error:
        yield error
    else:
        yield b""


class Output:
    """Standard output. `failure`: why it takes no more. What is written then is dropped; `on_failure` is
    called before."""

    def __init__(self, on_failure: Callable[[OSError], None] = lambda error: None):
        self.failure: OSError | None = None
        self._on_failure = on_failure
        self._encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"

    def write(self, row: str) -> None:
        # Not by sys.stdout, which would keep what it could not write, and write it at the exit.
        rest = f"{row}\n".encode(self._encoding, "replace") if self.failure is None else b""
        try:
            while rest:
                try:
                    rest = rest[os.write(_OUT, rest) :]
                except BlockingIOError:  # another program has made it so
                    select.select([], [_OUT], [])
        except OSError as error:
            self.failure = error
            self._on_failure(error)

    async def unread(self) -> None:
        """Returns when nobody reads it any more: a write would tell that too late."""
        poll = select.poll()
        poll.register(_OUT, 0)  # for errors and hang-ups alone
        while self.failure or not poll.poll(0):
            await asyncio.sleep(_LOOK_TIME)

    def exit_code(self, code: int) -> int:
        """That of a script that would have ended with `code`."""
        if self.failure is None:
            return code
        if isinstance(self.failure, BrokenPipeError):
            return 128 + signal.SIGPIPE
        reason = self.failure.strerror
        complain("chatcli: " + _("standard output cannot be written: {reason}").format(reason=reason))
        return code or USAGE


class _Complaints:
    """Standard error. What it does not take is dropped: the script's work goes on."""

    def __init__(self) -> None:
        self._patience = _COMPLAINT_TIME

    def write(self, row: str) -> None:
        rest = f"{row}\n".encode((sys.stderr and sys.stderr.encoding) or "utf-8", "replace")
        with suppress(OSError):
            while rest:
                # A pipe that is writable takes PIPE_BUF bytes without blocking.
                if not select.select([], [_ERR], [], self._patience)[1]:
                    self._patience = 0.0  # until its reader goes on
                    return
                rest = rest[os.write(_ERR, rest[: select.PIPE_BUF]) :]
            self._patience = _COMPLAINT_TIME


complain = _Complaints().write
