"""Lists the characters that are wider or narrower in a terminal than computed. Run it in the terminal."""

from __future__ import annotations

import os
import re
import sys
import tty
import unicodedata

from prompt_toolkit.utils import get_cwidth

from client.screen.plain import plainly

#: Ranges of thousands of characters that are all alike.
_ALIKE = (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x10FFFF)


def columns(texts: list[str]) -> list[int]:
    """Return how far the cursor moves for each text, as the terminal reports it."""
    os.write(1, b"".join(b"\r\x1b[K" + text.encode() + b"\x1b[6n" for text in texts))
    answers = b""
    while answers.count(b"R") < len(texts):
        answers += os.read(0, 65536)
    return [int(column) - 1 for column in re.findall(rb"\x1b\[\d+;(\d+)R", answers)]


def main() -> None:
    tty.setraw(0)
    codes = [code for code in range(0x20, 0x20000) if not any(low < code <= high for low, high in _ALIKE)]
    drawn = [chr(code) for code in codes if unicodedata.category(chr(code)) not in ("Cc", "Cs")]
    drawn += [
        "👨\u200d👩",
        "a\u200d👩",
        "क\u094d\u200dष",
        "한\u302e",
        "👍🏽",
        "1\ufe0f\u20e3",
        "e" + "\u0301" * 30,
    ]
    with open(sys.argv[1], "w") as file:
        for at in range(0, len(drawn), 64):
            texts = [plainly(f"a{text}b") for text in drawn[at : at + 64]]
            for text, width in zip(texts, columns(texts), strict=True):
                if width != get_cwidth(text):
                    print(ascii(text), get_cwidth(text), width, file=file)
        print("all seen", file=file)


if __name__ == "__main__":
    main()
