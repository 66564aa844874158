"""Texts as they are drawn: what terminals do not agree on the width of is replaced by what they do agree on.

A row that is drawn at the wrong place is worse than a plain picture, and it is others who write it.
"""

from __future__ import annotations

import unicodedata

from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.utils import get_cwidth

from client.text import tab_width

#: For a mark that takes a column here and none there, and for what is newer than a terminal may be.
_MARK, _UNKNOWN = "◌", "\ufffd"
_FLAG_A = 0x1F1E6
#: Joiners (some terminals draw what comes next in the same place), looks of an emoji, blanks of Hangul.
_DROPPED = "\u200d\ufe0e\ufe0f\u115f\u1160\u3164\uffa0"
#: Circled numbers, trigrams, monograms, tetragrams, counting rods: narrow by some tables, wide by others.
_DISPUTED = (0x2630, 0x2637), (0x268A, 0x268F), (0x3248, 0x324F), (0x1D300, 0x1D376)


def plainly(text: str) -> str:
    return text if text.isascii() else text.translate(_TABLE)


class _Table(dict[int, str]):
    """By code point, as `str.translate` wants it; filled as it is used."""

    def __missing__(self, code: int) -> str:
        self[code] = found = _replaced(code)
        return found


def _replaced(code: int) -> str:
    if chr(code) in _DROPPED or 0x1F3FB <= code <= 0x1F3FF:  # the colours of skin
        return ""
    if _FLAG_A <= code < _FLAG_A + 26:  # two of them are a flag, to some
        return chr(code - _FLAG_A + ord("A"))
    match unicodedata.category(chr(code)):
        case "Mc":
            return _MARK
        case "Cn":
            return _UNKNOWN
    return _UNKNOWN if any(first <= code <= last for first, last in _DISPUTED) else chr(code)


_TABLE = _Table()


class Plainly(Processor):
    """What is typed, drawn plainly; the cursor stays where it is in it."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        fragments: StyleAndTextTuples = []
        columns = [0]  # of what is drawn, for each character of what is there
        width = 0
        for style, text, *_rest in transformation_input.fragments:
            if text.isascii() and text.isprintable():  # as it is: a long line is drawn at each key
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
