"""Tests of the real client in pipes, against real servers and against scripted bad servers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
import uuid
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from client.aio.client import Client
from client.local.accounts import Account, Accounts
from client.protocol.events import Message
from client.script.codes import AUTHENTICATION, NETWORK, OK, REJECTED, USAGE
from forkchat.wire import msgid as m
from tests.bench.accounts import database, make_accounts
from tests.scripted import answer_all, scripted
from tests.server import CHATCLI, CLIENT_ENV, ROOT, Server, until
from tests.server import chatcli as run_chatcli
from tests.talk import PASSWORD, Modern

#: An argument that is not valid UTF-8, as Python decodes it from the shell.
BROKEN = os.fsdecode(b"\xff")


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:6]}"


def chatcli(port: int, *lines: str, password: str = PASSWORD, **env: str) -> subprocess.CompletedProcess[str]:
    return run_chatcli(f"127.0.0.1:{port}", lines=lines, password=password, **env)


def said(output: str) -> list[str]:
    """Return the messages in `output`, without their times."""
    return [text[9:] for text in output.splitlines() if re.match(r"\d\d:\d\d:\d\d ", text)]


class TestPipes:
    def test_a_script(self, server: Server) -> None:
        li, bo, ops = unique("li"), unique("bo"), unique("ops")
        assert chatcli(server.port, f"/register {bo}").returncode == OK
        done = chatcli(
            server.port,
            f"/register {li}",
            f"/add {bo}",
            f"/add {bo}",
            f"/msg {bo} hi: there",
            "and more",
            f"/group create {ops} for a test",
            "to the group",
            "/groups",
            f"/members #{ops}",
            f"/history {bo} 1",
            f"/msg {bo}",
            "/history 1",
            "/friends",
        )
        assert (done.returncode, done.stderr) == (OK, "")
        assert said(done.stdout) == [
            f"{li} → {bo}: hi: there",
            f"{li} → {bo}: and more",
            f"[{ops}] {li}: to the group",
            f"{li} → {bo}: and more",
            f"{li} → {bo}: and more",
        ]
        assert re.search(rf"-- {li} \(\d+\) creator, online", done.stdout)
        assert re.search(rf"-- {bo} \(\d+\) (online|offline)", done.stdout)
        assert re.findall(rf"-- {bo} \(\d+\) is your friend (\w+)", done.stdout) == ["now", "already"]
        waiting = chatcli(server.port, f"/login {bo}")
        assert said(waiting.stdout) == [f"{li}: hi: there", f"{li}: and more"]
        assert said(chatcli(server.port, f"/login {bo}").stdout) == []

    @pytest.mark.parametrize(
        "leading", ["/msg nobody-there one", "/mgs bo one", "/join 999999", "/group create \t"]
    )
    def test_behind_a_command_that_failed(self, server: Server, leading: str) -> None:
        """A text after a failed command is not sent, because its recipient is unknown.

        The previous recipient does not get it either.
        """
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(bo)
        lines = [f"/register {li}", f"/msg {bo} hi", "/who nobody-there", "and", leading, "SECRET"]
        done = chatcli(server.port, *lines, f"/msg {bo} again")
        assert "to whom?" in done.stderr
        assert said(done.stdout) == [f"{li} → {bo}: {text}" for text in ("hi", "and", "again")]

    def test_a_thousand_lines_in_order(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(bo)
        texts = [f"line {number}" for number in range(1000)]
        done = chatcli(server.port, f"/register {li}", f"/msg {bo}", *texts)
        assert (done.returncode, done.stderr) == (OK, "")
        waiting = chatcli(server.port, f"/login {bo}")
        assert said(waiting.stdout) == [f"{li}: {text}" for text in texts]
        history = chatcli(server.port, f"/login {bo}", f"/history {li} 500")
        assert said(history.stdout) == [f"{li}: {text}" for text in texts[-500:]]

    def test_a_flood_waits_for_the_rate_limit(self) -> None:
        texts = [f"line {number}" for number in range(250)]
        with Server("-w", "1") as server:
            chatcli(server.port, "/register bo")
            done = chatcli(server.port, "/register li", "/msg bo", *texts, "/friends")
            assert (done.returncode, done.stderr) == (OK, "")
            assert said(done.stdout) == [f"li → bo: {text}" for text in texts]
            assert said(chatcli(server.port, "/login bo").stdout) == [f"li: {text}" for text in texts]
            assert said(chatcli(server.port, "/login bo").stdout) == []

    def test_groups_friends_and_passwords(self, server: Server) -> None:
        li, bo = unique("li"), unique("my friend")
        chatcli(server.port, f'/register "{bo}"')
        made = chatcli(
            server.port, f"/register {li}", "/group create team", f'/add "{bo}"', f"/unfriend {bo}"
        )
        group = re.search(r"/join (\d+)", made.stdout)
        assert group
        joined = chatcli(
            server.port, f'/login "{bo}"', f"/join {group[1]}", "hello", "/leave #team", "/groups"
        )
        assert "you have left [team]" in joined.stdout
        assert "no groups yet" in joined.stdout
        found = chatcli(server.port, f"/login {li}", "/friends", f"/who {bo}")
        assert said(found.stdout) == [f'[team] "{bo}": hello']
        assert "no friends yet" in found.stdout
        changed = chatcli(
            server.port, f"/login {li}", "/passwd", "/logout", FORKCHAT_NEW_PASSWORD="another one"
        )
        assert changed.returncode == OK, changed
        assert chatcli(server.port, f"/login {li}").returncode == AUTHENTICATION
        assert chatcli(server.port, f"/login {li}", password="another one").returncode == OK

    def test_lists_of_several_pages(self, server: Server) -> None:
        li, ops = unique("li"), unique("ops")
        assert chatcli(server.port, f"/register {li}", f"/group create {ops}").returncode == OK
        others = [account.id for account in make_accounts(server, 450)]
        with closing(database(server)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT u.id, g.id FROM user u JOIN chat_group g WHERE u.name = %s AND g.name = %s", (li, ops)
            )
            user, group = cursor.fetchone()
            cursor.executemany("INSERT INTO friend VALUES (%s, %s)", [(user, other) for other in others])
            cursor.executemany(
                "INSERT INTO member (user, conv) VALUES (%s, %s)", [(other, f"g{group}") for other in others]
            )
            more = range(group + 1, group + 251)
            cursor.executemany(
                "INSERT INTO chat_group (id, name, description) VALUES (%s, %s, '')",
                [(each, f"{ops}-{each}") for each in more],
            )
            cursor.executemany(
                "INSERT INTO conversation (conv, touched) VALUES (%s, UTC_TIMESTAMP(3))",
                [(f"g{each}",) for each in more],
            )
            cursor.executemany(
                "INSERT INTO member (user, conv) VALUES (%s, %s)", [(user, f"g{each}") for each in more]
            )
            connection.commit()
        done = chatcli(
            server.port,
            f"/login {li}",
            "/friends",
            "/groups",
            f"/members #{ops}",
            f"/msg #{ops}-{more[-1]} hi",
        )
        assert (done.returncode, done.stderr) == (OK, "")
        people = re.findall(r"\((\d+)\) (offline|normal|creator)", done.stdout)
        assert [who for who, what in people if what == "offline"] == [*map(str, others)]
        assert [who for who, what in people if what != "offline"] == [str(user), *map(str, others)]
        assert re.findall(r"\(g(\d+)\) \w+$", done.stdout, re.MULTILINE) == [*map(str, (group, *more))]
        assert said(done.stdout) == [f"[{ops}-{more[-1]}] {li}: hi"]

    def test_the_server_says_why_it_refuses_a_name_or_a_password(self, server: Server) -> None:
        li = unique("li")
        for name, password, complaint in (
            (li, "short", "-- the password must have at least 8 characters\n"),
            (li, "password123", "-- the password is too common or too easy to guess; choose another one\n"),
            ("li\u3164", PASSWORD, "-- name must not contain U+3164 (precis ignorable properties)\n"),
        ):
            done = chatcli(server.port, f"/register {name}", password=password)
            assert (done.returncode, done.stderr) == (REJECTED, complaint)
        assert chatcli(server.port, f"/register {li}").returncode == OK
        done = chatcli(server.port, f"/register {li.upper()}")
        assert (done.returncode, done.stderr) == (
            REJECTED,
            "-- the name looks like that of another account\n",
        )
        done = chatcli(server.port, f"/login {li}", "/passwd", FORKCHAT_NEW_PASSWORD="short")
        assert (done.returncode, "at least 8 characters" in done.stderr) == (REJECTED, True)

    def test_taking_over(self, server: Server) -> None:
        with Modern(server.port).join_in(li := unique("li")) as other:
            refused = chatcli(server.port, f"/login {li}")
            assert refused.returncode == AUTHENTICATION
            assert "/takeover ends the session there" in refused.stderr
            assert f"logged in as {li}" in chatcli(server.port, f"/login {li}", "/takeover").stdout
            other.push(m.BYE, reason="replaced")
        done = chatcli(server.port, f"/login {li}", "/logout", "/takeover")
        assert (done.returncode, "after a /login that was refused" in done.stderr) == (USAGE, True)

    @pytest.mark.parametrize(
        ("lines", "code", "complaint"),
        [
            (["/nosuch"], USAGE, "there is no /nosuch"),
            (["hello"], USAGE, "to whom? /msg NAME TEXT"),
            (["/history 20"], USAGE, "of whom? /history WHO NUMBER"),
            (["/friends"], AUTHENTICATION, "log in first"),
            (["/msg bo hi"], AUTHENTICATION, "log in first"),
            (["/login nobody-at-all"], AUTHENTICATION, "wrong name or password"),
            (["/register x", "/register x"], REJECTED, ""),
            (["/register LI", "/who nobody-there"], REJECTED, "-- no such user: nobody-there\n"),
            (["/register LI", "/msg 999999 hi"], REJECTED, "-- no such user: 999999\n"),
            (["/register LI", "/unfriend @LI"], REJECTED, "-- not among your friends: @LI\n"),
            (["/register LI", "/join 999999"], REJECTED, "-- no such group: 999999\n"),
            (["/register LI", "/members g999999"], REJECTED, "-- you are not in this group: g999999\n"),
            (["/register LI", "/leave g999999"], REJECTED, ": g999999\n"),
            (["/register LI", "/history g999999"], REJECTED, ": [g999999]\n"),
        ],
    )
    def test_exit_codes(self, server: Server, lines: list[str], code: int, complaint: str) -> None:
        li = unique("li")
        done = chatcli(server.port, *(line.replace("LI", li) for line in lines))
        assert done.returncode == code
        assert complaint.replace("LI", li) in done.stderr

    def test_saying_it_as_it_is_and_taking_someone_out(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        made = chatcli(server.port, f"/register {li}", "/group create ops", "/say /quit: not now")
        assert said(made.stdout) == [f"[ops] {li}: /quit: not now"]
        group = re.search(r"/join (\d+)", made.stdout)
        assert group
        assert chatcli(server.port, f"/register {bo}", f"/join {group[1]}").returncode == OK
        assert chatcli(server.port, f"/login {bo}", f"/remove #ops {li}").returncode == REJECTED
        removed = chatcli(server.port, f"/login {li}", f"/remove #ops {bo}", f"/remove #ops {bo}")
        assert f"-- {bo} was removed from [ops]; /readmit lets them join again\n" in removed.stdout
        complaint = f"-- not a member of this group: #ops {bo}\n"
        assert (removed.returncode, removed.stderr) == (REJECTED, complaint)
        assert "no groups yet" in chatcli(server.port, f"/login {bo}", "/groups").stdout

    def test_an_output_that_has_not_all_letters(self) -> None:
        done = run_chatcli("--help", LANGUAGE="zh", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr, "???" in done.stdout) == (OK, "", True)

    def test_a_text_too_long(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(bo)
        done = chatcli(server.port, f"/register {li}", f"/msg {bo} " + "x" * 1_000_000, f"/msg {bo} short")
        assert (done.returncode, "may have 8192 bytes, this one has 1000000" in done.stderr) == (
            REJECTED,
            True,
        )
        assert said(done.stdout) == [f"{li} → {bo}: short"]

    @pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_signals(self, server: Server, signum: signal.Signals, status: int) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen([*CHATCLI, f"127.0.0.1:{server.port}"], stdin=pipe, stdout=pipe) as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"help\n")
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signum)
            assert process.wait(10) == status

    def test_the_disk_is_full(self, server: Server) -> None:
        command = ["bash", "-c", '"$@" >/dev/full', "-", *CHATCLI, f"127.0.0.1:{server.port}"]
        done = subprocess.run(
            command, input="help\n", capture_output=True, text=True, timeout=30, check=False
        )
        complaint = "chatcli: standard output cannot be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, complaint)

    def test_nobody_reads(self, server: Server) -> None:
        script = 'yes help | "$@" | head -1; echo ${PIPESTATUS[1]}'
        command = ["bash", "-c", script, "-", *CHATCLI, f"127.0.0.1:{server.port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.stdout.splitlines()[-1], done.stderr) == ("141", "")

    def test_input_is_closed(self, server: Server) -> None:
        command = ["bash", "-c", '"$@" <&-', "-", *CHATCLI, f"127.0.0.1:{server.port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (OK, "")

    def test_no_password(self, server: Server) -> None:
        done = chatcli(server.port, "/login li", password="")
        assert (done.returncode, "FORKCHAT_PASSWORD" in done.stderr) == (AUTHENTICATION, True)

    def test_usage(self) -> None:
        for arguments in (
            ["a", "b"],
            ["host:port"],
            ["--nosuch"],
            ["-n", "5", "tail", "bo"],
            ["-s", "a", "b"],
        ):
            done = subprocess.run([*CHATCLI, *arguments], capture_output=True, text=True, check=False)
            assert (done.returncode, "usage: chatcli" in done.stderr) == (USAGE, True)
            assert all(job in done.stderr for job in ("send", "history", "tail"))

    def test_damaged_settings(self, tmp_path: Path) -> None:
        file = tmp_path / "forkchat/chatcli.toml"
        file.parent.mkdir()
        file.write_text("# mine\nlang =")
        done = run_chatcli("send", "bo", "hi", XDG_CONFIG_HOME=str(tmp_path))
        complaint = f"chatcli: {file}: Invalid value (at line 2, column 7)\n"
        assert (done.returncode, done.stderr) == (USAGE, complaint)
        assert file.read_text() == "# mine\nlang ="

    def test_damaged_accounts(self, server: Server, tmp_path: Path) -> None:
        file = tmp_path / "chatcli/accounts.json"
        file.parent.mkdir()
        for arguments, place in (([], "stderr"), (["--json"], "stdout")):
            file.write_text("{")
            where = f"127.0.0.1:{server.port}"
            done = run_chatcli(where, *arguments, XDG_DATA_HOME=str(tmp_path))
            told = f"who has logged in here cannot be read; it was put into {file.with_suffix('.damaged')}"
            assert (done.returncode, told in getattr(done, place)) == (OK, True)
            assert [path.name for path in file.parent.iterdir()] == ["accounts.damaged"]

    def test_no_such_command_or_host(self) -> None:
        done = run_chatcli("frobnicate")
        assert done.returncode == NETWORK
        assert done.stderr.startswith("-- there is no host, nor a command, called frobnicate: ")
        assert done.stderr.count("\n") == 1

    def test_no_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        done = chatcli(port, "/login li")
        assert done.returncode == NETWORK
        assert f"to start a server there: {ROOT}/bin/forkchat -w 4 -p {port}\n" in done.stderr


def test_a_bot(server: Server) -> None:
    """A bot built on the library answers each message, until a message tells it to stop."""
    li, bot = unique("li"), unique("bot")
    Modern(server.port).register(bot)

    async def run() -> None:
        async with Client("127.0.0.1", server.port) as client:
            await client.login(bot, PASSWORD)
            ready.set()
            async for event in client:
                if isinstance(event, Message) and not event.is_own:
                    sent = await client.send(event.conv, event.text.upper())
                    assert sent.seq > event.seq
                    if event.text == "stop":
                        return

    ready = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert ready.wait(15)
    chatcli(server.port, f"/register {li}", f"/msg {bot} hi", "stop")
    thread.join(15)
    assert not thread.is_alive()
    history = chatcli(server.port, f"/login {li}", f"/history {bot}")
    assert {"HI", "STOP"} <= {text.rpartition(": ")[2] for text in said(history.stdout)}


class TestBadServer:
    @pytest.mark.parametrize(
        "extra",
        [
            b"garbage\n",
            b'{"msgid":5,"conv":[],"seq":{}}\n{"msgid":4711}\n[]\n{"msgid":106,"reason":7}\n',
            b'{"msgid":121,"kind":"group_left","id":57,"name":"x","conv":"nonsense"}\n\xff\xfe\n',
            b'{"msgid":130}' + b"\0" * 5000,
        ],
    )
    def test_garbage(self, extra: bytes) -> None:
        with scripted(lambda connection: answer_all(connection, extra)) as port:
            done = chatcli(port, "/login li", "/msg bo hi", "/who bo", "/friends", "/groups")
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == OK, done
        assert "li → bo: hi" in done.stdout

    def test_answers_of_wrong_shape(self) -> None:
        with scripted(lambda connection: answer_all(connection, b"")) as port:
            done = chatcli(port, "/login li", "/register x", "/add bo", "/join 1", "/history bo", "/who bo")
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == REJECTED
        assert "\x1b" not in done.stdout

    @pytest.mark.parametrize(
        ("greeting", "complaint"),
        [
            (b"", "the server has closed the connection at once"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no forkchat server"),
            (b'{"msgid":101}\n', "what answers there is no forkchat server"),
            (b'{"msgid":101,"rid":"1","errno":3,"errmsg":"no"}\n', "the server refuses us: no"),
        ],
    )
    def test_no_forkchat_at_all(self, greeting: bytes, complaint: str) -> None:
        with scripted(lambda connection: connection.sendall(greeting)) as port:
            done = chatcli(port, "/login li")
        told = f"-- nothing to chat with at 127.0.0.1, port {port}: {complaint}\n"
        assert (done.returncode, done.stdout, done.stderr) == (NETWORK, "", told)

    def test_who_answers_otherwise_is_not_waited_for(self) -> None:
        def play(connection: socket.socket) -> None:
            connection.sendall(b"220 mail.example.org ESMTP\r\n")
            connection.makefile("rb").read()

        with scripted(play) as port:
            done = chatcli(port, "/login li")
        assert (done.returncode, "no forkchat server" in done.stderr) == (NETWORK, True)


class TestWhoLogsIn:
    """The choice of the user who logs in.

    A script's choice comes first, then the last login on this machine.
    """

    @pytest.fixture
    def li(self, server: Server, tmp_path: Path) -> str:
        """A user with an account on this machine, whose kept token logs in again."""
        li = unique("li")
        registered = chatcli(server.port, f"/register {li}")
        found = re.search(r"your id is (\d+)", registered.stdout)
        assert found
        with Modern(server.port) as other:
            token = other.login(name=li, password=PASSWORD)["token"]
        self.accounts(server, tmp_path).save(Account(int(found[1]), li, token))
        until(lambda: self.run(server, tmp_path, f"/login {li}").returncode == OK, "the token logs in")
        return li

    def accounts(self, server: Server, tmp_path: Path) -> Accounts:
        return Accounts(tmp_path / "chatcli/accounts.json", f"127.0.0.1:{server.port}")

    def run(
        self, server: Server, home: Path, *lines: str, password: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        return chatcli(server.port, *lines, password=password, XDG_DATA_HOME=str(home), **env)

    def test_who_did_last(self, server: Server, tmp_path: Path, li: str) -> None:
        done = self.run(server, tmp_path, "/help quit", "/friends", "/logout", "/friends")
        assert (done.returncode, done.stderr) == (AUTHENTICATION, "-- log in first\n")
        assert done.stdout.count(f"logged in as {li}") == 1
        done = self.run(server, tmp_path, "/friends")
        assert (done.returncode, done.stderr) == (AUTHENTICATION, "-- log in first\n")

    def test_the_token_has_expired(self, server: Server, tmp_path: Path, li: str) -> None:
        accounts = self.accounts(server, tmp_path)
        account = accounts.known()[0]
        accounts.save(replace(account, token="no such token"))
        done = self.run(server, tmp_path, "/friends")
        assert (done.returncode, done.stderr) == (
            AUTHENTICATION,
            "-- the last login has expired; log in with the password\n",
        )

    def test_another_one_who_is_named_first(self, server: Server, tmp_path: Path, li: str) -> None:
        bo = unique("bo")
        for line in (f"/register {bo}", f"/login {bo}"):
            done = self.run(server, tmp_path, line, "/friends", password=PASSWORD)
            assert (done.returncode, f"logged in as {bo}" in done.stdout, li in done.stdout) == (
                OK,
                True,
                False,
            )

    def test_without_a_token(self, server: Server, tmp_path: Path) -> None:
        done = self.run(server, tmp_path, "/login li", FORKCHAT_USER="")
        assert (done.returncode, "no password" in done.stderr) == (AUTHENTICATION, True)
        done = self.run(server, tmp_path, "/friends", FORKCHAT_USER="li")
        assert (done.returncode, "no password" in done.stderr) == (AUTHENTICATION, True)

    def test_who_is_logged_in_already(self, server: Server, tmp_path: Path, li: str) -> None:
        done = self.run(server, tmp_path, f"/login {li}", "/friends", FORKCHAT_USER=li)
        assert (done.returncode, done.stderr) == (OK, "")
        assert done.stdout.count("logged in as") == 1

    def test_one_after_the_other(self, server: Server, tmp_path: Path, li: str) -> None:
        """The first user's token is good for the next start, although another user has logged in since."""
        Modern(server.port).register(bo := unique("bo"))
        lines = (f"/msg {bo} hi", f"/login {bo}", "to nobody", "/friends")
        done = self.run(server, tmp_path, *lines, password=PASSWORD, FORKCHAT_USER=li)
        assert (done.returncode, done.stderr.count("\n"), "to whom?" in done.stderr) == (USAGE, 1, True)
        assert re.findall(r"logged in as (\S+),", done.stdout) == [li, bo]
        assert said(done.stdout) == [f"{li} → {bo}: hi", f"{li}: hi"]
        assert self.run(server, tmp_path, "/friends").returncode == OK


