"""Standard input, output and error of scripts, as lines, for any state of the streams."""

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
#: Seconds between two checks that standard output still has a reader.
_LOOK_TIME = 0.5
#: Seconds that a complaint waits for a stalled reader of standard error.
_COMPLAINT_TIME = 1.0


def open_closed() -> None:
    """Open /dev/null for closed standard streams, because the next opened files would take their place.

    The device is opened for reading, so that an input is at its end and an output fails.
    """
    for fd in (_IN, _OUT, _ERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # gets the lowest free descriptor, which is `fd`


class Input:
    """Standard input, line by line, read no further than asked for."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)  # lines that the reader may hand over
        self._reader: threading.Thread | None = None

    async def line(self) -> str:
        """Return the next line. Raises EOFError at the end, UsageError if standard input cannot be read."""
        if self._reader is None:
            # A thread, because asyncio cannot wait for a file.
            # A daemon, because its read cannot be interrupted.
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
        """Return all remaining lines. Raises UsageError if standard input cannot be read."""
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
    """Yield the lines of standard input, then b"" at its end, or the error if it cannot be read."""
    try:
        # Another program may have made it non-blocking, which a read would take for the end.
        os.set_blocking(_IN, True)
        # Not sys.stdin, because the interpreter needs its lock at exit, which this read would hold.
        with open(_IN, "rb", closefd=False) as stream:
            yield from stream
    except OSError as error:
        yield error
    else:
        yield b""


class Output:
    """Standard output. `failure`: the error that made it unusable.

    `on_failure` is called with that error. Later writes are dropped.
    """

    def __init__(self, on_failure: Callable[[OSError], None] = lambda error: None):
        self.failure: OSError | None = None
        self._on_failure = on_failure
        self._encoding = (sys.stdout and sys.stdout.encoding) or "utf-8"

    def write(self, row: str) -> None:
        # Not by sys.stdout, because it would keep unwritten data and write it at exit.
        rest = f"{row}\n".encode(self._encoding, "replace") if self.failure is None else b""
        try:
            while rest:
                try:
                    rest = rest[os.write(_OUT, rest) :]
                except BlockingIOError:  # another program has made it non-blocking
                    select.select([], [_OUT], [])
        except OSError as error:
            self.failure = error
            self._on_failure(error)

    async def unread(self) -> None:
        """Wait until standard output has no reader. A failed write would tell that too late."""
        poll = select.poll()
        poll.register(_OUT, 0)  # only errors and hang-ups
        while self.failure or not poll.poll(0):
            await asyncio.sleep(_LOOK_TIME)

    def exit_code(self, code: int) -> int:
        """Return the exit code of a script that would end with `code` if its output had not failed."""
        if self.failure is None:
            return code
        if isinstance(self.failure, BrokenPipeError):
            return 128 + signal.SIGPIPE
        reason = self.failure.strerror
        complain("chatcli: " + _("standard output cannot be written: {reason}").format(reason=reason))
        return code or USAGE


class _Complaints:
    """Standard error. Output that it does not take is dropped, so that the script's work goes on."""

    def __init__(self) -> None:
        self._patience = _COMPLAINT_TIME

    def write(self, row: str) -> None:
        rest = f"{row}\n".encode((sys.stderr and sys.stderr.encoding) or "utf-8", "replace")
        with suppress(OSError):
            while rest:
                # A writable pipe takes PIPE_BUF bytes without blocking.
                if not select.select([], [_ERR], [], self._patience)[1]:
                    self._patience = 0.0  # until its reader resumes
                    return
                rest = rest[os.write(_ERR, rest[: select.PIPE_BUF]) :]
            self._patience = _COMPLAINT_TIME


complain = _Complaints().write
