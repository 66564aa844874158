"""Reading: scrolling, searching, going from one conversation to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.mouse_events import MouseEventType

from client.i18n import _
from client.screen import panes
from client.screen.completion import titles
from client.screen.conversations import Conversation, Key
from client.screen.rows import Row

if TYPE_CHECKING:
    from client.screen.app import App

_END = 1 << 60
_WHEEL = {MouseEventType.SCROLL_UP: 3, MouseEventType.SCROLL_DOWN: -3}


class Reader:
    def __init__(self, app: App):
        self._app = app
        self._size = 80, 24
        self._found = _END  # the message that was found last
        self._before: tuple[Conversation, tuple[Key, int] | None] | None = None  # where a search began

    def draw(self, width: int, height: int) -> list[Row]:
        """The rows of the current conversation. What is missing near them is fetched, what is seen read."""
        desk = self._app.desk
        self._size = width, height
        rows, gaps = desk.transcript.draw(desk.current, width, height)
        if gaps and desk.current.conv:
            desk.fetch(desk.current, gaps[0])
        if desk.current.bottom is None and desk.read():
            self._app.draw_soon()  # the list was drawn before
        return rows

    # --- from one conversation to another -----------------------------------------------------------

    def step(self, by: int) -> None:
        listed = self._app.desk.conversations.listed()
        self._app.open(listed[(listed.index(self._app.conv) + by) % len(listed)])

    def go_to(self, number: int) -> None:
        listed = self._app.desk.conversations.listed()
        if number < len(listed):
            self._app.open(listed[number])

    def go_back(self) -> None:
        self._app.open(self._app.desk.conversations.previous)

    def next_unread(self) -> None:
        conv = self._app.desk.conversations.next_unread()
        if conv is None:
            self._app.tell(_("nothing is unread elsewhere"))
        else:
            self._app.open(conv)

    def ask_where(self) -> None:
        question = self._app.composer.question
        if question.is_open:
            return
        conversations, directory = self._app.desk.conversations, self._app.directory
        found = {directory.title(conv) if conv else "forkchat": conv for conv in conversations.listed()}
        completer = titles(found, lambda conv: conversations[conv].unread)

        def go_to(chosen: str | None) -> None:
            if chosen in found:
                self._app.open(found[chosen])

        question.ask(_("go to: "), go_to, completer=completer)

    # --- in one conversation ------------------------------------------------------------------------

    def page(self, up: int) -> None:
        self._scroll(up * max(1, self._size[1] - 2))

    def bottom(self) -> None:
        self.end_search()
        self._app.desk.current.bottom = None
        self._app.draw_soon()

    def first_unread(self) -> None:
        chat = self._app.desk.current
        if chat.divider is None:
            self._app.tell(_("everything here was read"))
        else:
            self.show(chat.divider + 1)

    def show_last(self, number: int) -> None:
        """Go that many messages back from the end."""
        stand = self._app.desk.current.stand
        if stand.conv:
            self.show(max(stand.first, 1, stand.last - number + 1))

    def show(self, seq: int) -> None:
        self._app.desk.transcript.show(self._app.desk.current, seq, self._size[1])
        self._app.draw_soon()

    def _scroll(self, rows: int) -> None:
        desk = self._app.desk
        desk.transcript.scroll(desk.current, *self._size, rows)
        self._app.draw_soon()

    # --- searching, from the latest match to earlier ones, in what is on this machine ---------------

    @property
    def is_searching(self) -> bool:
        return bool(self._app.desk.transcript.query)

    def search(self) -> None:
        """Begin, or go on to an earlier one."""
        if self.is_searching:
            self._find_before(self._found)
        elif self._app.conv and not self._app.composer.question.is_open:
            self._before = self._app.desk.current, self._app.desk.current.bottom
            self._app.composer.question.ask(_("search: "), self._searched, on_text=self.find)

    def find(self, text: str) -> bool:
        """The latest message that has the text in it; whether there is one."""
        self._app.desk.transcript.query = text
        return self._find_before(_END)

    def end_search(self, is_cancelled: bool = False) -> None:
        """Nothing is marked any more; back to where it began when it is cancelled."""
        self._app.desk.transcript.query = ""
        if is_cancelled and self._before:
            chat, bottom = self._before
            chat.bottom = bottom
        self._before = None
        self._app.draw_soon()

    def _searched(self, text: str | None) -> None:
        if text is None:
            self.end_search(is_cancelled=True)

    def _find_before(self, seq: int) -> bool:
        desk = self._app.desk
        query = desk.transcript.query
        found = desk.history.find(desk.current.conv, query, seq) if query else []
        if found:
            self._found = found[0].seq
            self.show(self._found)
        is_done = bool(found) or not query
        label = _("search: ") if is_done else _("search, nothing further: ")
        self._app.composer.question.relabel(label)
        self._app.draw_soon()
        return is_done

    # --- the mouse ----------------------------------------------------------------------------------

    def on_wheel(self, _row: int, _height: int, kind: MouseEventType) -> None:
        if kind in _WHEEL:
            self._scroll(_WHEEL[kind])

    def on_click(self, row: int, height: int, kind: MouseEventType) -> None:
        if kind == MouseEventType.MOUSE_UP:
            self.go_to(panes.list_start(self._app, height) + row)
