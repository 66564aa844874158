"""The real client in a terminal and in pipes, against real servers, and against scripted bad ones."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
import pytest

from client.events import Message
from client.main import AUTHENTICATION, NETWORK, OK, REJECTED, USAGE
from client.transport import Client
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.server import CHATCLI, Server, make_data_dir, until
from tests.server import chatcli as run_chatcli
from tests.talk import PASSWORD


class Pane:
    """One terminal of 100×30 with the client in it."""

    def __init__(self, tmux: list[str], port: int):
        self._tmux = tmux
        command = shlex.join(["env", "LC_ALL=C.UTF-8", *CHATCLI, f"127.0.0.1:{port}"])
        self._id = self._run("new-session", "-d", "-P", "-F", "#{pane_id}", "-x", "100", "-y", "30", command)
        self.sees("/help lists everything")

    def type(self, text: str) -> None:
        self.write(text)
        self.press("Enter")

    def write(self, text: str) -> None:
        self._run("send-keys", "-t", self._id, "-l", text)

    def press(self, key: str) -> None:
        self._run("send-keys", "-t", self._id, key)

    def text(self) -> str:
        """All that was ever on the screen."""
        return self._run("capture-pane", "-p", "-t", self._id, "-S", "-")

    def sees(self, text: str, times: int = 1) -> None:
        try:
            until(lambda: self.text().count(text) == times, text)
        except AssertionError as error:
            raise AssertionError(f"{error}, {times} times, on:\n{self.text()}") from None

    def is_gone(self) -> bool:
        return self._id not in self._run("list-panes", "-a", "-F", "#{pane_id}").split()

    def enter(self, command: str, name: str) -> None:
        """Register or log in."""
        self.type(f"/{command} {name}")
        self.sees("assword")
        self.type(PASSWORD)
        if command == "register":
            self.sees("the same again")
            self.type(PASSWORD)
        self.sees(f"logged in as {name}")

    def _run(self, *arguments: str) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture
def tmux() -> Iterator[list[str]]:
    """A tmux of our own, which a session keeps alive while clients come and go."""
    command = ["tmux", "-u", "-f", "/dev/null", "-L", f"forkchat-{uuid.uuid4().hex}"]
    subprocess.run([*command, "new-session", "-d", "sleep 1000"], check=True)
    yield command
    subprocess.run([*command, "kill-server"], check=True)


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:6]}"


def chatcli(port: int, *lines: str, password: str = PASSWORD, **env: str) -> subprocess.CompletedProcess[str]:
    return run_chatcli(f"127.0.0.1:{port}", lines=lines, password=password, **env)


def said(output: str) -> list[str]:
    """The messages in it, without their times."""
    return [text[9:] for text in output.splitlines() if re.match(r"\d\d:\d\d:\d\d ", text)]


class TestTwoPeople:
    def test_register_befriend_group_chat_leave_and_come_back(self, server: Server, tmux: list[str]) -> None:
        li, bo, ops = unique("li"), unique("bo"), unique("ops")
        one, two = Pane(tmux, server.port), Pane(tmux, server.port)
        one.enter("register", li)
        two.enter("register", bo)
        one.type(f"/add {bo}")
        one.sees("is your friend now, and online")
        two.sees(f"{li} has added you as a friend")
        one.type(f"/group create {ops}")
        one.sees("others join it with /join")
        group = re.search(r"/join (\d+)", one.text())
        assert group
        two.type(f"addgroup:{group[1]}")
        one.sees(f"{bo} has joined [{ops}]")
        two.type("你好, group")
        one.sees(f"[{ops}] {bo}: 你好, group")
        one.type(f"/msg {bo} only for you")
        two.sees(f" {li}: only for you")

        two.press("C-d")
        until(two.is_gone, "the second has left")
        one.sees(f"{bo} is offline")
        one.type("first while away")
        one.type(f"groupchat:{group[1]}:second: in the group")
        one.type(f"/msg {bo} third while away")
        one.sees("→ " + bo, times=3)

        two = Pane(tmux, server.port)
        two.enter("login", bo)
        two.sees("third while away")
        waited = [text for text in said(two.text()) if text.endswith("while away")]
        assert waited == [f"{li}: first while away", f"{li}: third while away"]
        two.sees(f"[{ops}] {li}: second: in the group")
        assert "only for you" not in two.text()
        one.sees(f"{bo} is online")

    def test_what_is_being_typed_survives_what_comes(self, server: Server, tmux: list[str]) -> None:
        li, bo = unique("li"), unique("bo")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.write("half a lin")
        pane.sees("> half a lin")
        evil = rb"\x1b[2J\x1b]0;x\x07evil".decode("unicode_escape")
        assert chatcli(server.port, f"/register {bo}", f"/msg {li} {evil}").returncode == OK
        pane.sees(f"{bo}: evil")
        pane.sees("> half a lin")
        pane.press("C-c")
        pane.sees("half a lin", times=0)
        pane.press("C-c")
        pane.sees("Ctrl-C again leaves")
        pane.press("C-c")
        until(pane.is_gone, "it has left")

    def test_interrupting_a_command(self, server: Server, tmux: list[str]) -> None:
        pane = Pane(tmux, server.port)
        pane.type("/login li")
        pane.sees("password:")
        pane.press("C-c")
        pane.sees("-- interrupted")
        pane.enter("register", unique("li"))
        pane.press("C-d")
        until(pane.is_gone, "it has left")

    def test_tab_completes_commands(self, server: Server, tmux: list[str]) -> None:
        pane = Pane(tmux, server.port)
        pane.write("/unf")
        pane.press("Tab")
        pane.sees("> /unfriend")


class TestServerKilled:
    def test_messages_typed_meanwhile_arrive_once(self, tmux: list[str]) -> None:
        data_dir = make_data_dir()
        li, bo = "li", "bo"
        with Server("-w", "2", data_dir=data_dir) as server:
            port = server.port
            one, two = Pane(tmux, port), Pane(tmux, port)
            one.enter("register", li)
            two.enter("register", bo)
            one.type("/msg bo before")
            two.sees("li: before")
        for pane in (one, two):
            pane.sees("the connection is lost; trying again")
        texts = ["first while down", "second while down", "third while down"]
        for text in texts:
            one.type(text)
            one.sees(f"not sent yet to bo: {text}")
        with Server("-w", "2", "-p", str(port), data_dir=data_dir):
            two.sees("third while down")
            one.sees("(sent now)", times=3)
            assert said(two.text()) == [f"li: {text}" for text in ("before", *texts)]
            one.type("after")
            two.sees("li: after")
            for pane in (one, two):
                pane.sees("the connection is lost; trying again")
                pane.sees("connected again")


class TestPipes:
    def test_a_script(self, server: Server) -> None:
        li, bo, ops = unique("li"), unique("bo"), unique("ops")
        assert chatcli(server.port, f"/register {bo}").returncode == OK
        done = chatcli(
            server.port,
            f"/register {li}",
            f"/add {bo}",
            f"/msg {bo} hi: there",
            "and more",
            f"/group create {ops} for a test",
            "to the group",
            "/groups",
            f"/members #{ops}",
            f"/history {bo} 1",
            "/friends",
        )
        assert (done.returncode, done.stderr) == (OK, "")
        assert said(done.stdout) == [
            f"{li} → {bo}: hi: there",
            f"{li} → {bo}: and more",
            f"[{ops}] {li}: to the group",
            f"{li} → {bo}: and more",
        ]
        assert re.search(rf"-- {li} \(\d+\) creator, online", done.stdout)
        assert re.search(rf"-- {bo} \(\d+\) (online|offline)", done.stdout)
        waiting = chatcli(server.port, f"/login {bo}")
        assert said(waiting.stdout) == [f"{li}: hi: there", f"{li}: and more"]
        assert said(chatcli(server.port, f"/login {bo}").stdout) == []

    def test_a_thousand_lines_in_order(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        chatcli(server.port, f"/register {bo}")
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
        chatcli(server.port, f"/register {bo}")
        made = chatcli(
            server.port, f"/register {li}", "/group create team", f'/add "{bo}"', f"/unfriend {bo}"
        )
        group = re.search(r"/join (\d+)", made.stdout)
        assert group
        joined = chatcli(server.port, f"/login {bo}", f"/join {group[1]}", "hello", "/leave #team", "/groups")
        assert "you have left [team]" in joined.stdout
        assert "no groups yet" in joined.stdout
        found = chatcli(server.port, f"/login {li}", "/friends", f"/who {bo}")
        assert said(found.stdout) == [f'[team] "{bo}": hello']
        assert "no friends yet" in found.stdout
        changed = chatcli(server.port, f"/login {li}", "/passwd", "/logout", FORKCHAT_NEW_PASSWORD="new one")
        assert changed.returncode == OK, changed
        assert chatcli(server.port, f"/login {li}").returncode == AUTHENTICATION
        assert chatcli(server.port, f"/login {li}", password="new one").returncode == OK

    def test_taking_over(self, server: Server, tmux: list[str]) -> None:
        li = unique("li")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        refused = chatcli(server.port, f"/login {li}")
        assert refused.returncode == AUTHENTICATION
        assert "/takeover ends the session there" in refused.stderr
        assert f"logged in as {li}" in chatcli(server.port, f"/login {li}", "/takeover").stdout
        pane.sees("you have logged in elsewhere")
        pane.sees("connected again", times=0)

    @pytest.mark.parametrize(
        ("lines", "code", "complaint"),
        [
            (["/nosuch"], USAGE, "there is no /nosuch"),
            (["hello"], USAGE, "to whom? /msg NAME TEXT"),
            (["/friends"], AUTHENTICATION, "log in first"),
            (["/msg bo hi"], AUTHENTICATION, "log in first"),
            (["/login nobody-at-all"], AUTHENTICATION, "wrong name or password"),
            (["/register x", "/register x"], REJECTED, ""),
        ],
    )
    def test_exit_codes(self, server: Server, lines: list[str], code: int, complaint: str) -> None:
        done = chatcli(server.port, *lines)
        assert done.returncode == code
        assert complaint in done.stderr

    def test_a_text_too_long(self, server: Server) -> None:
        li, bo = unique("li"), unique("bo")
        chatcli(server.port, f"/register {bo}")
        done = chatcli(server.port, f"/register {li}", f"/msg {bo} " + "x" * 1_000_000, f"/msg {bo} short")
        assert done.returncode == REJECTED
        assert said(done.stdout) == [f"{li} → {bo}: short"]

    @pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
    def test_signals(self, server: Server, signum: signal.Signals, status: int) -> None:
        pipe = subprocess.PIPE
        with subprocess.Popen([*CHATCLI, f"127.0.0.1:{server.port}"], stdin=pipe, stdout=pipe) as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"help\n")
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signum)
            assert process.wait(10) == status

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
        assert (done.returncode, "FORKCHAT_PASSWORD" in done.stderr) == (USAGE, True)

    def test_usage(self) -> None:
        for arguments in (["a", "b"], ["host:port"], ["--nosuch"]):
            done = subprocess.run([*CHATCLI, *arguments], capture_output=True, text=True, check=False)
            assert (done.returncode, "usage: chatcli" in done.stderr) == (USAGE, True)

    def test_no_server(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        done = chatcli(port, "/login li")
        assert done.returncode == NETWORK
        assert f"to start a server there: forkchat -w 4 -p {port}" in done.stderr


def test_a_bot(server: Server) -> None:
    """The client as a library: answers what it is told, until it is told to stop."""
    li, bot = unique("li"), unique("bot")
    chatcli(server.port, f"/register {bot}")

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


@contextmanager
def scripted(play: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does `play` with each connection, in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    play(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def answer_all(connection: socket.socket, extra: bytes) -> None:
    """Answer HELLO and LOGIN, acknowledge everything, and say `extra` after each answer."""
    fields = {
        m.HELLO: {"epoch": "e", "heartbeat": 30, "ver": 1},
        m.LOGIN: {"id": 12, "name": "li", "token": "t", "convs": []},
        m.LOOKUP: {"id": 57, "name": "bo\x1b[31m"},
    }
    with connection.makefile("rwb") as stream:
        for text in stream:
            request = orjson.loads(text)
            answer = {"msgid": m.ANSWERS.get(request["msgid"], m.ACK), "rid": request.get("rid"), "errno": 0}
            stream.write(line(answer | fields.get(request["msgid"], {"seq": 1, "ts": 1})) + extra)
            stream.flush()


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

    @pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b'{"msgid":101}\n'])
    def test_no_forkchat_at_all(self, greeting: bytes) -> None:
        with scripted(lambda connection: connection.sendall(greeting)) as port:
            done = chatcli(port, "/login li")
        assert done.returncode == NETWORK
        assert "Traceback" not in done.stderr
