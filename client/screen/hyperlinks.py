"""Addresses in messages as links of the terminal (OSC 8). A wrapped address stays one link.

A fragment of a row names its address in its style. A number replaces the address before prompt_toolkit gets
the row, because brackets in a style have a meaning for it. After all is drawn, the sequence that begins a
link is put before each of its cells. The output ends each link, because prompt_toolkit writes only the cells
that have changed.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from prompt_toolkit.layout import FloatContainer

from client.local.settings import Settings
from client.screen.ending import Output
from client.screen.rows import Row

if TYPE_CHECKING:
    from prompt_toolkit.layout.screen import Screen

_BEGIN, _END = "\x1b]8;", "\x1b]8;;\x1b\\"
_IN_STYLE = re.compile(r"\[link:(\S*)\]")
#: Characters of an address, at most, because terminals ignore longer ones.
#: Links that have a number of their own, more than a screen has room for.
_MAX_LENGTH, _MAX_NUMBERS = 2083, 2048
#: The z-index of the links, which are marked after every float is drawn.
_LAST = 10**9
#: Values of TERM for terminals without links, some of which print the sequence.
_LACKING = re.compile(r"(linux|dumb|unknown|screen|eterm|cons25|vt\d|ansi).*|")
_FIRST_VTE = 5000


def is_able() -> bool:
    """Return whether the terminal may have links, as far as its environment tells."""
    vte = os.environ.get("VTE_VERSION", "")
    is_old = vte.isdecimal() and int(vte) < _FIRST_VTE
    term = os.environ.get("TERM", "")
    is_tmux = term.startswith("screen") and "TMUX" in os.environ  # tmux's default for TERM
    return is_tmux or not (is_old or _LACKING.fullmatch(term))


class Hyperlinks:
    """The links that were drawn last, by number.

    Another link at the same place has another style, so that prompt_toolkit draws it again.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._is_able = is_able()
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._sequences: dict[int, str] = {}

    def numbered(self, rows: list[Row]) -> list[Row]:
        is_on = self._is_able and self._settings.is_on("links")

        def number(match: re.Match[str]) -> str:
            return f"[link:{self._number(match[1])}]" if is_on and len(match[1]) <= _MAX_LENGTH else ""

        return [
            [(_IN_STYLE.sub(number, style) if "[link:" in style else style, text) for style, text in row]
            for row in rows
        ]

    def mark(self, screen: Screen) -> None:
        """Put the sequence that begins a link before each of its cells."""
        for y, row in screen.data_buffer.items():
            for x, cell in row.items():
                if "[link:" in cell.style and (match := _IN_STYLE.search(cell.style)):
                    screen.zero_width_escapes[y][x] = self._sequences[int(match[1])]

    def _number(self, link: str) -> int:
        number = self._numbers.get(link)
        if number is None:
            is_full = len(self._numbers) == _MAX_NUMBERS
            number = self._numbers.popitem(last=False)[1] if is_full else len(self._numbers)
            address = quote(link, safe="%/:?#[]@!$&'()*+,;=-._~")
            self._sequences[number] = f"{_BEGIN}id={number};{address}\x1b\\"
        self._numbers[link] = number
        self._numbers.move_to_end(link)
        return number


class LinkedContainer(FloatContainer):
    """The root container, which marks the links after everything else is drawn."""

    def __init__(self, *arguments: Any, links: Hyperlinks):
        super().__init__(*arguments)
        self._links = links

    def write_to_screen(self, screen: Screen, *arguments: Any, **named: Any) -> None:
        super().write_to_screen(screen, *arguments, **named)
        screen.draw_with_z_index(_LAST, lambda: self._links.mark(screen))


class LinkedOutput(Output):
    """An output that begins and ends links.

    The sequence of a link holds only for the next character. Consecutive characters of one link are written
    as one.
    """

    _next = _open = ""

    def write_raw(self, data: str) -> None:
        if data.startswith(_BEGIN):
            self._next = data
        else:
            super().write_raw(data)

    def write(self, data: str) -> None:
        self._turn_to(self._next)
        self._next = ""
        super().write(data)

    def flush(self) -> None:
        self._turn_to("")
        super().flush()

    def _turn_to(self, link: str) -> None:
        if link != self._open:
            super().write_raw(link or _END)
            self._open = link
