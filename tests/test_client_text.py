"""Tests of other users' texts. A text cannot move the cursor, hide, or pass for a line of the screen."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from client.commands.directory import Directory
from client.commands.wording import Wording
from client.protocol.events import (
    Friend,
    Group,
    LoggedIn,
    LoggedOut,
    Notice,
    Problem,
    SendFailed,
    Stranded,
)
from client.text import CONTINUATION, clean, clean_line, rows, shown_name, spoken, tidied, valid
from forkchat.errors import Refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, 你好, 😀, é, עברית", "plain, 你好, 😀, é, עברית"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hhome", "home"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1bc\x1b(0reset", "reset"),
        ("\x9b31mC1\x9d0;t\x9c", "C1"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x1b\x1b[0m[31m", "[31m"),
        ("a\x00b\x07c\x08d\x7fe\x85f", "abcde\nf"),
        ("a\r\nb\rc\x0bd\u2028e\u2029f", "a\nb\nc\nd\ne\nf"),
        (
            "a\tb\tc\n\td\n12345678\te\n你好吗\tf",
            "a       b       c\n        d\n12345678        e\n你好吗  f",
        ),
        ("\u202egnp.exe\u202c\u2066x\u2069\u200e\u200f\u061c", "gnp.exex"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_tabs_of_a_name_are_blanks() -> None:
    assert clean_line("a\tb\nc") == "a b c"
    assert tidied("a\tb\x07") == "a\tb"


@given(st.text())
def test_nothing_is_left(text: str) -> None:
    kept = clean(text)
    assert all(c == "\n" or unicodedata.category(c) != "Cc" for c in kept)
    assert clean(kept) == kept
    assert "\n" not in clean_line(text)


def test_further_lines_are_marked() -> None:
    assert rows("22:01 bo: a\n22:02 li: forged\n") == [
        "22:01 bo: a",
        CONTINUATION + "22:02 li: forged",
        CONTINUATION,
    ]


def test_the_terminal_never_wraps_for_us() -> None:
    """The client breaks long rows itself.

    If the terminal wrapped, blanks up to the edge would let the sender begin the next row.
    """
    found = rows("22:01:00 bo: " + " " * 27 + "22:02:00 li: forged", 40)
    assert found == ["22:01:00 bo: " + " " * 27, CONTINUATION + "22:02:00 li: forged"]


def test_rows_end_behind_words() -> None:
    assert rows("22:01:00 bo: one two three four", 24) == [
        "22:01:00 bo: one two ",
        CONTINUATION + "three four",
    ]


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"))), st.integers(12, 60))
def test_rows_fit_and_lose_nothing(text: str, width: int) -> None:
    found = rows(text, width)
    assert all(get_cwidth(row) <= max(width, 18) for row in found)
    assert found[0] + "".join(row.removeprefix(CONTINUATION) for row in found[1:]) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bo", "bo"),
        ("张三", "张三"),
        ("नमस्ते", "नमस्ते"),
        ("li.na-2_x", "li.na-2_x"),
        ("my name", '"my name"'),
        ("[ops] bo", '"[ops] bo"'),
        ('a" says: "', "\"a' says: '\""),
        ("", '""'),
        ("\x1b[31mx", "x"),
    ],
)
def test_names(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_what_is_typed_can_be_sent() -> None:
    assert valid("ok \udcff") == "ok ?"


class TestWording:
    @pytest.fixture
    def wording(self) -> Wording:
        directory = Directory()
        wording = Wording(directory)
        logged_in = LoggedIn(12, "li", [Friend(57, "bo", "online")], [Group(9, "ops", "normal")], False)
        directory.note(logged_in)
        assert wording.tell(logged_in) == ["logged in as li, id 12", "online: bo"]
        return wording

    def test_failed(self, wording: Wording) -> None:
        failed = SendFailed("d", "g9", "hi", Refused("no"))
        assert wording.tell(failed) == ["NOT SENT to [ops]: hi (no)"]

    def test_failed_in_another_epoch(self, wording: Wording) -> None:
        """A failed message is reported with the user's name.

        Its key means another conversation in the new epoch.
        """
        failed = SendFailed("d", "d12-57", "hi", Stranded("no mei", "mei"))
        assert wording.tell(failed) == ["NOT SENT to mei: hi (no mei)"]

    def test_notices(self, wording: Wording) -> None:
        assert wording.tell(Notice("group_joined", 57, "bo", "g9")) == ["bo has joined [ops]"]
        assert wording.tell(Notice("group_removed", 12, "li", "g9")) == ["you were removed from [ops]"]
        assert wording.tell(Notice("of the future", 57, "bo", "")) == []
        assert wording.tell(LoggedOut("replaced"))[0].startswith("you have logged in elsewhere")

    def test_a_problem_is_told_once(self, wording: Wording) -> None:
        assert wording.tell(Problem("the server is odd")) == ["the server is odd"]
        assert wording.tell(Problem("the server is odd")) == []


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("bo", "hi", "bo: hi"),
        ("bo", "/me waves", "* bo waves"),
        ("bo", "/me", "bo: /me"),
        ("bo", "/me  ", "bo: /me  "),
        ("*", "bo waves", '"*": bo waves'),
    ],
)
def test_spoken(name: str, text: str, shown: str) -> None:
    assert spoken(shown_name(name), text) == shown
