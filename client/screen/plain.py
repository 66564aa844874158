"""Texts as they are drawn: characters whose width differs between terminals are replaced by others.

A row drawn at the wrong place is worse than a plainer picture, and other users write these texts.
"""

from __future__ import annotations

import unicodedata

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.utils import get_cwidth

from client.text import tab_width

#: Replaces a combining mark that takes a column on some terminals and none on others.
#: Replaces characters of disputed width, and those that may be newer than the terminal.
_MARK, _UNKNOWN = "◌", "\ufffd"
_FLAG_A = 0x1F1E6
#: Joiners (some terminals draw the next character in the same place), variants of emoji, blanks of Hangul.
_DROPPED = "\u200d\ufe0e\ufe0f\u115f\u1160\u3164\uffa0"
#: Circled numbers, trigrams, monograms, tetragrams, counting rods: narrow in some tables, wide in others.
_DISPUTED = (0x2630, 0x2637), (0x268A, 0x268F), (0x3248, 0x324F), (0x1D300, 0x1D376)


def plainly(text: str) -> str:
    return text if text.isascii() else text.translate(_TABLE)


class _Table(dict[int, str]):
    """A table for `str.translate`, by code point. An entry is made when it is first used."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _replaced(code)
        return found


def _replaced(code: int) -> str:
    if chr(code) in _DROPPED or 0x1F3FB <= code <= 0x1F3FF:  # skin tones
        return ""
    if _FLAG_A <= code < _FLAG_A + 26:  # some terminals draw two of them as a flag
        return chr(code - _FLAG_A + ord("A"))
    match unicodedata.category(chr(code)):
        case "Mc":
            return _MARK
        case "Cn":
            return _UNKNOWN
    return _UNKNOWN if any(first <= code <= last for first, last in _DISPUTED) else chr(code)


_TABLE = _Table()


class Plainly(Processor):
    """A processor that draws the typed text plainly, with the cursor at the same character."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        fragments: StyleAndTextTuples = []
        columns = [0]  # places in the drawn text, for each character of the typed one
        width = 0
        for style, text, *_rest in transformation_input.fragments:
            if text.isascii() and text.isprintable():  # unchanged, because a long line is drawn at each key
                columns += range(columns[-1] + 1, columns[-1] + len(text) + 1)
                width += len(text)
                fragments.append((style, text))
                continue
            drawn = ""
            for character in text:
                plain = " " * tab_width(width) if character == "\t" else plainly(character)
                drawn += plain
                width += get_cwidth(plain)
                columns.append(columns[-1] + len(plain))
            fragments.append((style, drawn))
        return Transformation(
            fragments,
            source_to_display=lambda at: columns[min(at, len(columns) - 1)],
            display_to_source=lambda at: min(
                (i for i, column in enumerate(columns) if column >= at), default=0
            ),
        )
