"""Tests of the full-screen client in tmux, against real servers: what people do, and what they see."""

from __future__ import annotations

import re
import socket
import stat
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from client.local.accounts import Accounts
from client.screen.keys import KEYS
from forkchat.wire import msgid as m
from tests.pane import Pane, Tmux
from tests.server import Server, make_data_dir
from tests.talk import PASSWORD, Modern


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(
        "-w", "2", config="[limits]\nmessage_rate = 0\nregister_rate = 0\nchange_rate = 0\n"
    ) as found:
        yield found


def unique(name: str) -> str:
    return f"{name}{uuid.uuid4().hex[:5]}"


class TestFirstStart:
    def test_it_offers_to_register_and_then_logs_in_by_itself(self, server: Server, tmux: Tmux) -> None:
        li = unique("li")
        pane = Pane(tmux, server.port)
        pane.sees(
            f"connected to 127.0.0.1, port {server.port}", "no account is known here yet", "> /register"
        )
        pane.type(li)
        pane.sees(f"password for {li}: ")
        pane.type(PASSWORD)
        pane.sees("the same again: ")
        pane.type(PASSWORD)
        pane.sees(f"logged in as {li}", f"{li} ●")
        pane.leave()
        accounts = pane.home.file("accounts.json")
        assert stat.S_IMODE(accounts.stat().st_mode) == 0o600
        kept = [path.read_bytes() for path in pane.home.folder.rglob("*") if path.is_file()]
        assert not any(PASSWORD.encode() in content for content in kept)
        again = Pane(tmux, server.port, home=pane.home)
        again.sees(f"welcome back, {li}", f"logged in as {li}", f"{li} ●")
        again.type("/logout")
        again.sees("logged out", "not logged in")
        again.leave()
        third = Pane(tmux, server.port, home=pane.home)
        third.sees(f"> /login {li}")
        third.press("Enter")
        third.sees("password: ")
        third.type("wrong")
        third.sees("wrong name or password", f"> /login {li}")
        third.leave()

    def test_the_login_is_kept_until_it_is_of_no_use(self, server: Server, tmux: Tmux) -> None:
        li = unique("li")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.type("/passwd")
        for question, answer in (
            ("old password: ", PASSWORD),
            ("new password: ", "another one"),
            ("the same again: ", "another one"),
        ):
            pane.sees(question)
            pane.paste(f"{answer}\n")  # as it was copied, with its line end
            pane.press("Enter")
        pane.sees("the password is changed")
        pane.leave()
        again = Pane(tmux, server.port, home=pane.home)
        again.sees(f"welcome back, {li}", f"logged in as {li}")
        again.type("/logout")
        again.sees("logged out", "not logged in")
        again.type("/takeover")
        again.sees("/takeover comes after a /login that was refused")
        again.press("C-u")
        again.leave()
        accounts = Accounts(pane.home.file("accounts.json"), f"127.0.0.1:{server.port}")
        account = accounts.known()[0]
        assert (account.name, account.token) == (li, "")
        accounts.save(replace(account, token="no such token"))
        third = Pane(tmux, server.port, home=pane.home)
        third.sees("the last login has expired", f"> /login {li}")
        third.leave()
        assert accounts.known()[0] == account

    def test_nothing_answers(self, tmux: Tmux) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        pane = Pane(tmux, port)
        pane.sees("to start a server there: ", "> /register")  # the rest may be wrapped anywhere
        pane.type("li")
        pane.sees("password for li", "not logged in")
        pane.write(f"{PASSWORD}\r{PASSWORD}\r")
        pane.sees(f"nothing to chat with at 127.0.0.1, port {port}: Connection refused", times=2)
        pane.sees("to start a server there: ", times=2)
        pane.leave()

    def test_the_server_comes_later(self, tmux: Tmux) -> None:
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            port = server.port
            pane = Pane(tmux, port)
            pane.enter("register", "li")
            pane.leave()
        pane = Pane(tmux, port, home=pane.home)
        pane.sees("welcome back, li", "offline: ", "next try in")
        with Server("-w", "1", "-p", str(port), data_dir=data_dir):
            pane.sees("logged in as li", "li ●")
            pane.leave()

    def test_online_elsewhere(self, server: Server, tmux: Tmux) -> None:
        li = unique("li")
        one, two = Pane(tmux, server.port), Pane(tmux, server.port)
        one.enter("register", li)
        two.sees("connected to")
        two.press("C-u")
        two.type(f"/login {li}")
        two.sees("password: ")
        two.type(PASSWORD)
        two.sees("/takeover ends the session there")
        two.press("C-u")
        two.type("/takeover")
        two.sees(f"logged in as {li}")
        one.sees("so this session has ended", "you have logged in elsewhere: /takeover comes back here")
        one.type("/takeover")
        two.sees("so this session has ended")
        one.leave()
        two.leave()


