"""Standard input and output for scripts: lines, one after the other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress
from itertools import chain

from client.i18n import _


class Input:
    """Standard input, line by line, read no further than asked for."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)  # lines that the reader may hand over
        self._reader: threading.Thread | None = None

    async def line(self) -> str:
        """Raises EOFError at the end."""
        if self._reader is None:
            # A thread, because a file cannot be waited for; a daemon, because its read cannot be ended.
            loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, args=(loop,), daemon=True)
            self._reader.start()
        self._wanted.release()
        line = await self._lines.get()
        if not line:
            raise EOFError
        return line.decode(errors="replace").rstrip("\r\n")

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not sys.stdin: at its end the interpreter wants the lock that our read would hold.
        with open(0, "rb", closefd=False) as stream, suppress(RuntimeError, OSError):  # the loop has ended
            for line in chain(stream, [b""]):
                self._wanted.acquire()
                loop.call_soon_threadsafe(self._lines.put_nowait, line)


def write(row: str) -> None:
    """To standard output. When it takes no more the process ends: as if by the signal if nobody reads."""
    try:
        print(row, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + signal.SIGPIPE) from None
        text = _("standard output cannot be written: {reason}").format(reason=error.strerror)
        raise SystemExit(f"chatcli: {text}") from None


def complain(row: str) -> None:
    """To standard error."""
    print(row, file=sys.stderr, flush=True)
