"""The plain view: messages without columns or colours, to be selected and copied."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from prompt_toolkit.application import in_terminal

from client.i18n import _
from client.text import clean, rows, shown_name, spoken

if TYPE_CHECKING:
    from client.screen.app import App

#: Messages that the plain view shows, at most.
#: Bytes to read of the line that ends it.
_MESSAGES, _LINE = 200, 4096


class Bare:
    """The plain view, which Enter or `end` closes.

    No thread waits for Enter, because nothing could wake that thread.
    """

    def __init__(self, app: App):
        self._app = app
        self._left: asyncio.Future[None] | None = None

    @property
    def is_shown(self) -> bool:
        return self._left is not None

    def show(self) -> None:
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
            self._app.start(self._show(self._left))

    def end(self) -> None:
        if self._left and not self._left.done():
            self._left.set_result(None)

    async def _show(self, left: asyncio.Future[None]) -> None:
        try:
            async with in_terminal():
                self._print()
                loop = asyncio.get_running_loop()
                loop.add_reader(sys.stdin, self._read)
                try:
                    await left
                finally:
                    loop.remove_reader(sys.stdin)
                    print()  # the next plain view begins on a new line
        finally:
            self._left = None

    def _print(self) -> None:
        """Print the messages, with continuation lines marked, because one could pass for another message."""
        for message in self._app.desk.transcript.seen(self._app.desk.current, _MESSAGES):
            for row in rows(spoken(shown_name(message.name), clean(message.text))):
                print(row)
        print(_("-- Enter goes back "), end="", flush=True)

    def _read(self) -> None:
        """Read one line and end the view. In this mode the terminal delivers whole lines."""
        with suppress(OSError):
            os.read(sys.stdin.fileno(), _LINE)
        self.end()
