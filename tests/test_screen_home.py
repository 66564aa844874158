"""Tests of a home that several people share, and of words that are commands only on the home page."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from forkchat.wire import msgid as m
from tests.pane import Home, Pane, Tmux
from tests.server import Server, until
from tests.talk import PASSWORD, UNLIMITED, Modern, new_name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config=UNLIMITED) as found:
        yield found


class TestOneHome:
    """The README's first conversation, with li and bo each in a terminal of their own."""

    def test_each_is_asked_who_they_are(self, tmux: Tmux) -> None:
        with Server("-w", "2") as server:
            home = tmux.home()
            one = Pane(tmux, server.port, home=home)
            one.sees("no account is known here yet", "> /register")
            self.register(one, "li")
            until(lambda: home.knows("li"), "li's login is kept")
            two = Pane(tmux, server.port, home=home)
            two.sees("li has another chatcli open on this computer", "> /register")
            two.sees("welcome back", times=0)
            self.register(two, "bo")
            one.type("/add bo")
            one.type("/msg bo hi bo, 你好")
            one.type("/group create ops")
            one.sees("others join it with /join 1", "[ops]> ")
            two.type("/add li")
            two.type("/join 1")
            two.sees("[ops]> ")
            two.type("yes: noodles")
            one.sees("bo │ yes: noodles")
            two.press("M-a")
            two.sees("li │ hi bo, 你好")
            one.leave()
            two.leave()
            self.the_second_time(server, tmux, home)

    def the_second_time(self, server: Server, tmux: Tmux, home: Home) -> None:
        one = Pane(tmux, server.port, home=home)
        one.sees("who are you? bo, li: put your name behind /login", "> /login")
        one.sees("welcome back", times=0)
        one.type("li")  # the token of the last login is kept
        one.sees("logged in as li", "li ●")
        two = Pane(tmux, server.port, home=home)
        two.sees("li has another chatcli open on this computer", "who are you? bo: ", "> /login bo")
        two.press("Enter")
        two.sees("logged in as bo", "bo ●")
        two.type("/msg li still here?")
        one.sees("1 unread conversation, Alt+a")
        one.press("M-a")
        one.sees("bo │ still here?")
        one.leave()
        named = Pane(tmux, server.port, home=home, arguments=("-u", "li"))
        named.sees("welcome back, li", "logged in as li")
        named.leave()
        two.leave()

    def register(self, pane: Pane, name: str) -> None:
        pane.type(name)
        pane.sees(f"password for {name}: ")
        pane.type(PASSWORD)
        pane.sees("the same again: ")
        pane.type(PASSWORD)
        pane.sees(f"logged in as {name}", f"{name} ●")

    def test_the_settings_user_is_at_it_already(self, server: Server, tmux: Tmux) -> None:
        one = Pane(tmux, server.port)
        one.enter("register", li := new_name())
        one.home.settings.parent.mkdir(parents=True)
        one.home.settings.write_text(f'user = "{li}"\n')
        two = Pane(tmux, server.port, home=one.home)
        two.sees("has another chatcli open on this computer", "> /register")
        two.leave()
        one.leave()
        three = Pane(tmux, server.port, home=one.home)
        three.sees(f"welcome back, {li}", f"logged in as {li}")
        three.leave()


class TestTheOriginalsWords:
    def test_in_a_conversation_they_are_said(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with Modern(server.port).join_in(bo := new_name("bo")) as other:
            pane.write(f"/msg {bo}\rhelp\r")  # typed before the client knows where it goes
            assert other.push(m.ONE_CHAT)["msg"] == "help"
            for text in ("loginout", "chat:1:hi", "addfriend:1", "addgroup:", "groupchat:1:x"):
                pane.type(text)
                assert other.push(m.ONE_CHAT)["msg"] == text
            pane.sees("│ help ✓", "│ loginout ✓")
            pane.press("M-Up")
            pane.shows(lambda screen: re.search(r"^>", screen, re.MULTILINE), "the home page")
            pane.type(f"chat:{other.id}:from the home page")
            assert other.push(m.ONE_CHAT)["msg"] == "from the home page"
            pane.press("M-/")
            pane.shows(lambda screen: re.search(r"^>", screen, re.MULTILINE), "the home page")
            pane.type("loginout")
            pane.sees("logged out")
        pane.leave()
