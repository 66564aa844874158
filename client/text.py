"""Text for the terminal. Other users' text cannot move the cursor, or pass for a line of the client."""

from __future__ import annotations

import re
import unicodedata

from wcwidth import wcwidth

#: Escape sequences with their contents: CSI, then OSC and other strings, then two-byte sequences.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
#: C0 and C1 except tab and line feed, and characters that override or isolate a writing direction.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")

#: Characters inside a link, apart from parentheses, which come in pairs, and characters at its end.
_IN_LINK = r"[^\s<>\"()（）【】《》「」『』，。；：！？、]"
_ENDS_LINK = r"[^\s<>\"()（）【】《》「」『』，。；：！？、.,;:!?'\]}]"
LINK = re.compile(
    rf"((?:https?://|mailto:)(?:{_IN_LINK}|\({_IN_LINK}*\))*(?:{_ENDS_LINK}|\({_IN_LINK}*\)))", re.IGNORECASE
)

#: Prefix of a message that describes an action of its sender, as in XMPP and IRC clients.
ACTION = "/me "

#: Columns between tab stops, as in terminals.
_TAB = 8
#: Prefix of every row of a message after the first. No line of the client begins with a blank.
CONTINUATION = "      │ "


def columns(text: str) -> int:
    """Return the number of terminal columns that `text` takes, as prompt_toolkit counts them.

    Do not use prompt_toolkit itself, because its import would make each script's start a third slower.
    """
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(max(0, wcwidth(character)) for character in text)


def tidied(text: str) -> str:
    """Remove escape sequences, and control characters except tabs. Line ends become line feeds."""
    return _CONTROLS.sub("", _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text)))


def clean(text: str) -> str:
    """Tidy `text` for display: like `tidied`, but tabs become the blanks that they stand for."""
    return "\n".join(map(_without_tabs, tidied(text).split("\n")))


def clean_line(text: str) -> str:
    """Tidy `text` and put it on one line, for names."""
    return tidied(text).replace("\n", " ").replace("\t", " ")


def tab_width(column: int) -> int:
    """Return the number of columns that a tab at `column` takes."""
    return _TAB - column % _TAB


def _without_tabs(line: str) -> str:
    first, *parts = line.split("\t")
    found, column = [first], columns(first)
    for part in parts:
        blanks = tab_width(column)
        found += " " * blanks, part
        column += blanks + columns(part)
    return "".join(found)


def shown_name(name: str) -> str:
    """Return a name as it is shown and can be typed: in quotes unless it is one plain word.

    Without quotes, a line of a user named `[ops] bo` could pass for a line in a group.
    """
    name = clean_line(name)
    is_plain = bool(name) and all(c in "_-." or unicodedata.category(c)[0] in "LMN" for c in name)
    return name if is_plain else '"' + name.replace('"', "'") + '"'


def action(text: str) -> str:
    """Return the action that a message describes, or "" if it describes none."""
    return text.removeprefix(ACTION).strip() if text.startswith(ACTION) else ""


def spoken(name: str, text: str) -> str:
    """Return a message with its sender, `bo: text` or `* bo waves`. No shown name begins with a `*`."""
    return f"* {name} {action(text)}" if action(text) else f"{name}: {text}"


def valid(text: str) -> str:
    """Make typed or read text sendable: bytes that are not UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def rows(text: str, width: int | None = None) -> list[str]:
    """Split clean `text` into rows for the screen: at line feeds, and at `width` columns if it is given.

    Rows after the first begin with `CONTINUATION`.
    Do not leave the wrapping to the terminal, because its rows could begin with any text of the sender.
    """
    first, *found = text.split("\n")
    if width is not None:
        room = max(width - columns(CONTINUATION), 10)
        first, *rest = wrapped(first, max(width, 10), room)
        found = rest + [row for line in found for row in wrapped(line, room, room)]
    return [first, *(CONTINUATION + row for row in found)]


def wrapped(line: str, first: int, room: int) -> list[str]:
    """Split a line into rows of `first`, then `room` columns. A link that fits in a row is not broken."""
    found: list[str] = []
    row, left = "", first

    def end(cut: int) -> None:
        nonlocal row, left
        found.append(row[:cut])
        row, left = row[cut:], room - columns(row[cut:])

    for at, part in enumerate(LINK.split(line)):
        if at % 2 and columns(part) > left and columns(part) <= room and row.strip():
            end(len(row))
        for character in part:
            width = columns(character)
            while width > left and row:
                cut = len(row) if at % 2 else row.rfind(" ") + 1
                end(cut if cut > len(row) // 2 and columns(row[cut:]) <= room else len(row))
            row += character
            left -= width
    return [*found, row]