class TestTwoPeople:
    def test_register_befriend_chat_and_group(self, server: Server, tmux: Tmux) -> None:
        li, bo, ops = unique("li"), unique("bo"), unique("ops")
        one, two = Pane(tmux, server.port), Pane(tmux, server.port, size=(80, 24))
        one.enter("register", li)
        two.enter("register", bo)
        one.type(f"/add {bo}")
        one.sees("is your friend now, and online", f"● {bo}")
        two.sees(f"{li} has added you as a friend")
        one.press("M-1")
        one.sees(f"{bo}> ", f"{bo}  online")
        one.type("你好，世界 👋 are you there?")
        one.sees("你好，世界 👋 are you there? ✓")
        two.sees("1 unread conversation, Alt+a")
        two.press("M-a")
        two.sees(f"{li} │ 你好，世界 👋 are you there?", "── unread ──", f"{li}> ")
        one.sees("are you there? ✓✓")
        two.write("I am ty")
        one.sees(f"{bo} types …")
        two.type("ping")
        one.sees("│ I am typing", times=1)
        one.type(f"/group create {ops}")
        one.sees("others join it with /join")
        group = re.search(r"/join (\d+)", one.screen())
        assert group
        two.type(f"/join {group[1]}")
        two.sees(f"[{ops}]> ")
        one.sees(f"{bo} has joined [{ops}]")
        two.type("to all")
        one.sees(f"{bo} │ to all")
        one.type("/members #" + ops)
        one.sees(f"{li} (", "creator, online", "normal, online")
        two.leave()
        one.sees(f"○ {bo}")
        one.leave()

    def test_nobody_is_online_while_we_are_not(self, tmux: Tmux) -> None:
        with Server("-w", "1") as server:
            pane = Pane(tmux, server.port)
            pane.enter("register", "li")
            with Modern(server.port).join_in("bo"):
                pane.type("/add bo")
                pane.sees("● bo")
                pane.press("M-1")
                pane.sees("bo  online")
                server.kill()
                pane.sees("offline: ")
                pane.sees("bo  online", "● bo", "○ bo", times=0)
                pane.leave()

    def test_escapes_and_overrides_of_others_do_nothing(self, server: Server, tmux: Tmux) -> None:
        li = unique("li")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        raw = pane.home.folder / "raw"
        pane.record(raw)
        evil = "\x1b[2J\x1b]0;owned\x07evil \u202egnp.exe \x9b31m red " + "x" * 5000
        with Modern(server.port).join_in(unique("bo")) as other:
            found = other.done(m.LOOKUP, name=li)
            other.done(m.ONE_CHAT, toid=found["id"], cid="1", msg=evil)
        pane.sees("1 unread conversation, Alt+a")
        pane.press("M-a")
        pane.press("PPage", "PPage", "PPage", "PPage")
        pane.sees("evil gnp.exe")
        pane.leave()
        data = raw.read_bytes()
        assert b"owned" not in data
        assert "\u202e".encode() not in data
        assert b"\x1b[31m red" not in data

    def test_three_conversations_unread(self, server: Server, tmux: Tmux) -> None:
        """Alt+a leads through the unread conversations, and other keys through the list."""
        li, ops, fun = unique("li"), unique("ops"), unique("fun")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        with Modern(server.port).join_in(bo := unique("bo")) as friend:
            groups = {}
            for name in (ops, fun):
                groups[name] = friend.done(m.CREATE_GROUP, groupname=name, groupdesc="")["groupid"]
                pane.type(f"/join {groups[name]}")
                pane.sees(f"you are in [{name}]")
            user = friend.done(m.LOOKUP, name=li)["id"]
            pane.type(f"/msg {bo} hi")
            pane.sees(f"[{fun}]> ", f"to {bo}: hi")
            assert friend.push(m.ONE_CHAT)["msg"] == "hi"
            pane.press("M-9")  # there is no ninth conversation
            pane.press("M-0")
            pane.press("C-g")
            pane.sees("go to: ")
            pane.write("forkc")
            pane.press("Enter")
            pane.shows(lambda screen: screen.splitlines()[-1:] == [">"], "the home page")
            for number in range(3):
                friend.done(m.GROUP_CHAT, groupid=groups[fun], cid=f"f{number}", msg=f"fun {number}")
            friend.done(m.GROUP_CHAT, groupid=groups[ops], cid="o", msg=f"{li.upper()}: look!")
            friend.done(m.ONE_CHAT, toid=user, cid="d1", msg="just you")
            friend.done(m.ONE_CHAT, toid=user, cid="d2", msg="and more")
            pane.sees("3 unread conversations, Alt+a")
            pane.shows(lambda screen: re.search(rf"\[{fun}\] +3", screen), "three in the one group")
            pane.shows(lambda screen: re.search(rf"{bo} +2", screen), "two of the friend")
            pane.press("M-a")  # the mention comes before the other group, which is above it
            pane.sees(f"[{ops}]> ", "look!")
            pane.press("M-a")
            pane.sees(f"{bo}> ", "just you", "and more", "── unread ──")
            pane.press("M-a")
            pane.sees(f"[{fun}]> ", "fun 0", "fun 2", "── unread ──")
            pane.sees("unread conversation", times=0)
            pane.press("M-a")
            pane.sees("nothing is unread elsewhere")
            pane.press("M-Down")
            pane.sees(f"[{ops}]> ")
            pane.press("M-Up", "M-Up")
            pane.shows(lambda screen: screen.splitlines()[-1:] == [">"], "the home page")
            pane.press("M-3")
            pane.sees(f"{bo}> ")
        pane.leave()