class TestAlone:
    """Commands that do a single job without lines of input: `chatcli send`, `tail`, `history`."""

    def test_send_and_history(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(li)
        Modern(server.port).register(bo)
        where = ("-s", f"127.0.0.1:{server.port}", "-u", li)
        done = run_chatcli("send", *where, bo, "hi there", password=PASSWORD)
        assert (done.returncode, done.stdout, done.stderr) == (OK, "", "")
        done = run_chatcli("send", *where, "--json", bo, "-", lines=["two", "lines"], password=PASSWORD)
        result = json.loads(done.stdout)
        assert (result["event"], result["ok"], result["value"]["seq"]) == ("result", True, 2)
        found = run_chatcli("history", *where, bo, "-n", "5", password=PASSWORD)
        assert [line.split(": ", 1)[-1] for line in found.stdout.splitlines()] == [
            *("hi there", "two", "      │ lines"),
        ]
        found = run_chatcli("history", *where, bo, "-n", "1", "--json", password=PASSWORD)
        assert json.loads(found.stdout)["text"] == "two\nlines"

    @pytest.mark.parametrize(
        ("arguments", "password", "code", "complaint"),
        [
            (("send", "-u", "LI", "nobody-there", "hi"), PASSWORD, REJECTED, "no such user: nobody-there"),
            (("send", "-u", "LI", "LI", "hi"), PASSWORD, REJECTED, "this is yourself"),
            (("send", "-u", "LI", "g999999", "hi"), PASSWORD, REJECTED, "no such group: g999999"),
            (("send", "-u", "LI", "LI"), PASSWORD, USAGE, "TEXT"),
            (("send", "LI", "hi"), PASSWORD, USAGE, "who? --user NAME"),
            (("send", "-u", "LI", "LI", "hi"), "wrong", AUTHENTICATION, "wrong name or password"),
            (("send", "-u", "LI", "LI", "hi"), "", AUTHENTICATION, "no password"),
            (("tail", "-u", "LI", "g999999"), PASSWORD, REJECTED, "not in this"),
            (("history", "-u", "LI", "g9", "-n", "-5"), PASSWORD, USAGE, "a number from 1 to 10000"),
            (("history", "-u", "LI", BROKEN), PASSWORD, REJECTED, "no such user"),
            (("history", "-u", BROKEN, "g9"), PASSWORD, AUTHENTICATION, "wrong name or password"),
            (("history", "-u", "LI", "g9"), BROKEN, AUTHENTICATION, "wrong name or password"),
        ],
    )
    def test_exit_codes(
        self, server: Server, arguments: tuple[str, ...], password: str, code: int, complaint: str
    ) -> None:
        Modern(server.port).register(li := unique("li"))
        job, *rest = [text.replace("LI", li) for text in arguments]
        done = run_chatcli(job, "-s", f"127.0.0.1:{server.port}", *rest, password=password)
        assert done.returncode == code, done
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        "arguments",
        ["SERVER -u LI send bo hi", "SERVER --user=LI send bo hi --json", "-u LI send SERVER bo -- -u"],
    )
    def test_options_before_and_behind(self, server: Server, arguments: str) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(li)
        Modern(server.port).register(bo)
        for short, real in (("SERVER", f"-s 127.0.0.1:{server.port}"), ("LI", li), ("bo", bo)):
            arguments = arguments.replace(short, real)
        done = run_chatcli(*arguments.split(), password=PASSWORD)
        assert (done.returncode, done.stderr, "--json" in arguments) == (OK, "", bool(done.stdout))

    def test_options_for_lines(self, server: Server) -> None:
        li = unique("li")
        Modern(server.port).register(li)
        where = f"127.0.0.1:{server.port}"
        for arguments in (["-u", li, where], [where, "-u", li], ["-s", where, "-u", li]):
            assert f"logged in as {li}" in run_chatcli(*arguments, password=PASSWORD).stdout

    @pytest.mark.parametrize(("text", "lines"), [("", []), (" ", []), ("-", []), ("-", ["", ""])])
    def test_no_text(self, server: Server, text: str, lines: list[str]) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(li)
        Modern(server.port).register(bo)
        where = ("-s", f"127.0.0.1:{server.port}", "-u", li)
        done = run_chatcli("send", *where, bo, text, lines=lines, password=PASSWORD)
        assert (done.returncode, done.stderr) == (USAGE, "-- there is no text to send\n")
        assert run_chatcli("history", *where, bo, password=PASSWORD).stdout == ""

    def test_no_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        done = run_chatcli("send", "-s", f"127.0.0.1:{port}", "-u", "li", "bo", "hi", password=PASSWORD)
        assert done.returncode == NETWORK

    def test_a_word_that_is_no_text(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(li)
        Modern(server.port).register(bo)
        where = ("-s", f"127.0.0.1:{server.port}", "-u", li)
        assert run_chatcli("send", *where, bo, BROKEN, password=PASSWORD).returncode == OK
        found = run_chatcli("history", *where, bo, password=PASSWORD)
        assert found.stdout.endswith(": ?\n")

    def test_the_password_is_asked_for_on_a_terminal(self, server: Server) -> None:
        li = unique("li")
        Modern(server.port).register(li)
        ours, theirs = pty.openpty()
        command = [*CHATCLI, "history", "-s", f"127.0.0.1:{server.port}", "-u", li, "g999999"]
        with subprocess.Popen(
            command, stdin=theirs, stderr=theirs, env=os.environ | CLIENT_ENV, start_new_session=True
        ) as process:
            os.close(theirs)
            seen = b""
            while not seen.endswith(b"password: "):
                seen += os.read(ours, 1024)
            os.write(ours, f"{PASSWORD}\n".encode())
            assert process.wait(15) == REJECTED  # the login succeeded, because only the job is rejected
        seen += os.read(ours, 1024)
        os.close(ours)
        assert b"not in this conversation" in seen
        assert PASSWORD.encode() not in seen

    def test_tail_follows(self, server: Server) -> None:
        li = unique("li")
        Modern(server.port).register(li)
        with Modern(server.port).join_in(unique("bo")) as bo:
            group = bo.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
            other = bo.done(m.CREATE_GROUP, groupname="fun", groupdesc="")["groupid"]
            chatcli(server.port, f"/login {li}", f"/join {group}", f"/join {other}")
            bo.done(m.GROUP_CHAT, groupid=group, cid="0", msg="message 0")
            command = [*CHATCLI, "tail", "-s", f"127.0.0.1:{server.port}", "-u", li, f"g{group}", "--json"]
            env = os.environ | CLIENT_ENV | {"FORKCHAT_PASSWORD": PASSWORD}
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as tail:
                assert tail.stdout
                backlog = json.loads(tail.stdout.readline())
                assert (backlog["text"], backlog["past"]) == ("message 0", True)
                for number in range(1, 20):
                    bo.done(m.GROUP_CHAT, groupid=other, cid=f"o{number}", msg="not for this")
                    bo.done(m.GROUP_CHAT, groupid=group, cid=str(number), msg=f"message {number}")
                live = [json.loads(tail.stdout.readline()) for _ in range(1, 20)]
                assert not any("past" in message for message in live)
                assert [message["text"] for message in live] == [
                    f"message {number}" for number in range(1, 20)
                ]
                tail.send_signal(signal.SIGINT)
                assert tail.wait(10) == 128 + signal.SIGINT

    def test_what_waits_goes_on_waiting(self, server: Server) -> None:
        """Waiting messages keep waiting, except in the conversation that `tail` follows."""
        li = unique("li")
        Modern(server.port).register(li)
        where = ("-s", f"127.0.0.1:{server.port}", "-u", li)
        with Modern(server.port).join_in(bo := unique("bo")) as friend:
            group = friend.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
            chatcli(server.port, f"/login {li}", f"/join {group}")
            to = friend.done(m.LOOKUP, name=li)["id"]
            friend.done(m.ONE_CHAT, toid=to, cid="0", msg="for you")
            friend.done(m.GROUP_CHAT, groupid=group, cid="1", msg="for all")
            assert run_chatcli("send", *where, bo, "hi", password=PASSWORD).returncode == OK
            assert run_chatcli("history", *where, bo, password=PASSWORD).returncode == OK
            command = [*CHATCLI, "tail", *where, f"g{group}"]
            env = os.environ | CLIENT_ENV | {"FORKCHAT_PASSWORD": PASSWORD}
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as tail:
                assert tail.stdout
                assert tail.stdout.readline().endswith(": for all\n")
                friend.done(m.GROUP_CHAT, groupid=group, cid="2", msg="for all, too")
                friend.done(m.GROUP_CHAT, groupid=group, cid="3", msg="the last")
                assert tail.stdout.readline().endswith(": for all, too\n")
                assert tail.stdout.readline().endswith(": the last\n")
                tail.send_signal(signal.SIGINT)
            waiting = said(chatcli(server.port, f"/login {li}").stdout)
        if f"[ops] {bo}: the last" in waiting:  # SIGINT came while it was shown, so it comes again
            waiting.remove(f"[ops] {bo}: the last")
        assert waiting == [f"{bo}: for you", f"{li} → {bo}: hi"]

    def test_the_password_of_a_file_and_the_token_of_the_last_time(
        self, server: Server, tmp_path: Path
    ) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(bo)
        Modern(server.port).register(li)
        file = tmp_path / "password"
        file.write_text(PASSWORD + "\n")
        where = ("-s", f"127.0.0.1:{server.port}", "-u", li)
        assert run_chatcli("send", *where, "--password-file", file, bo, "hi").returncode == OK
        assert run_chatcli("send", *where, "--password-file", tmp_path / "none", bo, "hi").returncode == USAGE
        with Modern(server.port) as other:
            token = other.login(name=li, password=PASSWORD)["token"]
        accounts = Accounts(tmp_path / "data/chatcli/accounts.json", f"127.0.0.1:{server.port}")
        accounts.save(Account(1, li, token))
        until(
            lambda: (
                run_chatcli("send", *where, bo, "hi", XDG_DATA_HOME=str(tmp_path / "data")).returncode == OK
            ),
            "the token logs in",
        )

    def test_the_token_is_kept_until_it_is_of_no_use(self, server: Server, tmp_path: Path) -> None:
        li = unique("li")
        home = {"XDG_DATA_HOME": str(tmp_path)}
        accounts = Accounts(tmp_path / "chatcli/accounts.json", f"127.0.0.1:{server.port}")
        registered = run_chatcli(
            *(f"127.0.0.1:{server.port}", "--json"),
            lines=[json.dumps({"command": "register", "args": [li]})],
            password=PASSWORD,
        )
        (user,) = [each["id"] for each in map(json.loads, registered.stdout.splitlines()) if "name" in each]
        with Modern(server.port) as other:
            accounts.save(Account(user, li, other.login(name=li, password=PASSWORD)["token"]))
        changed = chatcli(server.port, f"/login {li}", "/passwd", FORKCHAT_NEW_PASSWORD="another one", **home)
        assert changed.returncode == OK, changed
        where = ("-s", f"127.0.0.1:{server.port}", "-u", li)
        assert run_chatcli("history", *where, "g999999", **home).returncode == REJECTED  # logged in
        assert (
            chatcli(server.port, f"/login {li}", "/logout", password="another one", **home).returncode == OK
        )
        assert accounts.known()[0] == Account(user, li)
        accounts.save(Account(user, li, "no such token"))
        expired = run_chatcli("history", *where, "g999999", **home)
        assert (expired.returncode, "log in with the password" in expired.stderr) == (AUTHENTICATION, True)
        assert accounts.known()[0] == Account(user, li)

    def test_who_is_called_like_an_id(self, server: Server) -> None:
        name = uuid.uuid4().int % 10**9 + 10**9
        assert chatcli(server.port, f"/register {name}").returncode == OK
        where = ("-s", f"127.0.0.1:{server.port}")
        for who, code in ((f"@{name}", REJECTED), (name, AUTHENTICATION), ("\uff11", AUTHENTICATION)):
            done = run_chatcli("history", *where, "-u", who, "g999999", password=PASSWORD)
            assert (done.returncode, "Traceback" in done.stderr) == (code, False)


class TestJson:
    def test_a_thousand_messages_and_back(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        Modern(server.port).register(bo)
        Modern(server.port).register(li)
        texts = [f"line {number}\x1b[31m 你好\n" for number in range(999)] + ["\ud83d"]
        requests = [
            {"command": "msg", "args": [bo, text], "tag": number} for number, text in enumerate(texts)
        ]
        requests.append({"command": "history", "args": [bo, "1000"], "tag": "all"})
        done = run_chatcli(
            f"127.0.0.1:{server.port}", "--json", "-u", li, lines=map(json.dumps, requests), password=PASSWORD
        )
        assert (done.returncode, done.stderr) == (OK, "")
        assert done.stdout.isascii()
        said = [json.loads(line) for line in done.stdout.splitlines()]
        results = [each for each in said if each["event"] == "result"]
        assert [each["tag"] for each in results] == [*range(1000), "all"]
        assert [each["value"]["seq"] for each in results[:-1]] == list(range(1, 1001))
        assert results[-1]["value"]["count"] == 1000
        past = [each for each in said if each["event"] == "message"]
        assert [(each["seq"], each["text"]) for each in past] == list(enumerate([*texts[:-1], "?"], 1))

    def test_what_is_wrong_is_answered(self, server: Server) -> None:
        li = unique("li")
        Modern(server.port).register(li)
        lines = [
            json.dumps({"command": "login", "args": [li], "tag": 1}),
            "no json",
            "[]",
            '{"command": "nosuch", "tag": 2}',
            '{"command": "msg", "args": [], "tag": 3}',
            '{"command": "msg", "args": [7, "x"], "tag": 4}',
            '{"command": "who", "args": ["nobody-there"], "tag": 5}',
            '{"command": "friends", "tag": 6}',
            '{"command": "quit", "tag": 7}',
            '{"command": "friends", "tag": 8}',
        ]
        done = run_chatcli(f"127.0.0.1:{server.port}", "--json", lines=lines, password=PASSWORD)
        assert done.returncode == USAGE
        results = [each for each in map(json.loads, done.stdout.splitlines()) if each["event"] == "result"]
        assert [(each["tag"], each["ok"], each.get("exit")) for each in results] == [
            (1, True, None),
            (None, False, USAGE),
            (None, False, USAGE),
            (2, False, USAGE),
            (3, False, USAGE),
            (4, False, USAGE),
            (5, False, REJECTED),
            (6, True, None),
            (7, True, None),
        ]
        assert results[6]["code"] == "not_found"
        assert results[7]["value"] == []
