"""Tests of commands on the screen that act on the current conversation."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from forkchat.wire import msgid as m
from tests.pane import Pane, Tmux
from tests.server import Server, until
from tests.talk import UNLIMITED, Modern, new_name
from tests.test_screen_typing import stopped


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config=UNLIMITED) as found:
        yield found


class TestPager:
    def is_at_end(self, pane: Pane) -> bool:
        pane.press("End")
        return "the original's commands work as well" in pane.screen()

    def test_help_is_read_apart_from_what_is_said(self, server: Server, tmux: Tmux) -> None:
        """The help has a view of its own, in which the conversation's keys do nothing.

        Each of the usual keys closes it.
        """
        pane = Pane(tmux, server.port, size=(80, 24))
        pane.enter("register", new_name("li"))
        pane.type("/group create one")
        pane.sees("[one]> ")
        pane.write("half a line")
        pane.press("F1")
        pane.sees("Keys\n", "PgUp and PgDn scroll; q, Esc, Enter or Ctrl+c closes")
        pane.sees("[one]> ", times=0)
        pane.press("q")
        pane.sees("[one]> half a line")
        pane.press("C-u")
        for key in ("q", "Escape", "Enter", "C-c", "F1"):
            pane.type("/help")
            pane.sees("/register NAME", "Commands\n")
            pane.press("NPage", "NPage", "NPage")
            pane.sees("the original's commands work as well")
            pane.sees("/register NAME", times=0)
            pane.press("Home")
            pane.sees("/register NAME")
            pane.write("xyz/9")
            pane.press("M-a", "C-g", "C-s", "M-o", "C-r")
            pane.resize(80, 20)
            until(lambda: self.is_at_end(pane), "it has the new height, and its end is seen")
            pane.press(key)
            pane.shows(lambda screen: screen.splitlines()[-1:] == ["[one]>"], "nothing was typed")
            pane.resize(80, 24)
        pane.sees("/register NAME", times=0)
        pane.type("/help me")
        pane.sees("-- /me TEXT  say what you do")
        pane.press("F1")
        pane.sees("Keys\n")
        pane.press("C-q")
        pane.sees("ended with 0")


class TestLinks:
    def test_chosen_and_opened(self, server: Server, tmux: Tmux) -> None:
        """A link is opened with $BROWSER. The link is copied if that fails or there is no browser."""
        opened = tmux.folder / "opened"
        script = tmux.folder / "browser"
        script.write_text(f'#!/bin/sh\nprintf %s "$1" >{opened}.new; mv {opened}.new {opened}\n')
        script.chmod(0o755)
        pane = Pane(tmux, server.port, size=(60, 24), BROWSER=str(script))
        pane.enter("register", new_name("li"))
        pane.type("/group create one")
        pane.sees("[one]> ")
        raw = pane.home.folder / "raw"
        pane.record(raw)
        long = "https://example.org/" + "a/long/way/" * 8 + "end"
        pane.type(f"see {long}, or https://a.bc.")
        pane.sees("https://a.bc. ✓")
        pane.press("M-o")
        pane.sees("open: ")
        pane.sees("https://example.org/a/long", times=2)
        pane.write("long")
        pane.press("Enter")
        until(opened.exists, "it is opened")
        assert opened.read_text() == long
        script.write_text("#!/bin/sh\nexit 1\n")
        pane.press("M-o")
        pane.sees("open: ")
        pane.press("Enter")
        pane.sees("browser has", "copied, if the terminal allows it:")
        pane.press("M-o")
        pane.type("nosuch")
        pane.sees("no link has that in it: nosuch")
        pane.leave()
        data = raw.read_bytes().decode()
        parts = re.findall(r"\x1b\]8;id=(\d+);([^\x1b]+)\x1b\\([^\x1b]*)", data)
        ids = {number for number, link, _ in parts if link == long}
        assert len(ids) == 1
        shown = "".join(text for number, _, text in parts if number in ids)
        assert shown.startswith(long)
        assert "\x1b]52;c;aHR0cHM6Ly9hLmJj\x07" in data
        settings = Pane(tmux, server.port, home=pane.home, size=(60, 24), TERM="linux")
        settings.record(raw)
        settings.sees("welcome back")
        settings.press("M-1")
        settings.sees("https://a.bc. ✓")
        settings.leave()
        assert b"\x1b]8;" not in raw.read_bytes()


class TestHere:
    def test_the_group_that_one_is_in(self, server: Server, tmux: Tmux) -> None:
        li, bo = new_name("li"), new_name("bo")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.type("/names")
        pane.sees("which group? name one, or go to one first")
        with Modern(server.port).join_in(bo) as friend:
            pane.type("/group create one")
            pane.sees("[one]> ")
            group = friend.done(m.LOOKUP, name=li) and int(pane.screen().split("/join ")[1].split()[0])
            friend.done(m.ADD_GROUP, groupid=group)
            pane.type("/names")
            pane.sees(f"{li} (", f"{bo} (", "normal, online")
            pane.type("/members #one")
            pane.sees("normal, online", times=2)
            pane.type(f"/remove {bo}")
            pane.sees(f"{bo} was removed from [one]; /readmit")
            pane.type(f"/readmit {bo}")
            pane.sees(f"{bo} may join [one] again")
            friend.done(m.ADD_GROUP, groupid=group)
            pane.type("/me waves")
            pane.sees(f"* │ {li} waves ✓")
            assert friend.push(m.GROUP_CHAT)["msg"] == "/me waves"
            friend.done(m.GROUP_CHAT, groupid=group, cid="1", msg="/me yawns")
            pane.sees(f"* │ {bo} yawns")
            pane.press("M-l")
            pane.sees(f"\n* {bo} yawns")
            pane.press("Enter")
            pane.type(f"/query {bo} hi there")
            pane.sees(f"{bo}> ", "│ hi there")
            pane.press("M-1")
            pane.sees("[one]> ")
            pane.type("/part")
            pane.sees("you have left [one]")
            pane.leave()

    def test_ignored_muted_and_closed(self, server: Server, tmux: Tmux) -> None:
        li, bo = new_name("li"), new_name("bo")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.type("/ignore")
        pane.sees("nobody is ignored")
        pane.type("/mute")
        pane.sees("nothing is muted")
        raw = pane.home.folder / "raw"
        with Modern(server.port).join_in(bo) as friend:
            group = friend.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
            pane.type(f"/join {group}")
            pane.sees("you are in [ops]")
            friend.done(m.GROUP_CHAT, groupid=group, cid="1", msg="seen by all")
            pane.sees("seen by all")
            pane.type(f"/ignore {bo} 2h")
            pane.sees(f"{bo} is ignored until 20")
            pane.sees("seen by all", times=0)
            pane.type(f"/ignore {bo} soon")
            pane.sees("for how long?")
            pane.press("C-u")
            pane.type("/close")
            pane.shows(lambda screen: screen.splitlines()[-1:] == [">"], "the home page")
            pane.sees("[ops]  ", times=0)
            pane.record(raw)
            friend.done(m.GROUP_CHAT, groupid=group, cid="2", msg=f"{li}: hear me")
            user = friend.done(m.LOOKUP, name=li)["id"]
            pane.type(f"/unignore {bo}")
            pane.sees(f"{bo} is ignored no more")
            pane.type("/mute #ops 1d")
            pane.sees("[ops] is muted until 20")
            friend.done(m.GROUP_CHAT, groupid=group, cid="3", msg=f"{li}: hear me now")
            pane.shows(
                lambda screen: re.search(r"\[ops\] +2", screen), "two unread, of which nothing is said"
            )
            pane.sees("unread conversation", times=0)
            pane.press("M-a")
            pane.sees("nothing is unread elsewhere")
            friend.done(m.ONE_CHAT, toid=user, cid="4", msg="to you")
            pane.sees("1 unread conversation, Alt+a")
            pane.press("M-a")
            pane.sees(f"{bo}> ", "to you")
            pane.type("/unmute #ops")
            pane.sees("[ops] is muted no more", "1 unread conversation, Alt+a")
            pane.leave()
        assert raw.read_bytes().count(b"\x1b]9;") == 1

    def test_it_is_not_done_elsewhere(self, server: Server, tmux: Tmux) -> None:
        """`/leave` is done only where it was meant.

        It is not sent after a failed `/join`, because its conversation is then unknown.
        """
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        for name in ("one", "two"):
            pane.type(f"/group create {name}")
            pane.sees(f"[{name}]> ")
        pane.type("/groups")
        pane.sees("one (g", "two (g")
        group = pane.screen().split("one (g")[1].split(")")[0]
        with stopped(server):
            pane.type("/join 4711")
            pane.type("/leave")
            pane.sees("1 line waits for an answer")
        pane.sees("no such group", "not sent, because the command before it failed: /leave")
        pane.press("C-u")
        with stopped(server):
            pane.type(f"/join {group}")
            pane.type("/leave")
            pane.sees("1 line waits for an answer")
            pane.press("M-0")
            pane.press("M-1")
            pane.sees("[one]> ")
        pane.type("/groups")
        pane.sees("one (g", "two (g")
        pane.press("M-2")
        pane.sees("[two]> /leave")
        pane.press("C-c")
        pane.leave()