@pytest.fixture(scope="module")
def told(server: Server) -> Iterator[tuple[str, str]]:
    """A user who has received 400 messages: their name, and the sender's."""
    li, bo = unique("li"), unique("bo")
    with Modern(server.port).join_in(li) as reader:
        reader.done(m.LOGINOUT)
        with Modern(server.port).join_in(bo) as writer:
            for number in range(400):
                text = f"line {number:03} of many" + (" 针 Needle" if number in (50, 222) else "")
                writer.say(m.ONE_CHAT, toid=reader.id, cid=str(number), msg=text)
            writer.done(m.LOOKUP, name=li)
    yield li, bo


class TestKeys:
    def test_scrolling_and_searching(self, server: Server, tmux: Tmux, told: tuple[str, str]) -> None:
        li, bo = told
        pane = Pane(tmux, server.port, size=(90, 24))
        pane.enter("login", li)
        pane.sees("1 unread conversation, Alt+a")
        pane.press("M-a")
        pane.sees("line 399 of many", f"{bo}> ")
        pane.press("M-u")
        pane.sees("line 000 of many", "── unread ──", "scrolled back, Alt+End returns")
        pane.press("PPage")
        pane.press("PPage")
        pane.sees("line 000 of many")
        pane.press("NPage")
        pane.sees("line 025 of many")
        pane.sees("line 000 of many", times=0)
        pane.press("M-End")
        pane.sees("line 399 of many")
        pane.sees("scrolled back", times=0)
        pane.press("C-s")
        pane.sees("search: ")
        pane.write("needle")
        pane.sees("line 222 of many 针 Needle")
        pane.press("C-s")
        pane.sees("line 050 of many 针 Needle")
        pane.press("C-s")
        pane.sees("search, nothing further on this computer: needle")
        pane.press("C-c")
        pane.sees("line 399 of many")
        pane.type("/search 针")
        pane.sees("line 222 of many")
        pane.press("M-End")
        pane.type(f"/history {bo} 300")
        pane.sees("line 100 of many")
        pane.press("M-End")
        pane.sees("line 399 of many")
        pane.type("/history 300")
        pane.sees("line 100 of many")
        for _ in range(20):
            pane.press("PPage")
        pane.sees("line 000 of many")
        pane.leave()

    def test_the_input_line(self, server: Server, tmux: Tmux) -> None:
        li, bo = unique("li"), unique("bo")
        with Modern(server.port).join_in(bo) as friend:
            editor = tmux.folder / "editor"
            editor.write_text('#!/bin/sh\nprintf "%s, edited$FORKCHAT_NEW_PASSWORD" "$(cat "$1")" >"$1"\n')
            editor.chmod(0o755)
            pane = Pane(tmux, server.port, EDITOR=str(editor), FORKCHAT_NEW_PASSWORD="not for the editor")
            pane.enter("register", li)
            pane.write("/unf")
            pane.press("Tab")
            pane.sees("> /unfriend ")
            pane.press("C-c")
            pane.sees("/unfriend", times=0)
            pane.type(f"/add {bo}")
            pane.sees("is your friend now")
            pane.write("/msg " + bo[:4])
            pane.press("Tab")
            pane.sees(f"/msg {bo} ")
            pane.press("Enter")
            pane.sees(f"what you type now goes to {bo}")
            pane.write("first")
            pane.press("M-Enter")
            pane.type("second")
            assert friend.push(m.ONE_CHAT)["msg"] == "first\nsecond"
            pane.type("an apple")
            pane.sees("│ an apple ✓")
            pane.type("a banana")
            pane.sees("│ a banana ✓")
            pane.press("Up")
            pane.sees(f"{bo}> a banana")
            pane.press("C-c")
            pane.sees(f"{bo}> a banana", times=0)
            pane.press("C-r")
            pane.sees("typed before: ")
            pane.write("app")
            pane.sees(f"{bo}> an apple")
            pane.press("Enter")
            pane.press("C-c")
            pane.sees(f"{bo}> an apple", times=0)
            pane.write("half")
            pane.press("M-k")
            pane.sees(f"{bo}> half, edited")
            pane.press("C-c")
            friend.done(
                m.ONE_CHAT, toid=friend.done(m.LOOKUP, name=li)["id"], cid="1", msg=f"x\n{li}: I agree"
            )
            pane.sees("I agree")
            pane.press("M-l")
            pane.sees(f"\n{li}: a banana", f"\n{bo}: x\n      │ {li}: I agree\n-- Enter goes back")
            pane.press("Enter")
            pane.sees("-- Enter goes back", times=0)
            pane.type("/mgs bo hi")
            pane.sees("do you mean /msg WHO [TEXT]?", "> /mgs bo hi")
            pane.press("C-c")
            pane.type("/quit")
            pane.sees("ended with 0")

    def test_every_key(self, server: Server, tmux: Tmux) -> None:
        """Each key does what its line of the help says."""
        li, bo = unique("li"), unique("bo")
        editor = tmux.folder / "shouter"
        editor.write_text('#!/bin/sh\nprintf "%s!" "$(cat "$1")" >"$1"\n')
        editor.chmod(0o755)
        with Modern(server.port).join_in(li) as owner, Modern(server.port).join_in(bo) as friend:
            groups = [
                owner.done(m.CREATE_GROUP, groupname=f"k{n}", groupdesc="")["groupid"] for n in range(1, 10)
            ]
            for group in groups:
                friend.done(m.ADD_GROUP, groupid=group)
            owner.done(m.LOGINOUT)
            pane = Pane(tmux, server.port, size=(90, 24), EDITOR=str(editor))
            pane.enter("login", li)
            for number in range(1, 10):
                pane.press(f"M-{number}")
                pane.sees(f"[k{number}]> ")
            for key, number in (("M-Up", 8), ("M-Down", 9), ("M-/", 8)):
                pane.press(key)
                pane.sees(f"[k{number}]> ")
            pane.press("C-g")
            pane.sees("go to: ")
            pane.type("nosuch")
            pane.sees("no conversation has that in its name: nosuch")
            pane.press("C-g")
            pane.sees("go to: ")
            pane.write("k3\rsaid at once\r")
            pane.sees("[k3]> ", "│ said at once ✓")
            for number in range(60):
                friend.done(m.GROUP_CHAT, groupid=groups[4], cid=str(number), msg=f"line {number:02}")
            pane.sees("1 unread conversation, Alt+a")
            pane.press("M-a")
            pane.sees("[k5]> ", "line 59")
            pane.press("M-u")
            pane.sees("── unread ──", "line 00", "Alt+End returns")
            pane.press("M-End")
            pane.sees("line 59")
            pane.press("PPage")
            pane.sees("line 59", times=0)
            pane.press("NPage")
            pane.sees("line 59")
            pane.press("C-s")
            pane.write("line 0")
            pane.sees("line 09", "search: line 0")
            pane.press("C-s")
            pane.sees("line 08")
            pane.press("C-c")
            pane.sees("search: ", times=0)
            for text in ("one", "two"):
                pane.type(text)
                pane.sees(f"│ {text} ✓")
            for key, text in (("Up", "two"), ("Up", "one"), ("Down", "two")):
                pane.press(key)
                pane.sees(f"[k5]> {text}")
            pane.press("C-c")
            pane.press("C-r")
            pane.write("on")
            pane.sees("typed before: on", "[k5]> one")
            pane.press("Enter")
            pane.press("C-c")
            pane.sees("[k5]> one", times=0)
            pane.write("/unf")
            pane.press("Tab")
            pane.sees("[k5]> /unfriend ")
            pane.press("C-c")
            pane.write("above")
            pane.press("M-Enter")
            pane.write("below")
            pane.press("M-k")
            pane.sees("below!")
            pane.press("Enter")
            assert friend.push(m.GROUP_CHAT, groupid=groups[4])["msg"] == "one"
            assert friend.push(m.GROUP_CHAT, groupid=groups[4])["msg"] == "two"
            assert friend.push(m.GROUP_CHAT, groupid=groups[4])["msg"] == "above\nbelow!"
            pane.press("M-l")
            pane.sees("-- Enter goes back")
            pane.press("Enter")
            pane.sees("-- Enter goes back", times=0)
            pane.press("M-o")
            pane.sees("there are no links here")
            pane.press("C-z")  # no shell could resume chatcli here, so the system does nothing
            pane.write("no ^Z")
            pane.sees("[k5]> no ^Z")
            pane.press("C-c")
            pane.press("F1")
            pane.sees(*(f"\n{key.name} " for key in KEYS[:12]))
            pane.press("NPage")
            pane.sees(*(f"\n{key.name} " for key in KEYS[-12:]))
            pane.press("F1")
            pane.sees("[k5]> ")
            pane.spoil("SPOILT")
            pane.sees("SPOILT")
            pane.press("C-l")
            pane.sees("SPOILT", times=0)
            pane.leave()
        named = {"PgUp": ["PPage"], "PgDn": ["NPage"], "Up, Down": ["Up", "Down"]}
        for each in KEYS:
            keys = named.get(each.name, [each.name.replace("Alt+", "M-").replace("Ctrl+", "C-")])
            assert set(keys) <= pane.pressed, each.name

    def test_what_is_missed_while_one_is_scrolled_back(
        self, server: Server, tmux: Tmux, told: tuple[str, str]
    ) -> None:
        li, bo = told
        pane = Pane(tmux, server.port, size=(120, 24))
        with Modern(server.port) as friend:
            friend.login(name=bo, password=PASSWORD)
            pane.enter("login", li)
            pane.press("C-s")
            pane.sees("there is nothing to search here")
            pane.press("C-c", "C-c", "C-c")
            pane.sees("Ctrl+q or /quit leaves")
            pane.type(f"/msg {bo}")
            pane.sees("line 399 of many")
            pane.press("PPage")
            pane.sees("scrolled back, Alt+End returns")
            pane.type("/join 4711")
            pane.sees("no such group")
            pane.press("C-c")
            pane.sees("no such group")
            user = friend.done(m.LOOKUP, name=li)["id"]
            friend.done(m.ONE_CHAT, toid=user, cid="below", msg="said below")
            pane.sees("1 new message below, Alt+End returns")
            pane.press("M-a")
            pane.sees("│ said below")
            pane.sees("Alt+End returns", times=0)
            pane.leave()

    def test_pasting(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", unique("li"))
        with Modern(server.port).join_in(bo := unique("bo")) as friend:
            pane.type(f"/msg {bo}")
            pane.sees(f"{bo}> ")
            pane.paste("1\n2\n3")
            pane.press("Enter")
            assert friend.push(m.ONE_CHAT)["msg"] == "1\n2\n3"
            pane.paste("\n".join(f"line {number}" for number in range(12)))
            pane.press("Enter")
            pane.sees("send these 12 lines as one message? y/n:")
            pane.press("C-c", "C-c")
            pane.paste("".join(f"line {number}\n" for number in range(12)))
            pane.press("Enter")
            pane.sees("send these 12 lines as one message? y/n:")
            pane.type("n")
            pane.sees("line 11")
            pane.write("\ry\rand then this")  # faster than the screen can show
            assert friend.push(m.ONE_CHAT)["msg"].endswith("line 10\nline 11")
            pane.sees(f"{bo}> and then this")
            pane.press("C-c")
            pane.write(f"/msg {bo} ")
            pane.paste("\n".join(f"row {number}" for number in range(30)))
            pane.press("Enter")
            pane.sees("send these 30 lines as one message? y/n:")
            pane.press("C-c")
            pane.sees("row 29")
            pane.write("\ry\r")
            assert friend.push(m.ONE_CHAT)["msg"].startswith("row 0\nrow 1\n")
            with Modern(server.port).join_in(yu := unique("yu")) as other:
                lines = "\n".join(f"for {bo} {number}" for number in range(6))
                pane.write(f"/msg {yu}\r\x1b[200~{lines}\x1b[201~\r")
                pane.sees("send these 6 lines as one message? y/n:", f"what you type now goes to {yu}")
                pane.type("y")
                assert other.push(m.ONE_CHAT)["msg"] == lines
                pane.sees(f"{yu}> ")
                pane.press("M-/")
                pane.sees(f"{bo}> ")
            pane.paste("x" * 70_000)
            pane.sees("that is too long to be pasted: 70000 characters")
            pane.paste("x" * 9000)
            pane.press("Enter")
            pane.sees("a text may have 8192 bytes")
            pane.press("C-c")
            pane.leave()

    def test_back_from_a_group_that_one_has_left(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", unique("li"))
        pane.type("/group create one")
        pane.sees("[one]> ")
        pane.type("/leave #one")
        pane.sees("you have left [one]")
        pane.press("M-/")
        pane.write("at home")
        pane.shows(lambda screen: screen.splitlines()[-1:] == ["> at home"], "the home page")
        pane.press("C-c")
        pane.leave()

    def test_drafts(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", unique("li"))
        pane.type("/group create one")
        pane.sees("the group one is made")
        pane.type("/group create two")
        pane.sees("the group two is made")
        pane.write("half of this")
        pane.press("M-1")
        pane.sees("[one]> ", "✎")
        pane.sees("half of this", times=0)
        pane.press("M-2")
        pane.sees("[two]> half of this")
        pane.leave()
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("✎", "[two]")
        again.press("M-2")
        again.sees("[two]> half of this")
        again.leave()


class TestSettings:
    def test_chinese(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", unique("li"))
        pane.type("/set lang zh")
        pane.sees("lang = zh")
        pane.press("F1")
        pane.sees("下一个未读会话")
        pane.press("q")
        pane.type("/set")
        pane.sees("notify = osc9")
        pane.leave()
        again = Pane(tmux, server.port, home=pane.home)
        again.sees("欢迎回来")
        again.leave()
        by_locale = Pane(tmux, server.port, LC_ALL="zh_CN.UTF-8")
        by_locale.sees("这台电脑上还没有已知的账号")
        by_locale.leave()

    def test_mouse(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", unique("li"))
        pane.type("/group create one")
        pane.sees("[one]> ")
        for number in range(40):
            pane.type(f"number {number}")
        pane.sees("number 39 ✓")
        pane.type("/set mouse on")
        pane.sees("mouse = on")
        for _ in range(10):
            pane.write("\x1b[<64;50;10M")
        pane.sees("number 39", times=0)
        pane.write("\x1b[<0;5;1M\x1b[<0;5;1m")
        pane.shows(lambda screen: screen.splitlines()[-1:] == [">"], "the home page")
        pane.leave()

    def test_a_click_in_a_long_list(self, server: Server, tmux: Tmux) -> None:
        """A click opens the conversation that it hits, wherever the list begins."""
        li = unique("li")
        with Modern(server.port).join_in(li) as owner:
            for number in range(40):
                owner.done(m.CREATE_GROUP, groupname=f"group{number:02}", groupdesc="")
        pane = Pane(tmux, server.port)
        pane.enter("login", li)
        pane.type("/set mouse on")
        pane.sees("mouse = on")
        for middle in ("group20", "group39", "group15", "group00"):
            pane.press("C-g")
            pane.sees("go to: ")
            pane.type(middle)
            pane.sees(f"[{middle}]> ")
            for row in (2, 26):
                (name,) = re.findall(r"\[(group\d\d)\] +│", pane.screen().splitlines()[row - 1])
                pane.write(f"\x1b[<0;5;{row}M\x1b[<0;5;{row}m")
                pane.sees(f"[{name}]> ")
        pane.leave()

    def test_no_color(self, server: Server, tmux: Tmux) -> None:
        coloured, plain = Pane(tmux, server.port), Pane(tmux, server.port, NO_COLOR="1")
        for pane, is_coloured in ((coloured, True), (plain, False)):
            pane.enter("register", unique("li"))
            assert bool(re.search(r"\x1b\[[0-9;]*[39][0-7]m", pane.escapes())) is is_coloured
            pane.leave()

    def test_bad_settings(self, server: Server, tmux: Tmux) -> None:
        home = tmux.home()
        home.settings.parent.mkdir(parents=True)
        home.settings.write_text('bell = "loud"\nnosuch = 1\nnotify = "smoke"\n')
        pane = Pane(tmux, server.port, home=home)
        pane.sees("ended with 1")
        said = pane.errors.read_text()
        for complaint in ("bell must be true or false", "nosuch is unknown", "notify is one of"):
            assert complaint in said


class TestNotices:
    def test_what_is_looked_at_rings_no_bell(self, server: Server, tmux: Tmux) -> None:
        """A message in the current conversation rings no bell.

        A group's message elsewhere rings only for a mention.
        """
        li, bo, ops = unique("li"), unique("bo"), unique("ops")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        raw = pane.home.folder / "raw"
        with Modern(server.port).join_in(bo) as friend:
            group = friend.done(m.CREATE_GROUP, groupname=ops, groupdesc="")["groupid"]
            pane.type(f"/join {group}")
            pane.sees(f"[{ops}]> ")
            pane.record(raw)
            pane.write("looking")
            pane.sees("> looking")
            friend.done(m.GROUP_CHAT, groupid=group, cid="1", msg=f"{li}: seen at once")
            pane.sees("seen at once")
            pane.press("C-c", "M-/")
            pane.shows(lambda screen: screen.splitlines()[-1:] == [">"], "the home page")
            friend.done(m.GROUP_CHAT, groupid=group, cid="2", msg="for nobody")
            friend.done(m.GROUP_CHAT, groupid=group, cid="3", msg=f"@{li} come")
            pane.sees("1 unread conversation, Alt+a")
            pane.leave()
        notices = re.findall(rb"\x1b\]9;([^\x07]*)\x07", raw.read_bytes())
        assert notices == [f"{bo} [{ops}]: @{li} come".encode()]

    def test_switched_off(self, server: Server, tmux: Tmux) -> None:
        pane = Pane(tmux, server.port)
        pane.enter("register", li := unique("li"))
        for setting in ("bell off", "notify off"):
            pane.type(f"/set {setting}")
            pane.sees(f"{setting.replace(' ', ' = ')}  ")
        raw = pane.home.folder / "raw"
        pane.record(raw)
        with Modern(server.port).join_in(unique("bo")) as friend:
            user = friend.done(m.LOOKUP, name=li)["id"]
            friend.done(m.ONE_CHAT, toid=user, cid="1", msg="not a sound")
            pane.sees("1 unread conversation, Alt+a")
            pane.leave()
        assert b"\x07" not in raw.read_bytes()
        assert b"not a sound" not in raw.read_bytes()

    def test_bell_and_desktop(self, server: Server, tmux: Tmux) -> None:
        li, bo = unique("li"), unique("bo")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        raw = pane.home.folder / "raw"
        pane.record(raw)
        with Modern(server.port).join_in(bo) as friend:
            friend.done(
                m.ONE_CHAT, toid=friend.done(m.LOOKUP, name=li)["id"], cid="1", msg="wake\x07 up; now"
            )
            pane.sees("1 unread conversation, Alt+a")
            pane.leave()
        assert f"\x07\x1bPtmux;\x1b\x1b]9;{bo}: wake up, now\x07\x1b\\".encode() in raw.read_bytes()
