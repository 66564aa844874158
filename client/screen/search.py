"""The search in a conversation's messages on this machine, from the latest match to earlier ones."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from client.commands.shell import UsageError
from client.i18n import _
from client.screen.conversations import Conversation, Key
from client.screen.window import END

if TYPE_CHECKING:
    from client.screen.app import App

#: Seconds after which the progress of a search is shown.
_SLOW = 0.3


class Search:
    """A search, which goes on while its prompt is open. Its matches stay highlighted after that, until `end`.

    `percent`: how much of the messages a long search has looked through, None if there is none.
    """

    def __init__(self, app: App):
        self._app = app
        self.percent: int | None = None
        self._looking: asyncio.Task[None] | None = None
        self._steps = 0  # matches still to go back
        self._found = END  # number of the message found last
        self._is_asking = False
        self._offered = ""
        self._began: tuple[Conversation, tuple[Key, int] | None] | None = None

    @property
    def has_marks(self) -> bool:
        return bool(self._query)

    @property
    def _query(self) -> str:
        return self._app.desk.transcript.query

    def press(self) -> None:
        """Begin with the text that is highlighted already, or go on to an earlier match."""
        question = self._app.composer.question
        if self._is_asking:
            self._go_back()
        elif question.is_open:
            return
        elif not self._app.conv:
            self._app.complain(_("there is nothing to search here: go to a conversation first"))
        else:
            self._is_asking = True
            self._began = self._app.desk.current, self._app.desk.current.bottom
            self._offered = self._query
            question.ask(_("search: "), self._entered, on_text=self._typed, text=self._offered)
            self._go_back()

    async def find(self, text: str) -> bool:
        """Show the latest message that contains `text`; return whether there is one.

        Raises UsageError on the home page.
        """
        if not self._app.conv:
            raise UsageError(_("there is nothing to search here: go to a conversation first"))
        self._stop()
        self._found = END
        self._app.desk.transcript.query = text
        return await self._step()

    def end(self) -> None:
        """Stop searching and highlighting."""
        self._stop()
        self._app.desk.transcript.query = ""
        self._began = None
        self._found = END
        self._app.draw_soon()

    def _entered(self, text: str | None) -> None:
        """Close the prompt. Stay at the match, or go back to the start if the prompt was cancelled."""
        self._is_asking = False
        if text is None:
            if self._began:
                chat, bottom = self._began
                chat.bottom = bottom
            self.end()
        elif self._looking is None and self._found == END:
            self.end()

    def _typed(self, text: str) -> None:
        """Search for the typed text from the end. The first typed text replaces the one that was offered."""
        offered, self._offered = self._offered, ""
        typed = text.removeprefix(offered)
        if offered and typed not in ("", text):
            self._app.composer.question.buffer.text = typed  # which calls `_typed` again
            return
        self._stop()
        self._found = END
        self._app.desk.transcript.query = text
        self._app.composer.question.relabel(_("search: "))
        self._app.draw_soon()
        self._go_back()

    def _go_back(self) -> None:
        if self._query:
            self._steps += 1
            self._looking = self._looking or self._app.start(self._look())

    def _stop(self) -> None:
        if self._looking:
            self._looking.cancel()
        self._looking, self._steps, self.percent = None, 0, None

    async def _look(self) -> None:
        while self._steps and await self._step():
            self._steps -= 1
        is_done, self._steps, self._looking = not self._steps, 0, None
        label = _("search: ") if is_done else _("search, nothing further on this computer: ")
        if self._is_asking:
            self._app.composer.question.relabel(label)
        elif self._found == END:
            self.end()
        self._app.draw_soon()

    async def _step(self) -> bool:
        """Go to the next earlier match; return whether there is one."""
        app, chat = self._app, self._app.desk.current
        began, first, last = time.monotonic(), max(chat.stand.first, 1), chat.stand.last

        def tell(below: int) -> None:
            if time.monotonic() - began > _SLOW:
                self.percent = 100 * (last - below) // max(1, last - first + 1)
                app.draw_soon()

        try:
            found = await app.desk.history.find(chat.conv, self._query, self._found, tell)
        finally:
            self.percent = None
        if found and chat is app.desk.current:
            self._found = found.seq
            await app.reader.show(found.seq)
        return found is not None
