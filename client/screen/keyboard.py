"""The terminal's input: keys keep working after a sequence or paste that is incomplete or has no end.

A terminal may send half a sequence, because ssh was cut or an earlier program had asked it something. A paste
may lose its end. prompt_toolkit's parser would wait for the rest for ever.
"""

from __future__ import annotations

import re
import time
from typing import TextIO

from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys

#: Characters of a control sequence that the parser waits for.
#: Seconds that it waits for the end of a string, which is an answer of the terminal.
_MAX_SEQUENCE, _MAX_STRING = 64, 1.0
#: Characters of a paste that are kept, far more than a user can send.
_MAX_PASTE = 1 << 24

_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"
_CONTROL = r"\x1b\[[0-?]*[ -/]*[@-~]"
#: Control sequences (too long for a key, whole, unfinished), the start of a string, an escape at the end.
_ESCAPES = re.compile(
    rf"(?P<long>\x1b\[[ -?]{{{_MAX_SEQUENCE},}})|(?P<control>{_CONTROL})|(?P<part>\x1b\[[0-?]*[ -/]*\Z)"
    r"|(?P<string>\x1b[\]PX^_](?=.))|(?P<escape>\x1b\Z)",
    re.DOTALL,
)
_STRING_END = re.compile(r"[\x07\x18\x1a]|\x1b\\|\x1b(?=[^\\])")
_ONE_KEY = re.compile(rf"\x1b?.|\x1bO.|{_CONTROL}", re.DOTALL)
#: Beginnings of the sequences of all keys, and of mouse events in their oldest form.
_BEGINNINGS = {key[:size] for key in ANSI_SEQUENCES for size in range(2, len(key) + 1)} | {"\x1b[M"}


class Keyboard(Vt100Input):
    def __init__(self, stdin: TextIO):
        super().__init__(stdin)
        self.vt100_parser: Parser = Parser(self._buffer_key)

    def _buffer_key(self, key: KeyPress) -> None:
        self._buffer.append(key)  # prompt_toolkit makes another list after each read


class Parser(Vt100Parser):
    """A parser that passes on to prompt_toolkit's parser only what that knows, in whole sequences.

    `flush` is called after half a second without input.
    """

    def reset(self, request: bool = False) -> None:
        super().reset(request)
        self._take = self._take_keys
        self._held = ""  # the beginning of a sequence
        self._pasted: list[str] = []
        self._size = 0  # characters in `_pasted`
        self._is_overdue = False
        self._string_ends = 0.0

    def feed(self, data: str) -> None:
        if self._is_overdue and _ONE_KEY.fullmatch(data):  # the user types, so the paste's end is lost
            self._take, self._pasted = self._take_keys, []
        self._is_overdue = False
        data, self._held = self._held + data, ""
        while data:
            data = self._take(data)

    def flush(self) -> None:
        if self._take == self._take_paste:
            self._is_overdue = True
            self._hand_on_paste(self._held)
        elif self._take == self._take_keys:
            super().feed(self._held)
        else:
            self._take = self._take_keys
        self._held = ""
        super().flush()

    # --- each method takes its own part of the data, and returns the rest -----------------------------

    def _take_keys(self, data: str) -> str:
        found = _ESCAPES.search(data)
        if not found:
            super().feed(data)
            return ""
        super().feed(data[: found.start()])
        text, rest = found[0], data[found.end() :]
        match found.lastgroup:
            case "control" if text == _PASTE:
                self._take = self._take_paste
            case "control":
                if text in _BEGINNINGS or self._get_match(text):  # else it is unknown, and dropped
                    super().feed(text)
            case "string":
                self._take = self._take_string
                self._string_ends = time.monotonic() + _MAX_STRING
            case "long":
                self._take = self._take_sequence
            case _:
                self._held = text
        return rest

    def _take_sequence(self, data: str) -> str:
        """Drop the rest of a control sequence that is too long for a key."""
        end = re.search(r"[^ -?]", data)
        if not end:
            return ""
        self._take = self._take_keys
        return data[end.end() if end[0] >= "@" else end.start() :]

    def _take_string(self, data: str) -> str:
        end = _STRING_END.search(data)
        if end is None and (time.monotonic() < self._string_ends or not _ONE_KEY.fullmatch(data)):
            self._held = "\x1b" if data.endswith("\x1b") else ""
            return ""
        self._take = self._take_keys
        if end is None:
            return data
        return data[end.end() if end[0] != "\x1b" else end.start() :]

    def _take_paste(self, data: str) -> str:
        text, end, rest = data.partition(_PASTED)
        if end:
            self._hand_on_paste(text, is_whole=True)
            self._take = self._take_keys
            return rest
        size = next((size for size in range(len(_PASTED) - 1, 0, -1) if data.endswith(_PASTED[:size])), 0)
        self._held = data[len(data) - size :]
        if self._size < _MAX_PASTE:
            self._pasted.append(data[: len(data) - size])
            self._size += len(self._pasted[-1])
        return ""

    def _hand_on_paste(self, text: str, is_whole: bool = False) -> None:
        """Pass on the part of a paste that has come.

        Trailing line ends of an unfinished paste are kept back, because they do not count at its end.
        """
        pasted = "".join([*self._pasted, text])
        kept = pasted if is_whole else pasted.rstrip("\r\n")
        self._pasted, self._size = [pasted[len(kept) :]], len(pasted) - len(kept)
        if kept:
            self.feed_key_callback(KeyPress(Keys.BracketedPaste, kept))
