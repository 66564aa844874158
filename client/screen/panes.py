"""The parts of the screen, drawn: panes of rows, the title line, the prompt, and the status line."""

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
from client.protocol.session import State
from client.screen.conversations import HOME
from client.screen.plain import plainly
from client.screen.rows import Row, shortened
from client.text import clean_line, shown_name
from forkchat.wire.conversation import parse_key

if TYPE_CHECKING:
    from client.screen.app import App

#: Seconds of lag from which the status line gives it in seconds, not milliseconds.
_SLOW = 1.0


class Pane(UIControl):
    """A control whose rows come from a function of width and height, so that only visible rows are made.

    `on_mouse` gets the row, the number of rows in the last drawing, and the type of the mouse event.
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
    found = plainly(app.directory.title(conv))
    friend = None if parse_key(conv).group else app.directory.friends.get(app.other(conv))
    return f"{found}  {_(plainly(clean_line(friend.state)))}" if friend and friend.state else found


def prompt(app: App, width: int) -> str:
    """Return the prompt with the title, cut to a third of the width."""
    return (shortened(plainly(app.directory.title(app.conv)), width // 3) if app.conv else "") + "> "


def _connection(app: App) -> tuple[str, str]:
    session, lag = app.client.session, app.client.lag
    if session.is_ready and session.me:
        me = shown_name(app.directory.me[1])
        return "", f"{me} ● {lag * 1000:.0f} ms" if lag < _SLOW else f"{me} ● {lag:.1f} s"
    if session.is_wanted and app.retry_at is not None:
        seconds = app.retry_at - time.monotonic()
        reason = app.retry_reason or _("the connection is lost")
        text = (
            _("offline: {reason}; next try in {seconds:.0f} s")
            if seconds > 0
            else _("offline: {reason}; connecting")
        )
        return "class:status.trouble", text.format(reason=reason, seconds=seconds)
    if session.is_wanted or app.client.is_opening:
        return "", _("connecting")
    if app.is_replaced:
        return "class:status.trouble", _("you have logged in elsewhere: /takeover comes back here")
    return "", _("not logged in")  # also without a connection, which is made when it is needed


def _security(app: App) -> list[tuple[str, str]]:
    """Return how secure the current connection is. A connection to this machine needs no encryption."""
    if app.client.session.state is State.OFFLINE:
        return []
    if app.server.tls:
        return [("", "🔒")]
    return [("class:status.trouble", _("not encrypted"))] if app.client.is_exposed else []


def _below(app: App) -> list[tuple[str, str]]:
    """Return what is new below the screen while the user has scrolled back."""
    chat = app.desk.current
    text = _("scrolled back, Alt+End returns")
    if chat.unread:
        text = ngettext(
            "{number} new message below, Alt+End returns",
            "{number} new messages below, Alt+End returns",
            chat.unread,
        ).format(number=chat.unread)
    missed = [("class:status.trouble", chat.missed)] if chat.missed else []
    return [*missed, ("", text)]


def status(app: App, width: int) -> StyleAndTextTuples:
    """Return the status line.

    It tells of the connection, lag and security, waiting lines and messages, who types, and unread messages.
    """
    parts = [_connection(app), *_security(app)]
    if behind := app.composer.turns.waiting:
        text = ngettext("{number} line waits for an answer", "{number} lines wait for an answer", behind)
        parts.append(("", text.format(number=behind)))
    if waiting := len(app.desk.journal.unsent):
        parts.append(
            ("", ngettext("{number} not sent yet", "{number} not sent yet", waiting).format(number=waiting))
        )
    if app.desk.history.is_slow:
        parts.append(("class:status.trouble", _("the messages kept here are locked by another program")))
    if (percent := app.reader.search.percent) is not None:
        parts.append(("", _("searching, {percent} %").format(percent=percent)))
    if app.desk.current.bottom is not None:
        parts += _below(app)
    elif typing := app.desk.typing(app.conv):
        parts.append(
            ("", ngettext("{names} types …", "{names} type …", len(typing)).format(names=", ".join(typing)))
        )
    if others := app.desk.conversations.unread_elsewhere():
        parts.append(
            (
                "",
                ngettext(
                    "{number} unread conversation, Alt+a", "{number} unread conversations, Alt+a", others
                ).format(number=others),
            )
        )
    found: StyleAndTextTuples = []
    left = width
    for number, (style, text) in enumerate(parts):
        text = shortened((" │ " if number else " ") + plainly(text), left)
        left -= get_cwidth(text)
        found.append((style, text))
    return found
