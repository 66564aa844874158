"""Tests that nothing holds up the keys: a locked history, a long search, half a sequence, a long paste."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from forkchat.wire import msgid as m
from tests.pane import Home, Pane, Tmux
from tests.server import Server, until
from tests.talk import Modern, new_name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config="[limits]\nmessage_rate = 0\nregister_rate = 0\n") as found:
        yield found


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """Lock the history as another program would."""
    with closing(sqlite3.connect(home.file("history.sqlite"))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


def in_group(server: Server, tmux: Tmux) -> Pane:
    pane = Pane(tmux, server.port)
    pane.enter("register", new_name("li"))
    pane.type("/group create ops")
    pane.sees("[ops]> ")
    return pane


def texts(home: Home) -> list[str]:
    with closing(sqlite3.connect(home.file("history.sqlite"))) as database:
        return [text for (text,) in database.execute("SELECT text FROM messages ORDER BY seq")]


class TestHistoryThatIsLocked:
    def test_for_some_seconds(self, server: Server, tmux: Tmux) -> None:
        """Messages are seen, sent and found while the history is locked, and are kept in the end."""
        pane = in_group(server, tmux)
        pane.type("before")
        pane.sees("│ before ✓")
        with locked(pane.home):
            began = time.monotonic()
            for number in range(5):
                pane.type(f"meanwhile {number}")
                pane.sees(f"│ meanwhile {number} ✓")
            pane.press("M-0", "M-1", "PPage", "M-End")
            pane.sees("│ before ✓", "│ meanwhile 4 ✓")
            pane.type("/search meanwhile 2")
            pane.shows(lambda screen: "nothing" not in screen, "it is found")
            pane.sees("the messages kept here are locked by another program")
            assert time.monotonic() - began < 5
        pane.sees("the messages kept here are locked", times=0)
        until(lambda: texts(pane.home) == ["before", *(f"meanwhile {number}" for number in range(5))], "kept")
        pane.sees("kept in memory only", times=0)
        pane.leave()

    def test_at_the_start_and_until_the_end(self, server: Server, tmux: Tmux) -> None:
        """The client starts at once, and ends, although the history is locked."""
        pane = in_group(server, tmux)
        pane.type("before")
        pane.sees("│ before ✓")
        pane.leave()
        with closing(sqlite3.connect(pane.home.file("history.sqlite"))) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN IMMEDIATE")
            again = Pane(tmux, server.port, home=pane.home)
            again.sees("welcome back")
            again.shows(lambda screen: "●" in screen, "it is logged in")
            again.press("M-1")
            again.type("https://a.bc")
            again.sees("│ https://a.bc ✓", "the messages kept here are locked by another program")
            again.press("M-o")
            again.sees("open: ")
            again.sees("https://a.bc", times=2)
            again.press("C-c")
        again.sees("│ before ✓", "│ https://a.bc ✓")
        again.leave()
        assert texts(pane.home) == ["before", "https://a.bc"]
        again = Pane(tmux, server.port, home=pane.home)
        again.shows(lambda screen: "●" in screen, "it is logged in")
        with locked(pane.home):
            again.press("M-1")
            again.type("at the end")
            again.sees("│ at the end ✓")
            again.leave()


class TestSearching:
    def test_a_search_is_on_as_long_as_its_prompt_is_there(self, server: Server, tmux: Tmux) -> None:
        """A search is on as long as its prompt is shown. Typed text goes where the user sees it go."""
        pane = Pane(tmux, server.port)
        pane.sees("> /register")
        pane.press("C-u")
        pane.type("/search needle")
        pane.sees("there is nothing to search here")
        pane.press("C-u")
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
        for text in ("needle one", "needle two", "hay"):
            pane.type(text)
            pane.sees(f"│ {text} ✓")
        pane.type("/search none")
        pane.sees("nothing that is here has that in it: none")
        pane.press("C-s")
        pane.sees("search: ")
        pane.write("needle")
        pane.sees("search: needle")
        pane.press("C-s", "C-s")
        pane.sees("search, nothing further on this computer: needle")
        pane.write("s")
        pane.sees("search, nothing further on this computer: needles")
        pane.press("C-c")
        pane.sees("[ops]> ")
        pane.press("C-s")
        pane.sees("search: ")
        pane.type("needle")
        pane.sees("[ops]> ")
        pane.press("C-s")  # the search goes on from there
        pane.sees("search: needle")
        pane.write("hay")  # begins another search
        pane.sees("search: hay")
        pane.press("Enter")
        pane.write("said")
        pane.sees("[ops]> said")
        pane.press("C-c")  # removes the marks
        pane.sees("[ops]> said")
        pane.press("C-c")
        pane.sees("[ops]> said", times=0)
        pane.leave()


def takes_keys(pane: Pane) -> bool:
    """Return True if the `x` of an earlier call is in the line. Otherwise type another.

    The wait gives the client half a second without keys, no matter when it read the earlier ones.
    """
    time.sleep(0.6)
    if "[ops]> x" in pane.screen():
        return True
    pane.press("C-c")
    pane.write("x")
    return False


class TestWhatATerminalSends:
    @pytest.mark.parametrize(
        "half",
        ["\x1b[200~", "\x1b[200~half", "\x1b[", "\x1b]11;rgb:", "\x1bPx", "\x1b[" + "1;" * 9999, "\xe4"],
        ids=["paste", "begun paste", "control", "osc", "dcs", "long", "utf-8"],
    )
    def test_a_half_of_something(self, server: Server, tmux: Tmux, half: str) -> None:
        """Keys work again half a second after half of a sequence."""
        pane = in_group(server, tmux)
        pane.send(half.encode("latin-1"))
        until(lambda: takes_keys(pane), "keys are keys")
        pane.press("C-c")
        pane.type("said after it")
        pane.shows(lambda screen: "said after it ✓" in screen, "Enter sends")
        pane.leave()

    def test_ten_megabytes(self, server: Server, tmux: Tmux) -> None:
        pane = in_group(server, tmux)
        pane.write("half")
        pane.paste("a line of a file that is far too long\n" * 270_000)
        pane.sees("that is too long to be pasted: 10260000 characters, at most 65536")
        pane.write("way")
        pane.sees("[ops]> halfway")
        pane.press("C-c")
        pane.leave()


def test_tabs(server: Server, tmux: Tmux) -> None:
    """Tabs are as wide as in a terminal, in the line and in messages. They are sent unchanged."""
    pane = in_group(server, tmux)
    with Modern(server.port).join_in(bo := new_name("bo")) as friend:
        pane.type(f"/msg {bo}")
        pane.sees(f"{bo}> ")
        pane.paste("a\tb\n\t你\tc")
        pane.sees(f"{bo}> a       b", "\n        你      c")
        pane.press("Left", "Left")
        pane.write("x")
        pane.sees("\n        你x     c")
        pane.press("Enter")
        pane.sees("│ a       b", "│         你x     c ✓")
        assert friend.push(m.ONE_CHAT)["msg"] == "a\tb\n\t你x\tc"
    pane.leave()
