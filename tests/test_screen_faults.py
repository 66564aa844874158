"""Tests of the full-screen client under faults: killed servers and clients, bad servers, full disks."""

from __future__ import annotations

import os
import re
import resource
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import repeat

import pytest

from client.local.journal import Journal
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.clock import Clock
from tests.pane import Home, Pane, Tmux
from tests.scripted import Answers, answer_all, scripted
from tests.server import Server, is_alive, make_data_dir, until
from tests.talk import PASSWORD, Modern, new_name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(
        "-w", "2", config="[limits]\nmessage_rate = 0\nregister_rate = 0\nchange_rate = 0\n"
    ) as found:
        yield found


def kill(pane: Pane) -> None:
    pid = pane.pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), "the client is dead")


def is_told(person: Modern, text: str) -> bool:
    """Return True if `person` was sent `text`, and nothing else."""
    convs = person.done(m.SYNC)["convs"]
    pages = [person.done(m.FETCH, conv=conv["conv"], after=0)["msgs"] for conv in convs]
    return [each["msg"] for page in pages for each in page] == [text]


class TestNothingTypedIsLost:
    def test_server_and_client_killed(self, tmux: Tmux) -> None:
        """Text typed while the server is down arrives once and in order, also if the client is killed."""
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

    @pytest.mark.parametrize("answer", ["y", "n"])
    def test_commands_and_what_waits_behind_them(self, tmux: Tmux, answer: str) -> None:
        """Lines that wait when chatcli is killed are asked about later. On a yes they are done in order.

        chatcli is killed before the server is back to say who carol is.
        """
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            port = server.port
            for name in ("carol", "dave"):
                Modern(port).register(name)
            pane = Pane(tmux, port)
            pane.enter("register", "li")
            server.kill()
        pane.sees("offline: ")
        for text in ("/msg carol", "for carol", "/msg dave for dave"):
            pane.type(text)
        pane.sees("2 lines wait for an answer")
        kill(pane)
        again = Pane(tmux, port, home=pane.home)
        again.sees("3 lines were entered and not done", "entered and not done: for carol")
        again.type("typed blindly")  # neither the lines nor this text is lost
        again.sees("now? y/n: typed blindly")
        again.press("C-c")
        again.sees("now? y/n", times=0)
        kill(again)
        again = Pane(tmux, port, home=pane.home)
        again.sees("3 lines were entered and not done")
        again.type(answer)
        again.sees("3 lines were entered and not done", times=0)
        with Server("-w", "1", "-p", str(port), data_dir=data_dir):
            again.shows(lambda screen: "li ●" in screen, "it is logged in again")
            people = [Modern(port), Modern(port)]
            for person, name in zip(people, ("carol", "dave"), strict=True):
                person.login(name=name, password=PASSWORD)
            if answer == "y":
                again.sees("carol> ")
                for person, name in zip(people, ("carol", "dave"), strict=True):
                    until(partial(is_told, person, f"for {name}"), "it is there, once and alone")
            else:
                again.type("/who carol")
                again.sees("carol, id 1")
                assert not any(person.done(m.SYNC)["convs"] for person in people)
            again.leave()
        last = Pane(tmux, port, home=pane.home)
        last.sees("welcome back, li")
        last.sees("entered and not done", times=0)
        last.leave()

    def test_left_over_lines_stay_with_their_user(self, server: Server, tmux: Tmux) -> None:
        """Left-over lines stay with their user.

        The next user does not get them, unlike a line that is being typed.
        """
        pane = Pane(tmux, server.port)
        pane.enter("register", li := new_name("li"))
        pane.leave()
        with pane.home.file("typed.jsonl").open("a") as journal:
            journal.write('{"entered": "k1", "text": "/who carol"}\n')
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("1 line was entered and not done")
        again.press("C-c")
        again.sees("now? y/n", times=0)
        again.type("/logout")
        again.sees(f"> /login {li}")
        again.enter("register", eve := new_name("eve"))
        again.leave()
        kept = {name: Journal(pane.home.file(f"@{name}") / "typed.jsonl") for name in (li, eve)}
        assert [[*kept[name].entered] for name in (li, eve)] == [["k1"], []]

    def test_a_line_that_is_begun_before_the_login(self, tmux: Tmux) -> None:
        """A line that is begun before the login stays in the input line, no matter which user logs in."""
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            port = server.port
            pane = Pane(tmux, port)
            pane.enter("register", "li")
            pane.type("/group create ops")
            pane.sees("[ops]> ")
            pane.type("said before")
            pane.sees("│ said before ✓")
            pane.leave()
        again = Pane(tmux, port, home=pane.home)
        again.sees("welcome back, li", "offline: ")
        again.write("half a line")
        again.sees("> half a line")
        with Server("-w", "1", "-p", str(port), data_dir=data_dir):
            again.sees("logged in as li", "li ●", "> half a line")
            again.press("C-c")
            again.sees("> half a line", times=0)
            again.press("Up")
            again.sees("> said before")
            again.press("C-c")
            again.press("M-1")
            again.sees("[ops]> ")
            again.write("to be said to ops")
            again.sees("[ops]> to be said to ops")
            with Modern(port) as elsewhere:
                elsewhere.login(name="li", password=PASSWORD, takeover=True)
                again.sees(
                    "you have logged in elsewhere: /takeover comes back here", "[ops]> to be said to ops"
                )
                again.press("C-u")
                again.write(f"/register yu\r{PASSWORD}\r{PASSWORD}\rbegun in ops")
                again.sees("logged in as yu")
                again.shows(lambda screen: screen.splitlines()[-1:] == [">"], "yu's home page")
            again.write(f"/logout\r/login li\r{PASSWORD}\rbegun at home")
            again.sees("logged in as li", times=2)
            again.sees("> begun at home")
            again.press("C-u", "M-1")
            again.sees("[ops]> begun in ops")
            again.press("M-Up")
            again.write("kept at home")
            again.leave()
            last = Pane(tmux, port, home=pane.home)
            last.sees("who are you? li, yu")
            last.write("li\rtyped since")
            last.sees("logged in as li", "\n> typed since")
            last.write("!")
            last.sees("\n> typed since!")
            last.press("Up")
            last.sees("\n> kept at home")
            last.leave()

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
            again.sees("you were removed from this group; its creator can let you in again")
            owner.done(m.GROUPS, op="readmit", groupid=group, id=user)
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
        """A user's unsent messages wait for that user, no matter who logs in meanwhile."""
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
        """The screen says that text cannot be kept on a full disk, and sends it all the same."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
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

    def test_full_at_the_start(self, tmux: Tmux) -> None:
        """Text kept on disk is shown and sent, although the disk is full at the start."""
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            port = server.port
            pane = Pane(tmux, port)
            pane.enter("register", "li")
            pane.type("/group create ops")
            pane.sees("[ops]> ")
        pane.sees("offline: ")
        pane.type("from the disk")
        pane.sees("│ from the disk …")
        pane.write("a draft")
        pane.leave()
        full = Pane(tmux, port, home=pane.home, shell="ulimit -f 0")
        full.sees("welcome back, li", "1 not sent yet", "File too large: what you type and see now is kept")
        with Server("-w", "1", "-p", str(port), data_dir=data_dir):
            full.sees("logged in as li")
            full.press("M-1")
            full.sees("[ops]> a draft", "│ from the disk ✓")
            full.press("C-q")
            full.sees("1 message or draft is not sent and cannot be kept here: leave and lose it? y/n: ")
            full.type("n")
            full.sees("[ops]> a draft")
            full.press("C-c")
            full.leave()

    def test_full_until_it_ends(self, tmux: Tmux) -> None:
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            port = server.port
            pane = Pane(tmux, port)
            pane.enter("register", "li")
            pane.type("/group create ops")
            pane.sees("[ops]> ")
        pane.sees("offline: ")
        resource.prlimit(pane.pid(), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        pane.type("while it is full")
        pane.sees("│ while it is full …", "File too large")
        pane.press("C-q")
        pane.sees("leave and lose it? y/n: ")
        pane.press("C-c")
        pane.sees("leave and lose it?", times=0)
        resource.prlimit(pane.pid(), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        pane.leave()
        pane.sees("1 message is not sent yet; it goes out when chatcli is started again")
        with Server("-w", "1", "-p", str(port), data_dir=data_dir):
            again = Pane(tmux, port, home=pane.home)
            again.sees("logged in as li")
            again.press("M-1")
            again.sees("│ while it is full ✓")
            again.leave()

    def test_a_damaged_page_in_the_middle(self, server: Server, tmux: Tmux) -> None:
        """A damaged page is met while the user scrolls. The file is put aside, and the client goes on."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/group create ops")
        pane.sees("[ops]> ")
        pane.type("the first")
        pane.sees("│ the first ✓")
        pane.leave()
        history = pane.home.file("history.sqlite")
        with closing(sqlite3.connect(history)) as database, database:
            ((conv,),) = database.execute("SELECT conv FROM messages").fetchall()
            rows = [(conv, seq, 57, "bo", f"{seq} {'x' * 500}", seq) for seq in range(2, 2001)]
            database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", rows)
            database.execute("UPDATE conversations SET last = 2000, read = 2000 WHERE conv = ?", (conv,))
        content = bytearray(history.read_bytes())
        middle = len(content) // 2 & -4096
        content[middle : middle + 4 * 4096] = b"\xff" * 4 * 4096
        history.write_bytes(content)
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("logged in as")
        again.press("M-1")
        again.sees("bo │ 2000 xxx")
        again.type("/history #ops 1100")
        again.shows(lambda screen: "malformed" in screen or "Alt+End returns" in screen, "it has scrolled")
        again.press("M-End")
        again.sees("database disk image is malformed: what you type and see now is kept in")
        again.write("goes on")
        again.sees("[ops]> goes on")
        again.leave()
        assert history.with_suffix(".damaged").exists()
        assert not list(pane.home.data.rglob("failures.log"))

    def test_damaged_files(self, server: Server, tmux: Tmux) -> None:
        """Readable parts of damaged files are used. The rest is put aside, and the screen says so."""
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
        again.sees("the messages kept here cannot be read; they are put into")
        again.sees("kept in memory only", times=0)
        again.press("M-1")
        again.sees("[ops]> a draft", "│ hello ✓")
        again.leave()
        assert journal.with_suffix(".damaged").read_bytes().count(b"\n") == 3
        assert history.with_suffix(".damaged").exists()
        accounts = pane.home.file("accounts.json")
        accounts.write_text("{")
        forgetful = Pane(tmux, server.port, home=pane.home)
        forgetful.sees("who has logged in here cannot be read", "> /register")
        forgetful.leave()
        assert accounts.with_suffix(".damaged").read_text() == "{"

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
        one.enter("register", li := new_name("li"))
        two = Pane(tmux, server.port, home=one.home, arguments=("-u", li))
        two.sees("another chatcli is open for", "/takeover ends the session there and logs")
        two.press("C-u")
        two.type("/takeover")
        two.sees("logged in as")
        one.sees("so this session has ended", "you have logged in elsewhere: /takeover comes back here")
        two.leave()
        one.leave()

    def test_the_second_one_has_nothing_on_disk(self, tmux: Tmux) -> None:
        """A second chatcli of one user has nothing on disk, so it does not promise to keep messages."""
        with Server("-w", "1") as server:
            one = Pane(tmux, server.port)
            one.enter("register", "li")
            one.type("/group create ops")
            one.sees("[ops]> ")
            two = Pane(tmux, server.port, home=one.home, arguments=("-u", "li"))
            two.sees("another chatcli is open for li", "/takeover ends the session there")
            two.type("/takeover")
            two.sees("logged in as li")
            two.press("M-1")
            two.sees("[ops]> ")
        two.sees("offline: ")
        two.type("for later")
        two.sees("│ for later …")
        two.press("C-q")
        two.sees("1 message or draft is not sent and cannot be kept here: leave and lose it? y/n: ")
        two.type("n")
        two.sees("│ for later …", "[ops]> ")
        two.press("C-q")
        two.type("y")
        two.sees("ended with 0", "1 message or draft could not be kept, and is lost")
        two.sees("it goes out when chatcli is started again", times=0)
        one.leave()


