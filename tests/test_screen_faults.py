"""The full-screen client when things go wrong: killed servers and clients, bad servers, full disks."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from collections.abc import Iterator

import pytest

from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.pane import Pane, Tmux, tmux_server
from tests.scripted import answer_all, scripted
from tests.server import Server, is_alive, make_data_dir, until
from tests.talk import Modern, new_name


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    with tmux_server() as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config="[limits]\nmessage_rate = 0\nregister_rate = 0\n") as found:
        yield found


def kill(pane: Pane) -> None:
    pid = pane.pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), "the client is dead")


class TestNothingTypedIsLost:
    def test_server_and_client_killed(self, tmux: Tmux) -> None:
        """What was typed meanwhile arrives, once and in order."""
        data_dir = make_data_dir()
        texts = ["first while down", "second while down", "third while down"]
        with Server("-w", "2", data_dir=data_dir) as server:
            port = server.port
            one, two = Pane(tmux, port), Pane(tmux, port)
            one.enter("register", "li")
            two.enter("register", "bo")
            one.type("/msg bo before")
            one.sees("│ before ✓")
            two.press("M-a")
            two.sees("│ before")
            server.kill()
        one.sees("offline: ", "next try in")
        for number, text in enumerate(texts, 1):
            one.type(text)
            one.sees(f"│ {text} …", f"{number} not sent yet")
        kill(one)
        again = Pane(tmux, port, home=one.home)
        again.sees("welcome back, li", "3 not sent yet")
        again.press("M-1")
        again.sees("│ before ✓", *[f"│ {text} …" for text in texts])
        with Server("-w", "2", "-p", str(port), data_dir=data_dir):
            again.sees(*[f"│ {text} ✓" for text in texts])
            again.sees("not sent yet", times=0)
            two.sees(*[f"│ {text}" for text in texts])
            shown = [row.split("│ ")[-1].strip() for row in two.screen().splitlines() if "while down" in row]
            assert shown == texts
            again.leave()
            two.leave()

    def test_killed_right_after_enter(self, server: Server, tmux: Tmux) -> None:
        """However little time there was: it is there exactly once."""
        li = new_name("li")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        with Modern(server.port).join_in(bo := new_name("bo")) as friend:
            pane.type(f"/add {bo}")
            pane.sees("is your friend now")
            pane.press("M-1")
            pane.sees(f"{bo}> ")
            for number in range(5):
                pane.type(f"number {number}")
                kill(pane)
                pane = Pane(tmux, server.port, home=pane.home)
                pane.sees(f"logged in as {li}")
                pane.press("M-1")
                pane.sees(f"{bo}> ")
                pane.sees("not sent yet", times=0)
            pane.type("the last")
            pane.sees("│ the last ✓")
            shown = [row.split("│ ")[-1] for row in pane.screen().splitlines() if "│ number" in row]
            got: list[str] = []
            while not got or got[-1] != "the last":
                got.append(friend.push(m.ONE_CHAT)["msg"])
            assert [f"{text} ✓" for text in got[:-1]] == shown
            assert got == sorted(set(got), key=got.index)
            pane.leave()

    def test_refused_messages_stay(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        with Modern(server.port).join_in(new_name("bo")) as owner:
            group = owner.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
            pane.type(f"/join {group}")
            pane.sees("[ops]> ")
            user = owner.push(m.EVENT, kind="group_joined")["id"]
            owner.done(m.GROUPS, op="remove", groupid=group, id=user)
            pane.sees("you were removed from [ops]")
            pane.type("too late")
            pane.sees("│ too late ✗ you are not in this group")
            pane.leave()
            again = Pane(tmux, server.port, home=pane.home)
            again.sees("logged in as")
            again.type(f"/join {group}")
            again.sees("│ too late ✗ you are not in this group")
            again.type("/retry")
            again.sees("1 message is sent again", "│ too late ✓")
            again.sees("✗", times=0)
            assert owner.push(m.GROUP_CHAT)["msg"] == "too late"
            again.type("/discard")
            again.sees("0 messages are let go")
            again.leave()

    def test_logged_out_with_unsent(self, tmux: Tmux) -> None:
        """A user's words wait for that user, whoever logs in meanwhile."""
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            port = server.port
            pane = Pane(tmux, port)
            pane.enter("register", "li")
            pane.type("/group create ops")
            pane.sees("[ops]> ")
        pane.sees("offline: ")
        pane.type("for later")
        pane.sees("│ for later …")
        pane.leave()
        pane.sees("1 message is not sent yet; it goes out when chatcli is started again")
        with Server("-w", "1", "-p", str(port), data_dir=data_dir):
            with Modern(port).join_in("bo"):
                other = Pane(tmux, port, home=tmux.home())
                other.enter("register", "yu")
                other.leave()
            again = Pane(tmux, port, home=pane.home)
            again.sees("logged in as li")
            again.press("M-1")
            again.sees("│ for later ✓")
            again.leave()


