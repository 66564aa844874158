"""Tests of everything that a terminal may send: keys, answers, pastes, and halves of all of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.input.ansi_escape_sequences import ANSI_SEQUENCES
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding.key_processor import KeyPress
from prompt_toolkit.keys import Keys

from client.screen.keyboard import Parser

_PASTE, _PASTED = "\x1b[200~", "\x1b[201~"


class Typed:
    """A parser and the keys that it has found. `said` is the same as text, with pastes in brackets."""

    def __init__(self) -> None:
        self.keys: list[KeyPress] = []
        self.parser = Parser(self.keys.append)

    @property
    def said(self) -> str:
        return "".join(f"[{key.data}]" if key.key is Keys.BracketedPaste else key.data for key in self.keys)

    def feed(self, *parts: str) -> Typed:
        """Feed `parts` to the parser, without a pause in between."""
        for part in parts:
            self.parser.feed(part)
        return self

    def pause(self) -> Typed:
        self.parser.flush()
        return self


@pytest.mark.parametrize(
    "half",
    [
        *(
            "\x1b[",
            "\x1b[1;",
            "\x1b[?",
            "\x1b[1 ",
            "\x1b[M",
            "\x1bO",
            "\x1b",
            "\x1b[" + "1;" * 40,
            "\x1b[<0;1",
        ),
        *("\x1b]11;rgb:0", "\x1bPtmux;\x1b", "\x1b_Ga=1;", "\x1b^x", "\x1bXx", "\x1b]8;;\x1b"),
        *(_PASTE, _PASTE + "pasted", _PASTE + "pasted\x1b[20", _PASTE + "a\r\r"),
    ],
    ids=repr,
)
def test_half_of_something(half: str) -> None:
    """Keys work again half a second after half of a sequence."""
    typed = Typed().feed(half).pause()
    began = len(typed.keys)
    typed.feed("\r").feed("\x03").feed("\x1b[A").pause()
    assert [key.key for key in typed.keys[began:]] == [Keys.ControlM, Keys.ControlC, Keys.Up]


def test_half_a_paste_is_in_the_line_before_the_next_key() -> None:
    assert Typed().feed(_PASTE + "a\rb\r").pause().said == "[a\rb]"


def test_a_paste_that_stops_for_a_while() -> None:
    """A cut line end is no Enter, because Enter would send the text pasted so far."""
    typed = Typed().feed(_PASTE + "one\rtwo\r").pause().feed("three\rfour" + _PASTED, "\r")
    assert typed.said == "[one\rtwo][\rthree\rfour]\r"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\x1b]11;rgb:0000/0000/0000\x07b", "ab"),
        ("a\x1b]11;rgb:0000\x1b\\b", "ab"),
        ("a\x1bP>|XTerm(370)\x1b\\b", "ab"),
        ("a\x1b[?62;22cb", "ab"),
        ("a\x1b[0nb", "ab"),
        ("a\x1b[201~b", "ab"),
        pytest.param("a\x1b[" + "1;" * 5000 + "mb", "ab", id="long"),
        pytest.param("a\x1b[" + "1;" * 5000 + "\rb", "a\rb", id="long without end"),
        ("a\x1b]11;\x1b[Ab", "a\x1b[Ab"),
        (f"a{_PASTE}x\x1b[A\x1b]y{_PASTED}b", "a[x\x1b[A\x1b]y]b"),
        (f"{_PASTE}{_PASTED}b", "b"),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 1024, 7], ids=["whole", "reads", "small reads"])
def test_answers_of_the_terminal_are_not_typed(text: str, said: str, size: int) -> None:
    typed = Typed().feed(*(text[at : at + size] for at in range(0, len(text), size)))
    assert typed.pause().said == said


@pytest.mark.parametrize("beginning", ["\x1b[", "\x1b[<", "\x1b]1;", "\x1bP", _PASTE], ids=repr)
def test_without_end(beginning: str) -> None:
    """An endless sequence costs little, and keys work again as soon as it pauses."""
    typed = Typed().feed(beginning + "1")
    began = time.process_time()
    for _ in range(10_000):
        typed.feed("1;" * 512)
    typed.pause().feed("\r")
    assert typed.keys[-1].key == Keys.ControlM
    assert time.process_time() - began < 5
    assert len(typed.said) < 1 << 25


@given(
    keys=st.lists(
        st.sampled_from([*(set(ANSI_SEQUENCES) - {_PASTE, _PASTED}), "x", "é", "\x1ba"]), max_size=8
    ),
    cuts=st.lists(st.integers(1, 40), max_size=5),
)
def test_keys_are_what_they_were(keys: list[str], cuts: list[int]) -> None:
    """Every sequence that prompt_toolkit knows gives the same keys, wherever it is cut."""
    text = "".join(keys)
    wanted: list[KeyPress] = []
    theirs, ours = Vt100Parser(wanted.append), Typed()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True):
        theirs.feed(text[start:end])
        ours.feed(text[start:end])
    theirs.flush()
    ours.pause()
    assert [(key.key, key.data) for key in ours.keys] == [(key.key, key.data) for key in wanted]
