"""Text for the terminal: nothing that others wrote can move the cursor, or pass for a line of ours."""

from __future__ import annotations

import re
import unicodedata

from prompt_toolkit.utils import get_cwidth

#: Escape sequences with what belongs to them: CSI, OSC and other strings, then the two-byte kinds.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
#: C0 and C1 but line feeds, and what overrides or isolates a direction of writing.
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINE_ENDS = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")

LINK = re.compile(r"(https?://[^\s<>\"]+)")

#: Begins every further row of a message; no line of ours begins with a blank.
CONTINUATION = "      │ "


def clean(text: str) -> str:
    """`text` without control characters; line ends of every kind become line feeds, tabs blanks."""
    text = _LINE_ENDS.sub("\n", _SEQUENCES.sub("", text)).replace("\t", " ")
    return _CONTROLS.sub("", text)


def clean_line(text: str) -> str:
    """As `clean`, on one line: for names."""
    return clean(text).replace("\n", " ")


def shown_name(name: str) -> str:
    """A name as it is shown, and as it can be typed: in quotes unless it is one plain word.

    Else someone could be called `[ops] bo`, and a line of theirs pass for a line in a group.
    """
    name = clean_line(name)
    is_plain = bool(name) and all(c in "_-." or unicodedata.category(c)[0] in "LMN" for c in name)
    return name if is_plain else '"' + name.replace('"', "'") + '"'


def valid(text: str) -> str:
    """What was typed or read, as it can be sent: bytes that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def rows(text: str, width: int | None = None) -> list[str]:
    """Clean `text` for the screen: its further lines, and what exceeds `width`, are continued below.

    The terminal's own wrapping would begin a row with whatever the sender has put there.
    """
    first, *found = text.split("\n")
    if width is not None:
        room = max(width - get_cwidth(CONTINUATION), 10)
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
        row, left = row[cut:], room - get_cwidth(row[cut:])

    for at, part in enumerate(LINK.split(line)):
        if at % 2 and get_cwidth(part) > left and get_cwidth(part) <= room and row.strip():
            end(len(row))
        for character in part:
            columns = get_cwidth(character)
            while columns > left and row:
                cut = len(row) if at % 2 else row.rfind(" ") + 1
                end(cut if cut > len(row) // 2 and get_cwidth(row[cut:]) <= room else len(row))
            row += character
            left -= columns
    return [*found, row]
