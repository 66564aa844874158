"""The list of conversations. Unread ones are in sight, or are counted at the edge that hides them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prompt_toolkit.mouse_events import MouseEventType
from prompt_toolkit.utils import get_cwidth

from client.i18n import _
from client.screen.conversations import Conversations
from client.screen.plain import plainly
from client.screen.rows import Row, shortened
from forkchat.wire.conversation import parse_key

if TYPE_CHECKING:
    from client.screen.app import App

#: Rows that a list needs for counts in its first and last row, with the current conversation between them.
_COUNTS_FROM = 3


class Window(NamedTuple):
    """The part of the list on the screen.

    `above` and `below` are the unread conversations out of sight, the nearest first. If there are any, a
    count of them takes the first or the last row.
    """

    shown: list[str]
    above: list[str]
    below: list[str]

    def at(self, row: int) -> str | None:
        """Return the conversation to which a click on that row leads, None below the list."""
        if self.above and row == 0:
            return self.above[0]
        if self.below and row == len(self.shown) - 1:
            return self.below[0]
        return self.shown[row] if row < len(self.shown) else None


def window(conversations: Conversations, height: int) -> Window:
    """Return the part of the list around the current conversation that has `height` rows at most."""
    listed, is_news = conversations.listed(), conversations.is_news
    at = listed.index(conversations.current)
    start = max(0, min(at - height // 2, len(listed) - height))
    end = start + height
    above: list[str] = []
    below: list[str] = []
    if height >= _COUNTS_FROM:
        # The row of a count hides a conversation, which is counted too.
        if any(map(is_news, listed[:start])):
            above = [conv for conv in reversed(listed[: start + 1]) if is_news(conv)]
        if any(map(is_news, listed[end:])):
            below = [conv for conv in listed[end - 1 :] if is_news(conv)]
    return Window(listed[start:end], above, below)


class Listing:
    def __init__(self, app: App):
        self._app = app

    def draw(self, width: int, height: int) -> list[Row]:
        seen = window(self._app.desk.conversations, height)
        number = {conv: at for at, conv in enumerate(self._app.desk.conversations.listed())}
        rows = [self._entry(number[conv], conv, width) for conv in seen.shown]
        if seen.above:
            rows[0] = self._count("▲", seen.above, width)
        if seen.below:
            rows[-1] = self._count("▼", seen.below, width)
        return rows + [[]] * (height - len(rows))

    def on_click(self, row: int, height: int, kind: MouseEventType) -> None:
        conv = window(self._app.desk.conversations, height).at(row)
        if kind == MouseEventType.MOUSE_UP and conv is not None:
            self._app.go_to(conv)

    def _count(self, arrow: str, unread: list[str], width: int) -> Row:
        is_urgent = any(map(self._app.desk.conversations.is_urgent, unread))
        text = shortened(f"  {arrow} " + _("{number} unread").format(number=len(unread)), width)
        return [("class:list.urgent" if is_urgent else "class:list.unread", text)]

    def _entry(self, number: int, conv: str, width: int) -> Row:
        app = self._app
        chat = app.desk.conversations[conv]
        name = plainly(app.directory.title(conv)) if conv else "forkchat"
        head = f"{number} " if 0 < number < 10 else "  "
        style, state = "", " "
        if conv and not parse_key(conv).group:
            friend = app.directory.friends.get(app.other(conv))
            is_online = bool(friend and friend.state == "online")
            state = "●" if is_online else "○" if friend and friend.state else " "
            style = "" if is_online else "class:list.offline"
        if app.desk.conversations.is_news(conv):
            style = "class:list.urgent" if app.desk.conversations.is_urgent(conv) else "class:list.unread"
        tail = f" {min(chat.unread, 999)}" if conv and chat.unread else ""
        if conv in app.desk.journal.drafts and conv != app.conv:
            tail = " ✎" + tail
        room = width - len(head) - 2 - get_cwidth(tail)
        name = shortened(name, room)
        text = f"{head}{state} {name}{' ' * (room - get_cwidth(name))}{tail}"
        return [("class:list.current" if conv == app.conv else style, text)]
