"""Reading: scrolling in a conversation, and going from one to another."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from prompt_toolkit.mouse_events import MouseEventType

from client.i18n import _
from client.screen.completion import Titles
from client.screen.rows import Row
from client.screen.search import Search

if TYPE_CHECKING:
    from client.screen.app import App

_WHEEL = {MouseEventType.SCROLL_UP: 3, MouseEventType.SCROLL_DOWN: -3}


class Reader:
    def __init__(self, app: App):
        self._app = app
        self._size = 80, 24
        self.search: Search = Search(app)
        self._owed: deque[int] = deque()  # rows to scroll by, after the messages there are read
        self._shows = 0  # calls of `show` that are still loading

    def draw(self, width: int, height: int) -> list[Row]:
        """Return the rows of the current conversation. Fetch missing messages near them.

        Mark the conversation as read if its end is visible.
        """
        desk = self._app.desk
        self._size = width, height
        self._scroll_on()
        rows, gaps = desk.transcript.draw(desk.current, width, height)
        if gaps and desk.current.conv:
            desk.fetching.fetch(desk.current, gaps[0])
        if desk.current.bottom is None and desk.window.has_end:
            desk.current.missed = ""
            if desk.read():
                self._app.draw_soon()  # the list was drawn before
        return self._app.hyperlinks.numbered(rows)

    # --- from one conversation to another -----------------------------------------------------------

    def step(self, by: int) -> None:
        listed = self._app.desk.conversations.listed()
        self._app.go_to(listed[(listed.index(self._app.conv) + by) % len(listed)])

    def go_to(self, number: int) -> None:
        listed = self._app.desk.conversations.listed()
        if number < len(listed):
            self._app.go_to(listed[number])

    def go_back(self) -> None:
        self._app.go_to(self._app.desk.conversations.back())

    def next_unread(self) -> None:
        conv = self._app.desk.conversations.next_unread()
        if conv is not None:
            self._app.go_to(conv)
        elif self._app.desk.current.unread:
            self.bottom()
        else:
            self._app.tell(_("nothing is unread elsewhere"))

    def ask_where(self) -> None:
        question = self._app.composer.question
        if question.is_open:
            return
        conversations, directory = self._app.desk.conversations, self._app.directory

        def places() -> dict[str, str]:
            return {directory.title(conv) if conv else "forkchat": conv for conv in conversations.listed()}

        completer = Titles(places(), lambda conv: conversations[conv].unread)

        def go_to(chosen: str | None) -> None:
            found = places()  # again, because another database has other keys
            if chosen in found:
                self._app.go_to(found[chosen])
            elif chosen:
                self._app.complain(_("no conversation has that in its name: {text}").format(text=chosen))

        question.ask(_("go to: "), go_to, completer=completer)

    # --- in one conversation ------------------------------------------------------------------------

    def page(self, up: int) -> None:
        self._scroll(up * max(1, self._size[1] - 2))

    def bottom(self) -> None:
        self.leave()
        self._app.desk.current.bottom = None
        self._app.draw_soon()

    def first_unread(self) -> None:
        chat = self._app.desk.current
        if chat.divider is None:
            self._app.tell(_("everything here was read"))
        else:
            self._app.start(self.show(chat.divider + 1))

    def show_last(self, number: int) -> None:
        """Go `number` messages back from the end."""
        stand = self._app.desk.current.stand
        if stand.conv:
            self._app.start(self.show(max(stand.first, 1, stand.last - number + 1)))

    async def show(self, seq: int) -> None:
        """Load message `seq`, and bring it to the middle of the screen."""
        desk, chat = self._app.desk, self._app.desk.current
        self._shows += 1
        try:
            await desk.window.load(chat.conv, seq)
        finally:
            self._shows -= 1
        if chat is desk.current:
            desk.transcript.show(chat, seq, self._size[1])
            self._app.draw_soon()

    def leave(self) -> None:
        """End the search and drop pending scrolling, because the user leaves this place."""
        self.search.end()
        self._owed.clear()

    def _scroll(self, rows: int) -> None:
        self._owed.append(rows)
        self._scroll_on()
        self._app.draw_soon()

    def _scroll_on(self) -> None:
        desk = self._app.desk
        while self._owed and not self._shows:
            if not desk.transcript.scroll(desk.current, *self._size, self._owed[0]):
                break  # the next drawing goes on
            self._owed.popleft()

    # --- the mouse ----------------------------------------------------------------------------------

    def on_wheel(self, _row: int, _height: int, kind: MouseEventType) -> None:
        if kind in _WHEEL:
            self._scroll(_WHEEL[kind])