def kept(home: Home) -> bytes:
    """Return the content of all files in `home`."""
    return b"".join(path.read_bytes() for path in home.folder.rglob("*") if path.is_file())


class TestPasswords:
    def test_behind_the_name_it_is_not_kept(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.type("/friends")
        pane.sees("no friends yet")
        pane.write("/login bo hunter2")
        journal = pane.home.file("typed.jsonl")
        until(lambda: '"/login bo ' in journal.read_text(), "the draft is kept")
        pane.press("Enter")
        pane.sees("usage: /login WHO (the password is asked for", "> /login bo hunter2")
        pane.leave()
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("logged in as", "> /login bo")
        again.press("C-c")
        again.sees("> /login", times=0)
        again.press("Up")
        again.sees("> /friends")
        again.sees("hunter2", times=0)
        again.leave()
        assert b"hunter2" not in kept(pane.home)

    def test_typed_ahead(self, server: Server, tmux: Tmux) -> None:
        """A password typed ahead goes to its question, also while an earlier command runs.

        The text after it does not.
        """
        li = new_name("li")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.write(f"/who {li}\r/passwd\rmy hunter1\rmy hunter2\rmy hunter2\rand this")
        pane.sees("the old password is wrong", "> and this")
        pane.sees("hunter", times=0)
        pane.press("C-c")
        pane.write(f"/logout\r/login {li}\r{PASSWORD}\r/set mouse\r")
        pane.sees("mouse = off", f"{li} ●")
        pane.sees("logged in as", times=2)
        pane.write("/login bo\rmy hunter3\r")
        pane.sees("log out first")
        pane.leave()
        assert b"hunter" not in kept(pane.home)
        assert PASSWORD.encode() not in kept(pane.home)

    def test_interrupted_while_it_is_asked_for(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.write("/who nobody-is-called-so\r/passwd\r\x03and this")
        pane.sees("no such user", "interrupted", "> and this")
        pane.leave()


class TestTerminal:
    def test_interrupts_from_elsewhere(self, server: Server, tmux: Tmux) -> None:
        """SIGINT acts like Ctrl+C, and Ctrl+C in the plain view acts like SIGINT."""
        pane = Pane(tmux, server.port)
        pane.enter("register", new_name("li"))
        pane.write("half")
        pane.sees("> half")
        os.kill(pane.pid(), signal.SIGINT)
        pane.sees("> half", times=0)
        for end in (
            lambda: pane.press("C-c"),
            lambda: os.kill(pane.pid(), signal.SIGINT),
            lambda: pane.press("C-d"),
            lambda: pane.type("not for the line"),
        ):
            pane.press("M-l")
            pane.shows(lambda screen: "-- Enter goes back" in screen, "the plain view")
            end()
            pane.sees("-- Enter goes back", times=0)
            pane.sees("not for the line", times=0)
            pane.write("goes on")
            pane.sees("> goes on")
            pane.press("C-c")
            pane.sees("> goes on", times=0)
        pane.leave()

    def test_suspended(self, server: Server, tmux: Tmux) -> None:
        """A suspended chatcli stops as other programs do, and goes on where it was."""
        pane = Pane(tmux, server.port, shell="set -m")
        pane.enter("register", new_name("li"))
        pid = pane.pid()
        pane.write("half")
        pane.sees("> half")
        pane.press("C-z")
        stopped = signal.SIGTSTP + 128
        pane.sees(f"ended with {stopped}")
        os.kill(pid, signal.SIGCONT)
        pane.sees("> half")
        kill(pane)

    def test_the_wrong_clock(self, server: Server, tmux: Tmux) -> None:
        """Days and times are the server's although the local clock is wrong.

        The order of messages is the server's too.
        """
        clock = Clock(tmux.folder)
        clock.step(3 * 86_400)
        pane = Pane(tmux, server.port, LD_PRELOAD=clock.env["LD_PRELOAD"], CLOCK_OFF=clock.env["CLOCK_OFF"])
        days = {time.strftime("%Y-%m-%d")}
        pane.enter("register", li := new_name("li"))
        with Modern(server.port).join_in(bo := new_name("bo")) as friend:
            pane.type(f"/msg {bo} one")
            pane.sees("│ one ✓")
            friend.done(m.ONE_CHAT, toid=friend.push(m.ONE_CHAT)["id"], cid="1", msg="two")
            pane.sees("│ two")
            clock.step(-3 * 86_400)
            pane.type("three")
            pane.sees("│ three ✓")
        days.add(time.strftime("%Y-%m-%d"))
        screen = pane.screen()
        assert re.findall(r"│ (one|two|three)", screen) == ["one", "two", "three"]
        assert set(re.findall(r"── \w+, (\d+-\d\d-\d\d) ─", screen)) <= days
        assert re.search(r"── \w+, \d+-\d\d-\d\d ─", screen), li
        pane.leave()

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
        pane.type(f"/group create {'a-name-of-many-words' * 2}")
        pane.shows(lambda screen: "\n[a-name" in screen, "the long name")
        pane.resize(20, 5)
        pane.write("fits?")
        pane.shows(lambda screen: screen.splitlines()[-1:] == ["[a-na…> fits?"], "one row for the line")
        pane.press("C-c", "M-1")
        pane.press("M-2")
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


EVIL = "b\x1b]0;owned\x07\x9b7mo\u202e\u2066!"


class TestBadServer:
    def test_names_full_of_escapes(self, tmux: Tmux) -> None:
        """Escapes in names do nothing, wherever the names come from and wherever they are shown."""
        login = {
            "name": EVIL,
            "friends": [{"id": 57, "name": EVIL, "state": EVIL}],
            "groups": [{"id": 9, "groupname": EVIL, "role": EVIL}],
        }
        message = {"msgid": m.ONE_CHAT, "conv": "d12-57", "id": 57, "name": EVIL, "ts": 1}
        said = [
            {"msgid": m.TYPING, "conv": "d12-57", "id": 57, "name": EVIL},
            {"msgid": m.PRESENCE, "id": 57, "name": EVIL, "state": EVIL},
            {"msgid": m.EVENT, "kind": "group_joined", "id": 57, "name": EVIL, "conv": "g9"},
            message | {"msg": "ho", "ephemeral": True},
        ]
        extra = b"".join(line(frame) for frame in said)
        answers: Answers = {
            m.LOGIN: repeat(login),
            m.LOOKUP: repeat({"name": EVIL}),
            m.SYNC: repeat({"convs": [{"conv": "d12-57", "last": 1, "recv": 1, "read": 1}]}),
            m.FETCH: repeat({"msgs": [message | {"msg": "hi", "seq": 1}], "last": 1}),
        }
        with scripted(lambda connection: answer_all(connection, extra, answers)) as port:
            pane = Pane(tmux, port)
            raw = pane.home.folder / "raw"
            pane.record(raw)
            pane.shows(lambda screen: "connected to" in screen, "it has begun")
            pane.press("C-u")
            pane.type("/login li")
            pane.type(PASSWORD)
            pane.sees('logged in as "bo!", id 12')
            for key, title in (("M-1", '["bo!"]>'), ("M-2", '"bo!">')):
                pane.press(key)
                pane.sees(title)
                pane.write("who")
                pane.press("C-c")
            pane.sees("│ hi")
            pane.shows(lambda screen: '"bo!" types' in screen, "who types")
            pane.write("/msg b")
            pane.press("Tab")
            pane.sees('/msg "bo!" ')
            pane.press("C-c")
            pane.write("/msg #")
            pane.press("Tab")
            pane.sees('/msg "#bo!" ')
            pane.press("C-c")
            for command in ("/who 57", "/friends", "/groups", "/nosuch"):
                pane.type(command)
            pane.press("C-g")
            pane.sees("go to: ")
            pane.press("C-c", "M-l")
            pane.sees('"bo!": hi', "-- Enter goes back")
            pane.press("Enter")
            pane.sees("-- Enter goes back", times=0)
            pane.leave()
        data = raw.read_bytes()
        assert b"owned" not in data
        assert b"\x9b7m" not in data
        assert not any(override.encode() in data for override in "\u202e\u2066")

    @pytest.mark.parametrize(
        "extra",
        [{"id": 0}, {"friends": [{"id": 2**32, "name": "bo"}]}, {"groups": [{"id": 0, "groupname": "ops"}]}],
        ids=["oneself", "a friend", "a group"],
    )
    def test_ids_that_nobody_has(self, tmux: Tmux, extra: dict[str, object]) -> None:
        with scripted(lambda connection: answer_all(connection, b"", {m.LOGIN: repeat(extra)})) as port:
            pane = Pane(tmux, port)
            pane.sees("connected to")
            pane.press("C-u")
            pane.type("/login li")
            pane.type(PASSWORD)
            pane.sees("the server's answer is not understood")
            pane.write("goes on")
            pane.leave()
            assert not list(pane.home.data.rglob("failures.log"))

    def test_a_page_that_fails_is_asked_for_again(self, tmux: Tmux) -> None:
        """A page that fails is asked for again by itself, without a key press."""
        page = {"conv": "g9", "seq": 1, "id": 57, "name": "bo", "msg": "said long ago", "ts": 1}
        pages = iter([{"errno": 11, "errmsg": "too busy"}, {"msgs": [page], "last": 1}])
        answers: Answers = {
            m.LOGIN: repeat({"groups": [{"id": 9, "groupname": "ops", "role": ""}]}),
            m.SYNC: repeat({"convs": [{"conv": "g9", "last": 1, "recv": 1, "read": 1, "first": 1}]}),
            m.FETCH: pages,
        }
        with scripted(lambda connection: answer_all(connection, b"", answers)) as port:
            pane = Pane(tmux, port)
            pane.sees("connected to")
            pane.press("C-u")
            pane.type("/login li")
            pane.type(PASSWORD)
            pane.sees("logged in as li")
            pane.press("M-1")
            pane.sees("bo │ said long ago")
            pane.leave()

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
            pane.write("still here")
            pane.sees("bo> still here")
            pane.press("Enter")
            pane.shows(lambda screen: "bo> still" not in screen, "it is entered")
            pane.press("PPage", "PPage", "NPage", "M-a", "M-Up")
            pane.type("/who bo")
            pane.shows(lambda screen: ", id 57" in screen, "the answer")
            pane.leave()
            assert [file.read_text() for file in pane.home.data.rglob("failures.log")] == []
