"""Text for the terminal: nothing that others wrote can move the cursor, or pass for a line of ours."""

from __future__ import annotations

import re
import unicodedata

from wcwidth import wcwidth

#: Escape sequences with what belongs to them: CSI, OSC and other strings, then the two-byte kinds.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
#: C0 and C1 but tabs and line feeds, and what overrides or isolates a direction of writing.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")

#: What a link may be made of, but for the parentheses, which it has in pairs; and what it may end with.
_IN_LINK = r"[^\s<>\"()（）【】《》「」『』，。；：！？、]"
_ENDS_LINK = r"[^\s<>\"()（）【】《》「」『』，。；：！？、.,;:!?'\]}]"
LINK = re.compile(
    rf"((?:https?://|mailto:)(?:{_IN_LINK}|\({_IN_LINK}*\))*(?:{_ENDS_LINK}|\({_IN_LINK}*\)))", re.IGNORECASE
)

#: Begins a message that says what its sender does, as XMPP and IRC's clients have it.
ACTION = "/me "

#: Columns between the stops of tabs, as terminals have them.
_TAB = 8
#: Begins every further row of a message; no line of ours begins with a blank.
CONTINUATION = "      │ "


def columns(text: str) -> int:
    """How many columns of the terminal `text` takes, as prompt_toolkit counts them (importing that would make
    each script's start a third slower)."""
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(max(0, wcwidth(character)) for character in text)


def tidied(text: str) -> str:
    """`text` without control characters but tabs; line ends of every kind become line feeds."""
    return _CONTROLS.sub("", _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text)))


def clean(text: str) -> str:
    """As `tidied`, as it is shown: tabs become the blanks that they stand for."""
    return "\n".join(map(_without_tabs, tidied(text).split("\n")))


def clean_line(text: str) -> str:
    """As `tidied`, on one line: for names."""
    return tidied(text).replace("\n", " ").replace("\t", " ")


def tab_width(column: int) -> int:
    """Columns that a tab takes there."""
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
    """A name as it is shown, and as it can be typed: in quotes unless it is one plain word.

    Else someone could be called `[ops] bo`, and a line of theirs pass for a line in a group.
    """
    name = clean_line(name)
    is_plain = bool(name) and all(c in "_-." or unicodedata.category(c)[0] in "LMN" for c in name)
    return name if is_plain else '"' + name.replace('"', "'") + '"'


def action(text: str) -> str:
    """What the sender of the message does; "" for a message that says something."""
    return text.removeprefix(ACTION).strip() if text.startswith(ACTION) else ""


def spoken(name: str, text: str) -> str:
    """A message with its sender, `bo: text` or `* bo waves`. No name that is shown begins with a `*`."""
    return f"* {name} {action(text)}" if action(text) else f"{name}: {text}"


def valid(text: str) -> str:
    """What was typed or read, as it can be sent: bytes that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def rows(text: str, width: int | None = None) -> list[str]:
    """Clean `text` for the screen: its further lines, and what exceeds `width`, are continued below.

    The terminal's own wrapping would begin a row with whatever the sender has put there.
    """
    first, *found = text.split("\n")
    if width is not None:
        room = max(width - columns(CONTINUATION), 10)
        first, *rest = wrapped(first, max(width, 10), room)
        found = rest + [row for line in found for row in wrapped(line, room, room)]
    return [first, *(CONTINUATION + row for row in found)]


def wrapped(line: str, first: int, room: int) -> list[str]:
    """`line` in rows of `first`, then `room` columns. A link goes to the next row rather than be broken."""
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
