"""Tests of lines typed faster than they are answered, and of what the input line offers."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from forkchat.wire import msgid as m
from tests.pane import Pane, Tmux
from tests.server import ROOT, Server, until
from tests.talk import PASSWORD, Modern, new_name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config="[limits]\nmessage_rate = 0\nregister_rate = 0\n") as found:
        yield found


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Stop the only worker, so that nothing is answered."""
    (worker,) = server.workers().values()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


class TestTypedAhead:
    def test_a_message_goes_where_the_command_before_it_leads(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with Modern(server.port).join_in(bo := new_name("bo")) as friend:
            ops = new_name("ops")
            group = friend.done(m.CREATE_GROUP, groupname=ops, groupdesc="")["groupid"]
            pane.type(f"/msg {bo}")
            pane.sees(f"{bo}> ")
            with stopped(server):
                pane.type(f"/join {group}")
                pane.type("meant for the group")
                pane.type("and this")
                pane.sees("2 lines wait for an answer")
            assert friend.push(m.GROUP_CHAT)["msg"] == "meant for the group"
            assert friend.push(m.GROUP_CHAT)["msg"] == "and this"
            pane.sees(f"[{ops}]> ", "│ meant for the group ✓")
            pane.leave()

    def test_a_line_is_not_split(self, server: Server, tmux: Tmux) -> None:
        """A half-typed line moves along with the command. The draft that was there comes back with Up."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with (
            Modern(server.port).join_in(bo := new_name("bo")),
            Modern(server.port).join_in(yu := new_name("yu")) as friend,
        ):
            for name in (bo, yu):
                pane.type(f"/add {name}")
                pane.sees(f"● {name}")
            pane.press("M-2")
            pane.sees(f"{yu}> ")
            pane.write("a draft for yu")
            pane.press("M-1")
            pane.sees(f"{bo}> ")
            with stopped(server):
                pane.type(f"/who {new_name('zed')}")
                pane.type(f"/msg {yu}")
                pane.sees("1 line waits for an answer")
                pane.write("bo, this is ")
                pane.sees(f"{bo}> bo, this is")
            pane.sees(f"{yu}> bo, this is")
            pane.type("only for you")
            assert friend.push(m.ONE_CHAT)["msg"] == "bo, this is only for you"
            pane.sees("│ bo, this is only for you ✓")
            pane.press("Up")
            pane.sees(f"{yu}> bo, this is only for you")
            pane.press("Up")
            pane.sees(f"{yu}> a draft for yu")
            pane.press("C-c", "M-1")
            pane.shows(lambda screen: screen.splitlines()[-1:] == [f"{bo}>"], "no draft for bo")
            pane.leave()

    def test_who_has_gone_elsewhere_stays(self, server: Server, tmux: Tmux) -> None:
        """A user who has gone elsewhere meanwhile stays there.

        Text that waited for the command becomes a draft where it was typed.
        """
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with (
            Modern(server.port).join_in(bo := new_name("bo")) as owner,
            Modern(server.port).join_in(yu := new_name("yu")) as friend,
        ):
            ops = new_name("ops")
            group = owner.done(m.CREATE_GROUP, groupname=ops, groupdesc="")["groupid"]
            for name in (bo, yu):
                pane.type(f"/add {name}")
                pane.sees(f"● {name}")
            pane.press("M-1")
            pane.sees(f"{bo}> ")
            with stopped(server):
                pane.type(f"/join {group}")
                pane.type("meant for the group")
                pane.sees("1 line waits for an answer")
                pane.press("M-2")
                pane.write("yu, this is ")
                pane.sees(f"{yu}> yu, this is")
            pane.sees(f"-- you are in [{ops}]\n", f"{yu}> yu, this is")
            pane.type("only for you")
            assert friend.push(m.ONE_CHAT)["msg"] == "yu, this is only for you"
            pane.press("M-2")
            pane.sees(f"{bo}> meant for the group")
            pane.press("C-c")
            pane.type(f"/msg #{ops}")
            pane.sees(f"[{ops}]> ")
            pane.leave()

    def test_a_command_that_fails(self, server: Server, tmux: Tmux) -> None:
        """Text that was to follow a failed command is not sent. The text typed next replaces it."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with Modern(server.port).join_in(bo := new_name("bo")) as friend:
            pane.type(f"/msg {bo}")
            pane.sees(f"{bo}> ")
            with stopped(server):
                pane.type(f"/msg {new_name('carol')}")
                pane.paste("a\nb\nc\nd\ne\nf")
                pane.press("Enter")
                pane.sees("send these 6 lines as one message? y/n:")
            pane.sees("no such user")
            pane.type("y")
            pane.sees("not sent, because the command before it failed: a b c d e f", f"{bo}> a\n")
            pane.press("C-c")
            with stopped(server):
                pane.type("/join 4711")
                pane.type("meant for the group")
                pane.sees("1 line waits for an answer")
            pane.sees("no such group", "before it failed: meant for the group", f"{bo}> /join 4711")
            pane.type("/help nosuch")
            pane.sees("there is no /nosuch", f"{bo}> /help nosuch")
            pane.type("for bo")
            assert friend.push(m.ONE_CHAT)["msg"] == "for bo"
            pane.type("/help nosuch")
            pane.sees(f"{bo}> /help nosuch")
            pane.press("BSpace")
            pane.write("X")
            pane.sees(f"{bo}> /help nosucX")
            pane.press("C-c")
            pane.leave()

    def test_what_has_no_answer_when_chatcli_ends(self, server: Server, tmux: Tmux) -> None:
        """Lines without an answer when chatcli ends are asked about, and done where they were entered."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with (
            Modern(server.port).join_in(bo := new_name("bo")) as friend,
            Modern(server.port).join_in(yu := new_name("yu")) as other,
        ):
            pane.type(f"/msg {bo}")
            pane.sees(f"{bo}> ")
            pane.press("M-Up")
            pane.write("half a line")
            pane.sees("\n> half a line")
            pane.press("M-/")
            pane.sees(f"\n{bo}> ")
            with stopped(server):
                pane.type(f"/msg {yu} for yu")
                pane.type("for bo")
                pane.sees("1 line waits for an answer")
                os.kill(pane.pid(), signal.SIGTERM)
                pane.sees(f"ended with {128 + signal.SIGTERM}")
            again = Pane(tmux, server.port, home=pane.home)
            again.sees("2 lines were entered and not done when chatcli ended")
            again.type("y")
            assert other.push(m.ONE_CHAT)["msg"] == "for yu"
            assert friend.push(m.ONE_CHAT)["msg"] == "for bo"
            again.sees(f"\n{bo}> ", "│ for bo ✓")
            again.press("M-Up")
            again.sees("\n> half a line")
            again.leave()


class TestOffers:
    def test_a_command_replaces_what_the_first_screen_offers(self, server: Server, tmux: Tmux) -> None:
        with Modern(server.port).join_in(li := new_name("li")):
            pass
        pane = Pane(tmux, server.port)
        pane.sees("> /register")
        pane.type(f"/login {li}")
        pane.sees("password: ")
        pane.type(PASSWORD)
        pane.sees(f"logged in as {li}")
        pane.type('/register "/login li"')
        pane.sees("a name cannot begin with /", '> /register "/login li"')
        pane.leave()


class TestWidths:
    """Widths of characters.

    A row drawn at the wrong place spoils the screen, and other users write the rows.
    """

    def test_what_is_drawn_is_as_wide_as_the_terminal_thinks(self, tmux: Tmux) -> None:
        found = tmux.folder / "widths"
        command = shlex.join([sys.executable, "-m", "tests.widths", str(found)])
        tmux.run("new-session", "-d", "-c", str(ROOT), command)
        until(lambda: found.exists() and "all seen" in found.read_text(), "all characters", 60)
        assert found.read_text() == "all seen\n"

    def test_in_messages_and_in_the_line(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", li := new_name("li"))
        with Modern(server.port).join_in(bo := new_name("bo")) as friend:
            pane.type(f"/msg {bo}")
            pane.sees(f"{bo}> ")
            user = friend.done(m.LOOKUP, name=li)["id"]
            for number, text in enumerate(
                ("🇩🇪🇫🇷 flags", "ह\u093fन\u094dद\u0940 marks", "a\u3164b\uffa0c fillers")
            ):
                friend.done(m.ONE_CHAT, toid=user, cid=str(number), msg=text)
            said = ["│ DEFR flags", "│ ह◌न\u094dद◌ marks", "│ abc fillers"]
            pane.sees(*said)
            pane.write("👨\u200d👩\u200d👧 🇩🇪 typed")
            pane.sees(f"{bo}> 👨👩👧 DE typed", *said)
            pane.press("Home", "Right", "Delete")
            pane.sees(f"{bo}> 👨👩👧 DE typed")
            pane.press("Delete")
            pane.sees(f"{bo}> 👨👧 DE typed", *said)
            pane.press("Enter")
            assert friend.push(m.ONE_CHAT)["msg"] == "👨\u200d👧 🇩🇪 typed"
            pane.sees("│ 👨👧 DE typed ✓")
            before = pane.screen()
            pane.press("C-l")
            pane.shows(lambda screen: screen == before, "the same, drawn anew")
            pane.leave()
