"""Messages as rows of the screen: wrapped to its width, links kept whole, control characters removed."""

from __future__ import annotations

import re
import zlib
from collections import deque
from functools import lru_cache

from prompt_toolkit.utils import get_cwidth

from client.commands.wording import moment
from client.i18n import N_, _
from client.protocol.events import Message
from client.screen.plain import plainly
from client.screen.style import NICKS
from client.text import LINK, action, clean, shown_name, wrapped

#: Pieces of text, each after its style, as prompt_toolkit draws them.
Row = list[tuple[str, str]]

#: Characters of a message that are drawn, because more would take over 50 ms. A server's limit is 8 KiB of
#: text, but a bad server may have none.
_MAX_TEXT = 16_384
#: Columns of the screen below which a message begins right after its sender's name.
_COMPACT = 44
_WEEKDAYS = N_("Mon"), N_("Tue"), N_("Wed"), N_("Thu"), N_("Fri"), N_("Sat"), N_("Sun")


def nick_style(user: int) -> str:
    """Return the style of a user's name, which is the same everywhere and after every start."""
    return f"class:nick{zlib.crc32(str(user).encode()) % len(NICKS)}"


@lru_cache(maxsize=4096)
def message_rows(message: Message, width: int, mark: str, style: str, query: str) -> list[Row]:
    """Return a message as rows. `mark` follows the text (sent, read, waiting, failed).

    `query` is highlighted in the text.
    """
    at = moment(message.ts).strftime("%H:%M") if message.ts else "--:--"
    colour = "class:own" if message.is_own else nick_style(message.sender)
    name, text = plainly(shown_name(message.name)), plainly(clean(message.text[:_MAX_TEXT]))
    if done := action(text):
        name, text = "*", f"{name} {done}"
    if len(message.text) > _MAX_TEXT:
        text += _("… ({number} characters)").format(number=len(message.text))
    if width < _COMPACT:
        head: Row = [
            ("class:time", at + " "),
            (colour, shortened(name, max(4, width - 12))),
            ("", " " if done else ": "),
        ]
        indent: Row = [("", "  ")]
    else:
        room = min(14, max(6, width // 7))
        name = padded(shortened(name, room), room)
        head = [("class:time", at + " "), (colour, name), ("class:line", " │ ")]
        indent = [("", " " * (6 + room)), ("class:line", " │ ")]
    return _rows(head, indent, text, mark, style, width, plainly(query))


@lru_cache(maxsize=1024)
def note_rows(text: str, width: int, style: str) -> list[Row]:
    """Return the rows of a note, which is a line of the client's own."""
    head: Row = [(f"class:{style}", "-- ")]
    indent: Row = [("", "   ")]
    return _rows(head, indent, plainly(clean(text)), "", f"class:{style}", width, "")


def rule(text: str, width: int, style: str) -> Row:
    """Return a horizontal line with a text in it."""
    text = shortened(f" {text} ", max(width - 4, 0))
    return [(style, "──" + text + "─" * max(0, width - 2 - get_cwidth(text)))]


def day(ts: int) -> str:
    """Return the day of a message, for the line above the first message of that day."""
    at = moment(ts)
    return _("{weekday}, {year}-{month:02}-{day:02}").format(
        weekday=_(_WEEKDAYS[at.weekday()]), year=at.year, month=at.month, day=at.day
    )


def shortened(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, with "…" where it is cut."""
    if get_cwidth(text) <= width:
        return text
    while text and get_cwidth(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""


def padded(text: str, width: int) -> str:
    return " " * (width - get_cwidth(text)) + text


def _rows(head: Row, indent: Row, text: str, mark: str, style: str, width: int, query: str) -> list[Row]:
    first = max(width - sum(get_cwidth(piece) for _, piece in head), 8)
    room = max(width - sum(get_cwidth(piece) for _, piece in indent), 8)
    found: list[Row] = []
    for line in text.split("\n"):
        at, links = 0, deque(LINK.finditer(line))
        for row in wrapped(line, room if found else first, room):
            found.append([*(indent if found else head), *_styled(row, at, links, style, query)])
            at += len(row)
    if mark:
        last = sum(get_cwidth(piece) for _, piece in found[-1])
        if last + 1 + get_cwidth(mark) > width:
            found.append([*indent])
        found[-1].append(("class:mark", (" " if last < width else "") + shortened(mark, room)))
    return found


def _styled(row: str, at: int, links: deque[re.Match[str]], style: str, query: str) -> Row:
    """Style a row that begins at the place `at` of its line. Each part of a link names the whole link.

    `links` are the links of the line that do not end in an earlier row. Links that end in this row are
    removed.
    """
    found: Row = []
    done = 0
    while links and links[0].start() < at + len(row):
        start, end = max(links[0].start() - at, done), min(links[0].end() - at, len(row))
        found += _marked(row[done:start], style, query)
        found += _marked(row[start:end], f"{style} class:link [link:{links[0][0]}]", query)
        done = end
        if links[0].end() > at + len(row):
            break
        links.popleft()
    return found + _marked(row[done:], style, query)


def _marked(text: str, style: str, query: str) -> Row:
    """Style a text, with what was searched for highlighted."""
    if not query or not text:
        return [(style, text)] if text else []
    parts = re.split(f"({re.escape(query)})", text, flags=re.IGNORECASE)
    return [(f"{style} class:match" if at % 2 else style, part) for at, part in enumerate(parts) if part]
