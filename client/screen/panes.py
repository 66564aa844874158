"""The parts of the screen, drawn: the list, the conversation, the line of its title, the status line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prompt_toolkit.data_structures import Point
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.controls import UIContent, UIControl
from prompt_toolkit.mouse_events import MouseEvent, MouseEventType
from prompt_toolkit.utils import get_cwidth

from client.i18n import _, ngettext
from client.screen.conversations import HOME
from client.screen.rows import Row, shortened
from client.text import clean_line, shown_name
from forkchat.wire.conversation import parse_key

if TYPE_CHECKING:
    from client.screen.app import App

#: Seconds without an answer after which the status line says so.
_SLOW = 1.0


class Pane(UIControl):
    """Rows from a function of width and height: no more are made than are seen. `on_mouse` gets the row, of
    how many there were in the last drawing, and what happened there.
    """

    def __init__(
        self, draw: Callable[[int, int], list[Row]], on_mouse: Callable[[int, int, MouseEventType], None]
    ):
        self._draw = draw
        self._on_mouse = on_mouse
        self._height = 0

    def create_content(self, width: int, height: int) -> UIContent:
        self._height = height
        rows = self._draw(width, height)
        rows = [[]] * (height - len(rows)) + rows
        return UIContent(
            get_line=lambda number: list(rows[number]),
            line_count=len(rows),
            cursor_position=Point(0, max(0, len(rows) - 1)),
            show_cursor=False,
        )

    def mouse_handler(self, mouse_event: MouseEvent) -> None:
        self._on_mouse(mouse_event.position.y, self._height, mouse_event.event_type)


def title(app: App) -> str:
    conv = app.conv
    if conv == HOME:
        return _("forkchat: F1 lists the keys, /help the commands")
    found = app.directory.title(conv)
    friend = None if parse_key(conv).group else app.directory.friends.get(app.other(conv))
    return f"{found}  {_(clean_line(friend.state))}" if friend and friend.state else found


def prompt(app: App) -> str:
    return (app.directory.title(app.conv) if app.conv else "") + "> "


def listing(app: App, width: int, height: int) -> list[Row]:
    """The conversations, as many as there is room for around the current one."""
    listed = app.desk.conversations.listed()
    start = list_start(app, height)
    rows = [_entry(app, number, conv, width) for number, conv in enumerate(listed) if number >= start]
    return rows[:height] + [[]] * (height - len(rows[:height]))


def list_start(app: App, height: int) -> int:
    """The number of the first conversation that is seen."""
    listed = app.desk.conversations.listed()
    at = listed.index(app.conv)
    return max(0, min(at - height // 2, len(listed) - height))


def _entry(app: App, number: int, conv: str, width: int) -> Row:
    chat = app.desk.conversations[conv]
    name = app.directory.title(conv) if conv else "forkchat"
    head = f"{number} " if 0 < number < 10 else "  "
    style, state = "", " "
    if conv and not parse_key(conv).group:
        friend = app.directory.friends.get(app.other(conv))
        is_online = bool(friend and friend.state == "online")
        state = "●" if is_online else "○" if friend and friend.state else " "
        style = "" if is_online else "class:list.offline"
    if conv and chat.unread:
        style = "class:list.urgent" if app.desk.conversations.is_urgent(conv) else "class:list.unread"
    tail = f" {min(chat.unread, 999)}" if conv and chat.unread else ""
    if conv in app.desk.journal.drafts and conv != app.conv:
        tail = " ✎" + tail
    room = width - len(head) - 2 - get_cwidth(tail)
    name = shortened(name, room)
    text = f"{head}{state} {name}{' ' * (room - get_cwidth(name))}{tail}"
    return [("class:list.current" if conv == app.conv else style, text)]


def status(app: App, width: int) -> StyleAndTextTuples:
    """Connection and lag, what waits, who types, what is below the screen."""
    session, client = app.client.session, app.client
    parts: list[tuple[str, str]] = []
    if session.is_ready and session.me:
        me = shown_name(app.directory.me[1])
        lag = client.lag
        text = f"{me} ● {lag * 1000:.0f} ms" if lag < _SLOW else f"{me} ● {lag:.1f} s"
        parts.append(("", text))
    elif app.retry_at is not None:
        seconds = max(0.0, app.retry_at - time.monotonic())
        text = _("offline: {reason}; next try in {seconds:.0f} s").format(
            reason=app.retry_reason or _("the connection is lost"), seconds=seconds
        )
        parts.append(("class:status.trouble", text))
    else:
        parts.append(("", _("connecting") if session.is_wanted else _("not logged in")))
    if waiting := len(app.desk.journal.unsent):
        parts.append(
            ("", ngettext("{number} not sent yet", "{number} not sent yet", waiting).format(number=waiting))
        )
    if app.desk.current.bottom is not None:
        parts.append(("", _("scrolled back, Alt+End returns")))
    elif typing := app.desk.typing(app.conv):
        parts.append(
            ("", ngettext("{names} types …", "{names} type …", len(typing)).format(names=", ".join(typing)))
        )
    if others := app.desk.conversations.unread_elsewhere():
        parts.append(
            ("", ngettext("{number} unread, Alt+a", "{number} unread, Alt+a", others).format(number=others))
        )
    found: StyleAndTextTuples = []
    left = width
    for number, (style, text) in enumerate(parts):
        text = shortened((" │ " if number else " ") + text, left)
        left -= get_cwidth(text)
        found.append((style, text))
    return found
