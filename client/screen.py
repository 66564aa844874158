"""Where lines come from and go to: a terminal with a line editor, or plain pipes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from client.text import valid


class Interrupt(Exception):
    """The user has pressed Ctrl-C at a prompt.

    Not KeyboardInterrupt: out of a task that would end the event loop.
    """


class Screen(Protocol):
    """`patience`: seconds to wait for something to be done before the next line is read."""

    patience: float
    is_terminal: bool

    @property
    def width(self) -> int | None:
        """Columns; None: as long as it may be."""

    def write(self, row: str) -> None: ...

    def complain(self, row: str) -> None:
        """Write a row about something that went wrong."""

    async def line(self, prompt: str) -> str:
        """Raises EOFError at the end, Interrupt when the user presses Ctrl-C on an empty line."""

    async def secret(self, prompt: str) -> str:
        """What the user types without its being shown. Raises Interrupt; EOFError when there is nobody."""


class Terminal:
    """The line being typed stays below what is written meanwhile (prompt_toolkit's `patch_stdout`)."""

    patience = 1.0
    is_terminal = True

    def __init__(self, commands: Sequence[str]):
        keys = KeyBindings()
        keys.add("c-c")(_interrupt)
        self._session: PromptSession[str] = PromptSession(
            completer=WordCompleter(list(commands), sentence=True),
            complete_while_typing=False,
            key_bindings=keys,
            erase_when_done=True,  # what was typed comes back as a line of the conversation
        )

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    def write(self, row: str) -> None:
        print(row)

    complain = write

    async def line(self, prompt: str) -> str:
        return valid(await self._session.prompt_async(prompt, handle_sigint=False))

    async def secret(self, prompt: str) -> str:
        """A prompt of its own: the other's history must not have it."""
        session: PromptSession[str] = PromptSession(
            is_password=True, erase_when_done=True, interrupt_exception=Interrupt
        )
        return valid(await session.prompt_async(prompt, handle_sigint=False))


def _interrupt(event: KeyPressEvent) -> None:
    """Ctrl-C clears the line; on an empty one it is the caller's."""
    if event.current_buffer.text:
        event.current_buffer.reset()
    else:
        event.app.exit(exception=Interrupt)


class Pipes:
    """Lines from standard input; what goes wrong is told on standard error."""

    width = None
    patience = 30.0
    is_terminal = False

    def __init__(self) -> None:
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._wanted = threading.Semaphore(0)  # lines that the reader may hand over
        self._reader: threading.Thread | None = None

    def write(self, row: str) -> None:
        """When nobody reads any more the process ends, as if by the signal."""
        try:
            print(valid(row), flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
            raise SystemExit(128 + signal.SIGPIPE) from None

    def complain(self, row: str) -> None:
        print(valid(row), file=sys.stderr, flush=True)

    async def line(self, prompt: str) -> str:
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

    async def secret(self, prompt: str) -> str:
        raise EOFError

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not sys.stdin: at its end the interpreter wants the lock that our read would hold.
        with open(0, "rb", closefd=False) as stream, suppress(RuntimeError):  # the loop has ended
            for line in chain(stream, [b""]):
                self._wanted.acquire()
                loop.call_soon_threadsafe(self._lines.put_nowait, line)