class TestDisk:
    def test_full(self, server: Server, tmux: Tmux) -> None:
        """What cannot be kept is said, and sent all the same."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
        until(lambda: list(pane.home.data.rglob("accounts.json")), "the login is kept")
        resource.prlimit(pane.pid(), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file may grow
        pane.type("hello")
        pane.sees("│ hello ✓", "File too large: what you type and see now is kept in memory only")
        resource.prlimit(pane.pid(), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        pane.write("there is room again")
        pane.leave()
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("logged in as")
        again.press("M-1")
        again.sees("[ops]> there is room again", "│ hello ✓")
        again.leave()

    def test_damaged_files(self, server: Server, tmux: Tmux) -> None:
        """What can be read is there; the rest is put aside, and said."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
        pane.type("hello")
        pane.sees("│ hello ✓")
        pane.write("a draft")
        pane.leave()
        history = pane.home.file("history.sqlite")
        journal = history.with_name("typed.jsonl")
        journal.write_bytes(b'{"send": 7}\n\xff\xfe garbage\n' + journal.read_bytes() + b'{"send": "half')
        history.write_bytes(b"this is no database" * 1000)
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("logged in as", "some of what was typed earlier cannot be read")
        again.press("M-1")
        again.sees("[ops]> a draft", "│ hello ✓")
        again.leave()
        assert journal.with_suffix(".damaged").read_bytes().count(b"\n") == 3
        assert history.with_suffix(".damaged").exists()

    def test_damaged_while_it_runs(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
        with sqlite3.connect(pane.home.file("history.sqlite")) as database:
            database.execute("DROP TABLE messages")
        pane.type("hello")
        pane.sees("│ hello ✓", "no such table: messages: what you type and see now is kept in memory only")
        pane.leave()

    def test_a_second_one_on_the_same_machine(self, server: Server, tmux: Tmux) -> None:
        one = Pane(tmux, server.port)
        one.enter("register", new_name("li"))
        two = Pane(tmux, server.port, home=one.home)
        two.sees("another chatcli is open for", "/takeover ends the session there and logs")
        two.press("C-u")
        two.type("/takeover")
        two.sees("logged in as")
        one.sees("you have logged in elsewhere")
        two.leave()
        one.leave()


class TestTerminal:
    def test_tiny(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
        pane.write("typed while it shr")
        pane.resize(20, 5)
        pane.write("ank")
        pane.shows(lambda screen: "shrank" in screen.replace("\n", ""), "what was typed")
        pane.press("Enter")
        pane.shows(lambda screen: "✓" in screen, "it was sent")
        assert len(pane.screen().splitlines()) <= 5
        pane.resize(59, 20)
        pane.shows(
            lambda screen: "│ typed while it shrank ✓" in screen and "forkchat" not in screen, "no list"
        )
        pane.resize(60, 20)
        pane.shows(lambda screen: "forkchat" in screen, "the list")
        for width, height in ((5, 2), (1, 1), (300, 90), (80, 24)):
            pane.resize(width, height)
        pane.sees("│ typed while it shrank ✓")
        pane.leave()


_MEGABYTE = {
    "msgid": 5,
    "conv": "d12-57",
    "seq": 1,
    "id": 57,
    "ts": 1,
    "name": "b\x1b]0;x\x07o",
    "msg": "y" * 1_000_000,
}


class TestBadServer:
    @pytest.mark.parametrize(
        "extra",
        [
            b"garbage\n",
            b'{"msgid":5,"conv":[],"seq":{}}\n{"msgid":4711}\n[]\n{"msgid":106,"reason":7}\n',
            b'{"msgid":121,"kind":"group_left","id":57,"name":"x","conv":"nonsense"}\n\xff\xfe\n',
            b'{"msgid":118,"conv":"d12-57","id":57,"name":"\\u001b[31mbo"}\n',
            line(_MEGABYTE),
        ],
        ids=["garbage", "shapes", "notice", "escapes", "megabyte"],
    )
    def test_it_is_survived(self, tmux: Tmux, extra: bytes) -> None:
        with scripted(lambda connection: answer_all(connection, extra)) as port:
            pane = Pane(tmux, port)
            pane.enter("login", "li")
            pane.type("/msg bo")
            pane.sees("bo> ")
            pane.type("still here")
            pane.shows(lambda screen: "still here" in screen, "what was typed")
            pane.press("PPage", "PPage", "NPage", "M-a", "M-Up")
            pane.type("/who bo")
            pane.shows(lambda screen: ", id 57" in screen, "the answer")
            pane.leave()
            assert [file.read_text() for file in pane.home.data.rglob("failures.log")] == []
