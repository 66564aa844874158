"""Tests of scripts with pipes in every state, however they are started and ended, against a real server."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import IO

import pytest

import forkchat
from client.script.codes import AUTHENTICATION, NETWORK, OK, REJECTED, USAGE
from forkchat.wire import msgid as m
from tests.scripted import answer_all, scripted
from tests.server import CHATCLI, CLIENT_ENV, Server, frozen, readable_by_all, until
from tests.server import chatcli as run_chatcli
from tests.talk import PASSWORD, Modern
from tests.test_screen_epoch import texts_for

#: Redirections of standard output, as a shell writes them.
CLOSED, FULL = ">&-", ">/dev/full"
#: Redirections of both outputs together.
STATES = [f"{out} {error}".strip() for out in ("", CLOSED, FULL) for error in ("", "2>&-", "2>/dev/full")]
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


class Pair:
    """A pair of users: li, who has said nothing yet, and bo, who is online."""

    def __init__(self, server: Server, bo: Modern):
        self.port, self.bo = server.port, bo
        self.li = f"li-{uuid.uuid4().hex[:6]}"
        with Modern(self.port) as stranger:
            self.li_id = stranger.register(self.li).id
        self.where = ("-s", f"127.0.0.1:{self.port}", "-u", self.li)

    def run(self, *arguments: object, lines: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        return run_chatcli(*arguments, lines=lines or [], password=PASSWORD)

    def shell(self, script: str, *arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        """Run `script` in bash, where `"$@"` is chatcli with these arguments as li."""
        return subprocess.run(
            ["bash", "-c", script, "-", *CHATCLI, *self.where, *arguments],
            input=lines,
            capture_output=True,
            text=True,
            timeout=30,
            env=self.env,
            check=False,
        )

    @property
    def env(self) -> dict[str, str]:
        return os.environ | CLIENT_ENV | {"FORKCHAT_PASSWORD": PASSWORD}

    @contextmanager
    def start(self, *arguments: str, stdin: int | None = None) -> Iterator[subprocess.Popen[str]]:
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [*CHATCLI, *self.where, *arguments],
            stdin=pipe if stdin is None else stdin,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=self.env,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def say(self, text: str) -> None:
        self.bo.done(m.ONE_CHAT, toid=self.li_id, msg=text, cid=uuid.uuid4().hex)

    def heard(self) -> str:
        """Return the text of the next message that bo gets."""
        return str(self.bo.push(m.ONE_CHAT)["msg"])


@pytest.fixture
def pair(server: Server) -> Iterator[Pair]:
    with Modern(server.port).join_in(f"bo-{uuid.uuid4().hex[:6]}") as bo:
        yield Pair(server, bo)


def name_of(pair: Pair) -> str:
    return str(pair.bo.done(m.LOOKUP, id=pair.bo.id)["name"])


def waiting(pipe: IO[str] | None) -> int:
    """Return the number of unread bytes in `pipe`."""
    assert pipe
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


class TestOutputs:
    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_lines_are_sent(self, pair: Pair, flags: list[str]) -> None:
        bo = name_of(pair)
        for state in STATES:
            lines = ["/who nobody-there", f"/msg {bo} as {state or 'usual'}", f"/msg {bo} again"]
            if flags:
                words = [line[1:].split(" ", 2) for line in lines]
                lines = [json.dumps({"command": name, "args": rest}) for name, *rest in words]
            done = pair.shell(f'"$@" {state}', *flags, lines="".join(f"{line}\n" for line in lines))
            assert done.returncode == REJECTED, state
            assert [pair.heard(), pair.heard()] == [f"as {state or 'usual'}", "again"]
            assert "nobody-there" not in done.stdout or flags

    @pytest.mark.parametrize("job", ["send", "send --json", "history"])
    def test_exit_codes(self, pair: Pair, job: str) -> None:
        """chatcli exits with 1 if it has output and cannot write it."""
        bo = name_of(pair)
        pair.say("hello")
        arguments = ["history", bo] if job == "history" else [*job.split(), bo, "hi"]
        for state in STATES:
            done = pair.shell(f'"$@" {state}', *arguments)
            is_lost = state.startswith(">") and job != "send"
            assert done.returncode == (USAGE if is_lost else OK), state
            assert job == "history" or pair.heard() == "hi"
            told = "chatcli: standard output cannot be written: " if is_lost and "2>" not in state else ""
            assert done.stderr.startswith(told)
            assert done.stderr.count("\n") == bool(told)

    @pytest.mark.parametrize("output", [CLOSED, FULL])
    def test_tail_ends_and_confirms_nothing(self, pair: Pair, output: str) -> None:
        heard: list[int] = []
        hello = {"conv": "d12-57", "seq": 1, "id": 57, "name": "bo", "msg": "hello", "ts": 1}
        page = {"first": 1, "last": 1, "msgs": [hello], "more": False}

        def play(connection: socket.socket) -> None:
            heard.extend(each["msgid"] for each in answer_all(connection, b"", {m.FETCH: iter([page])}))

        with scripted(play) as port:
            done = pair.shell(f'"$@" {output}', "-s", f"127.0.0.1:{port}", "tail", "bo")
        assert done.returncode == USAGE
        until(lambda: m.FETCH in heard, "the server has seen the end")
        assert m.RECV not in heard

    @pytest.mark.parametrize("output", [CLOSED, FULL])
    def test_what_could_not_be_shown_waits(self, pair: Pair, output: str) -> None:
        pair.say("for li")
        assert pair.shell(f'"$@" {output}').returncode == USAGE
        assert "for li" in pair.run(*pair.where).stdout
        assert "for li" not in pair.run(*pair.where).stdout

    def test_what_no_longer_could_be_shown_waits(self, pair: Pair, tmp_path: Path) -> None:
        """Messages that could not be shown keep waiting. The disk is full in the middle of the output."""
        texts = [f"text {number}" for number in range(40)]
        for text in texts:
            pair.say(text)
        file = tmp_path / "shown"
        assert pair.shell(f'ulimit -f 1; "$@" >{file}').returncode == USAGE
        assert "text 1" in file.read_text()
        shown = file.read_text() + pair.run(*pair.where).stdout
        assert not [text for text in texts if f": {text}\n" not in shown]
        assert "text" not in pair.run(*pair.where).stdout

    def test_a_reader_of_complaints_that_stands_still(self, pair: Pair) -> None:
        lines = ["/who nobody-there-" + "x" * 500] * 200 + [f"/msg {name_of(pair)} hi"]
        with pair.start() as process:
            assert process.stdin and process.stderr
            process.stdin.write("".join(f"{line}\n" for line in lines))
            process.stdin.close()
            assert pair.heard() == "hi"
            assert process.wait(15) == REJECTED
            assert process.stderr.read().count("no such user") > 50

    def test_a_pipe_that_does_not_block(self, pair: Pair) -> None:
        """A full pipe is no error if another program has made it non-blocking."""
        for number in range(30):
            pair.say(f"{number} " + "x" * 8000)
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        command = [*CHATCLI, *pair.where, "history", name_of(pair)]
        with subprocess.Popen(command, stdout=theirs, env=pair.env) as process:
            os.close(theirs)
            with open(ours, "rb") as stream:
                assert stream.read().count(b"\n") == 20
            assert process.wait(15) == OK

    @pytest.mark.parametrize(
        "arguments", [["--version"], ["--help"], ["tail", "--help"], ["send", "--version"]]
    )
    def test_what_is_said_of_chatcli_itself(self, pair: Pair, arguments: list[str]) -> None:
        for output, code in (("", OK), (CLOSED, USAGE), (FULL, USAGE)):
            done = pair.shell(f'"$@" {output}', *arguments)
            assert (done.returncode, bool(done.stdout), bool(done.stderr)) == (code, not output, bool(output))

    def test_usage_is_a_complaint(self) -> None:
        script = '"$@" --nosuch 2>&-'
        done = subprocess.run(["bash", "-c", script, "-", *CHATCLI], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (USAGE, b"")


class TestInputs:
    @pytest.mark.parametrize("job", ["", "--json", "send BO -"])
    @pytest.mark.parametrize(
        ("state", "complaint"),
        [("<&-", ""), ("</dev/null", ""), ("0>/dev/null", "Bad file descriptor")],
    )
    def test_one_that_has_nothing(self, pair: Pair, job: str, state: str, complaint: str) -> None:
        arguments = job.replace("BO", name_of(pair)).split()
        done = pair.shell(f'"$@" {state}', *arguments)
        expected = f"standard input cannot be read: {complaint}" if complaint else ""
        assert done.returncode == (USAGE if complaint or "send" in job else OK)
        assert expected in (done.stdout if "json" in job else done.stderr)

    def test_one_that_does_not_block(self, pair: Pair) -> None:
        theirs, ours = os.pipe()
        os.set_blocking(theirs, False)
        with pair.start(stdin=theirs) as process:
            assert process.stdout
            assert "logged in" in process.stdout.readline()
            os.write(ours, f"/msg {name_of(pair)} hi\n".encode())
            assert pair.heard() == "hi"
            os.close(ours)
            assert process.wait(15) == OK
        os.close(theirs)


class TestIds:
    """Ids of people and groups."""

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_one_that_is_too_long(self, pair: Pair, flags: list[str]) -> None:
        """An id that is too long is rejected, because no user can have it. The commands after it are done."""
        bo = name_of(pair)
        usual = "who N", "add N", "join N", "msg N hi", "msg gN hi", f"history {bo} N", "members gN"
        lines = [line.replace("N", "9" * digits) for digits in (10, 20, 5000) for line in usual]
        lines.append(f"msg {bo} hello")
        if flags:
            words = [line.split() for line in lines]
            lines = [json.dumps({"command": name, "args": args}) for name, *args in words]
        else:
            lines = [f"/{line}" for line in lines]
        done = pair.run(*pair.where, *flags, lines=lines)
        assert (done.returncode, pair.heard()) == (REJECTED, "hello")
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("number", ["9" * 20, "g" + "9" * 20])
    def test_nothing_is_sent_to_it(self, pair: Pair, number: str) -> None:
        done = pair.run("send", *pair.where, number, "hi")
        assert (done.returncode, done.stderr) == (REJECTED, f"-- no such user: {number}\n")


class TestAnotherDatabase:
    """A server that comes back with another database, in which all ids are other people's."""

    def test_texts_are_for_people(self) -> None:
        """Texts go to people by name. The test covers a pipe, JSON, and the messages that `tail` shows."""
        with ExitStack() as stack:
            server = stack.enter_context(Server("-w", "1"))
            bo = Modern(server.port).join_in("bo")
            plain, ndjson, tail = pairs = [Pair(server, bo) for _ in range(3)]
            jobs: list[list[str]] = [[], ["--json"], ["tail", "bo"]]
            processes = [stack.enter_context(pair.start(*job)) for pair, job in zip(pairs, jobs, strict=True)]
            self.type(processes[0], "/msg bo one")
            assert plain.heard() == "one"
            self.type(processes[1], json.dumps({"command": "msg", "args": ["bo", "two"]}))
            assert ndjson.heard() == "two"
            tail.say("before")
            assert processes[2].stdout
            assert "before" in processes[2].stdout.readline()
            with ExitStack() as meanwhile:
                for process in processes:
                    meanwhile.enter_context(frozen(process.pid))
                server.kill()
                again = stack.enter_context(Server("-w", "1", "-p", str(server.port)))
                eve, bo_again = (Modern(again.port).join_in(name) for name in ("eve", "bo"))
                assert eve.id == bo.id
                for pair in pairs:
                    Modern(again.port).register(pair.li)
            complaints = processes[0].stderr
            assert complaints
            until(lambda: "connected again" in complaints.readline(), "the pipe is back")
            events = processes[1].stdout
            assert events
            until(lambda: json.loads(events.readline())["event"] == "connected", "the other one, too")
            where = f"/msg {bo.id} SECRET", f"/history {bo.id} 5"
            for line in ("SECRET", *where, "/msg bo three", "four"):
                self.type(processes[0], line)
            for name, *words in (("say", "SECRET"), ("msg", bo.id, "SECRET"), ("msg", "bo", "five")):
                self.type(processes[1], json.dumps({"command": name, "args": [str(word) for word in words]}))
            assert sorted(bo_again.push(m.ONE_CHAT)["msg"] for _ in range(3)) == ["five", "four", "three"]
            codes = []
            for process in processes:
                assert process.stdin
                process.stdin.close()
                codes.append(process.wait(15))
            assert codes == [USAGE, USAGE, REJECTED]
            assert complaints.read().count("ids belong to other people") == 2
            assert processes[2].stderr
            assert "another database" in processes[2].stderr.read()
            assert processes[2].stdout.read() == ""
            assert texts_for(eve) == []

    def type(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin
        process.stdin.write(f"{line}\n")
        process.stdin.flush()


class TestReaderGone:
    @pytest.mark.parametrize("job", ["tail BO -n 5", "tail BO --json", "tail BO"])
    def test_tail_ends(self, pair: Pair, job: str) -> None:
        pair.say("one")
        pair.say("two")
        arguments = job.replace("BO", name_of(pair)).split()
        done = pair.shell('"$@" | head -1; echo ${PIPESTATUS[0]}', *arguments)
        first, code = done.stdout.splitlines()
        assert ("one" in first, code, done.stderr) == (True, "141", "")

    def test_lines_end_while_they_wait_for_input(self, pair: Pair) -> None:
        with pair.start() as process:
            assert process.stdout
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(10) == 128 + signal.SIGPIPE

    def test_a_message_goes_to_the_end(self, pair: Pair) -> None:
        """`send` delivers its message even if no program reads its output, because it has nothing to say."""
        done = pair.shell('"$@" | true; echo ${PIPESTATUS[0]}', "send", name_of(pair), "hi")
        assert (done.stdout, done.stderr, pair.heard()) == ("0\n", "", "hi")

    def test_what_is_not_read_waits(self, pair: Pair) -> None:
        with pair.start() as process:
            assert process.stdout
            assert "logged in" in process.stdout.readline()
            process.stdout.close()
            pair.say("for li")
            assert process.wait(10) == 128 + signal.SIGPIPE
        assert "for li" in pair.run(*pair.where).stdout


class TestTail:
    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_of_a_person_never_talked_to(self, pair: Pair, flags: list[str]) -> None:
        with pair.start("tail", name_of(pair), *flags) as process:
            assert process.stdout and process.stderr
            until(lambda: self.is_online(pair), "li is online")
            pair.say("hello")
            assert "hello" in process.stdout.readline()
            pair.say("again")
            assert "again" in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert (process.wait(10), process.stderr.read()) == (128 + signal.SIGTERM, "")

    @pytest.mark.parametrize(("number", "waits"), [(2, True), (3, False)])
    def test_what_it_has_not_shown_waits(self, pair: Pair, number: int, waits: bool) -> None:
        """Messages that `tail` has not shown wait, and so do those shown after them.

        A confirmation covers everything before it.
        """
        texts = ["one", "two", "three"]
        for text in texts:
            pair.say(text)
        with pair.start("tail", "-n", str(number), name_of(pair)) as process:
            assert process.stdout
            for text in texts[-number:]:
                assert text in process.stdout.readline()
            pair.say("after")
            assert "after" in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 128 + signal.SIGTERM
        waiting = pair.run(*pair.where).stdout
        assert [text for text in texts if text in waiting] == (texts if waits else [])

    def is_online(self, pair: Pair) -> bool:
        return bool(pair.bo.done(m.ADD_FRIEND, friendid=pair.li_id)["state"] == "online")

    def test_history_of_a_person_never_talked_to(self, pair: Pair) -> None:
        done = pair.run(*pair.where, "history", name_of(pair))
        assert (done.returncode, done.stdout, done.stderr) == (OK, "", "")
        done = pair.run(*pair.where, lines=[f"/history {name_of(pair)}"])
        assert (done.returncode, f"-- 0 messages of {name_of(pair)}" in done.stdout) == (OK, True)

    @pytest.mark.parametrize(
        ("who", "complaint"),
        [("999999999", "no such user"), ("g999999", "not in this"), ("d999998-999999", "not in this")],
    )
    @pytest.mark.parametrize("job", ["tail", "history"])
    def test_of_nobody(self, pair: Pair, job: str, who: str, complaint: str) -> None:
        done = pair.run(*pair.where, job, who)
        assert (done.returncode, complaint in done.stderr) == (REJECTED, True)

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_the_server_is_killed(self, flags: list[str]) -> None:
        with Server("-w", "1") as server, Modern(server.port).join_in("bo") as bo:
            pair = Pair(server, bo)
            pair.say("before")
            with pair.start("tail", "bo", *flags) as process:
                assert process.stdout and process.stderr
                assert "before" in process.stdout.readline()
                server.kill()
                told = process.stdout if flags else process.stderr
                lost = told.readline()
                assert json.loads(lost) == {"event": "disconnected"} if flags else "is lost" in lost
                with (
                    Server("-w", "1", "-p", str(server.port), data_dir=server.data_dir) as again,
                    Modern(again.port) as bo_again,
                ):
                    back = told.readline()
                    if flags:
                        assert json.loads(back) == {"event": "connected", "id": pair.li_id, "name": pair.li}
                    else:
                        assert back == "-- connected again\n"
                    assert bo_again.login(name="bo", password=PASSWORD)["errno"] == 0
                    bo_again.done(m.ONE_CHAT, toid=pair.li_id, msg="after", cid="1")
                    assert "after" in process.stdout.readline()


class TestSignals:
    @pytest.mark.parametrize(
        ("job", "signum"), [*product(["", "tail BO"], SIGNALS), ("--json", signal.SIGTERM)]
    )
    def test_they_end_it(self, pair: Pair, job: str, signum: signal.Signals) -> None:
        pair.say("hello")
        with pair.start(*job.replace("BO", name_of(pair)).split()) as process:
            assert process.stdout and process.stderr
            assert process.stdout.readline()
            process.send_signal(signum)
            assert (process.wait(10), process.stderr.read()) == (128 + signum, "")

    def test_they_end_it_as_it_reads_the_message(self, pair: Pair) -> None:
        with pair.start("send", name_of(pair), "-") as process:
            assert process.stdin and process.stderr
            process.stdin.write("hi\n")
            process.stdin.flush()
            until(lambda: waiting(process.stdin) == 0, "it is read")
            process.send_signal(signal.SIGINT)
            assert (process.wait(10), process.stderr.read()) == (128 + signal.SIGINT, "")

    @pytest.mark.parametrize("signum", SIGNALS)
    def test_they_end_it_while_its_output_is_not_read(self, pair: Pair, signum: signal.Signals) -> None:
        pair.say("x" * 8000)
        with pair.start("history", name_of(pair)) as process:
            assert process.stdout and process.stderr
            size = fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
            until(lambda: waiting(process.stdout) == size, "there is no room")
            process.send_signal(signum)
            assert (process.wait(10), process.stderr.read()) == (128 + signum, "")

    def test_what_is_ignored_stays_so(self, pair: Pair) -> None:
        script = "trap '' HUP INT; exec \"$@\""
        command = ["bash", "-c", script, "-", *CHATCLI, *pair.where]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=pair.env
        ) as process:
            assert process.stdin
            assert process.stdout
            assert "logged in" in process.stdout.readline()
            for signum in (signal.SIGHUP, signal.SIGINT):
                process.send_signal(signum)
            process.stdin.write(f"/msg {name_of(pair)} still here\n")
            process.stdin.close()
            assert pair.heard() == "still here"
            assert process.wait(10) == OK

    @pytest.mark.parametrize(("key", "code"), [(b"\x03", 128 + signal.SIGINT), (b"\x04", AUTHENTICATION)])
    def test_at_the_password_s_prompt(self, pair: Pair, key: bytes, code: int) -> None:
        """Ctrl+C and Ctrl+D at the prompt end chatcli, each with its exit code."""
        command = [*CHATCLI, *pair.where, "history", name_of(pair)]
        env = pair.env | {"FORKCHAT_PASSWORD": ""}
        pid, ours = pty.fork()
        if pid == 0:
            os.execve(command[0], command, env)
        seen = b""
        while not seen.endswith(b"password: "):
            seen += os.read(ours, 1024)
        os.write(ours, key)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
        os.close(ours)

    @pytest.mark.parametrize(
        ("module", "signum"),
        [
            *product(["client", "asyncio", "ssl", "orjson", "client.main", "argparse"], [signal.SIGINT]),
            *product(["client"], [signal.SIGTERM, signal.SIGHUP]),
        ],
    )
    def test_while_it_starts(self, tmp_path: Path, module: str, signum: signal.Signals) -> None:
        """A signal that comes while chatcli imports a module ends it without a traceback."""
        (tmp_path / "sitecustomize.py").write_text(
            f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} and sys.argv[0].endswith("chatcli"):
            os.kill(os.getpid(), {int(signum)})
sys.meta_path.insert(0, Finder())
"""
        )
        done = subprocess.run(
            ["bash", "-c", '"$@"; exit $?', "-", *CHATCLI, "--version"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            check=False,
        )
        assert (done.returncode, done.stdout) == (128 + signum, "")
        assert "Traceback" not in done.stderr


class TestSurroundings:
    def test_version(self) -> None:
        done = run_chatcli("--version")
        assert (done.returncode, done.stdout) == (OK, f"chatcli {forkchat.__version__}\n")

    @pytest.mark.parametrize(
        "env",
        [
            {"HOME": "relative/home"},
            {"HOME": "/dev/null"},
            {"HOME": "/proc/1"},
            {"HOME": ""},
            {"HOME": "/nonexistent"},
            {"XDG_DATA_HOME": "relative", "XDG_CONFIG_HOME": "relative"},
            {"LANG": "xx_YY.UTF-9", "LC_ALL": "xx_YY.UTF-9", "LANGUAGE": "tlh:xx"},
            {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
            {"TERM": "none-such", "COLUMNS": "x", "TZ": "Nowhere/None"},
            {"PATH": ""},
        ],
        ids=str,
    )
    def test_unusual_environments(self, pair: Pair, tmp_path: Path, env: dict[str, str]) -> None:
        done = self.run(pair, tmp_path, env)
        assert (done.returncode, done.stderr) == (OK, "")
        assert pair.heard() == "hi"
        assert not list(tmp_path.iterdir())

    def run(
        self, pair: Pair, cwd: Path, env: dict[str, str], command: list[str] = CHATCLI
    ) -> subprocess.CompletedProcess[str]:
        kept = {"PATH": os.environ["PATH"], "FORKCHAT_PASSWORD": PASSWORD}
        return subprocess.run(
            [*command, *pair.where, "send", name_of(pair), "hi"],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=kept | env,
            timeout=30,
            check=False,
        )

    def test_nobody_s_home(self, pair: Pair, tmp_path: Path) -> None:
        """chatcli works without HOME, and without an entry for the user."""
        with readable_by_all("chatcli") as command:
            done = self.run(pair, tmp_path, {}, ["setpriv", "--reuid=54321", "--clear-groups", *command])
        assert (done.returncode, done.stderr) == (OK, "")
        assert pair.heard() == "hi"

    def test_a_directory_that_is_gone(self, pair: Pair, tmp_path: Path) -> None:
        (tmp_path / "gone").mkdir()
        command = f'cd {tmp_path}/gone && rmdir ../gone && "$@"'
        done = pair.shell(command, "send", name_of(pair), "hi")
        assert (done.returncode, done.stderr, pair.heard()) == (OK, "", "hi")


class TestRegistering:
    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_the_token_is_kept(self, pair: Pair, tmp_path: Path, flags: list[str]) -> None:
        name, home = f"new-{uuid.uuid4().hex[:6]}", {"XDG_DATA_HOME": str(tmp_path)}
        where = ("-s", f"127.0.0.1:{pair.port}")
        line = json.dumps({"command": "register", "args": [name]}) if flags else f"/register {name}"
        made = run_chatcli(*where, *flags, lines=[line], password=PASSWORD, **home)
        assert (made.returncode, made.stderr) == (OK, "")
        done = run_chatcli(*where, "send", "-u", name, name_of(pair), "hi", **home)
        assert (done.returncode, done.stderr, pair.heard()) == (OK, "", "hi")

    def test_where_nothing_can_be_kept(self, pair: Pair) -> None:
        name = f"new-{uuid.uuid4().hex[:6]}"
        where = ("-s", f"127.0.0.1:{pair.port}")
        made = run_chatcli(*where, lines=[f"/register {name}"], password=PASSWORD, XDG_DATA_HOME="/dev/null")
        assert (made.returncode, made.stderr) == (OK, "-- the login is not kept: Not a directory\n")
        done = run_chatcli(*where, "-u", name, "send", name_of(pair), "hi", XDG_DATA_HOME="/dev/null")
        assert done.returncode == AUTHENTICATION


def test_no_server_and_no_outputs() -> None:
    script = '"$@" -s 127.0.0.1:1 >&- 2>&- <&-'
    done = subprocess.run(["bash", "-c", script, "-", *CHATCLI], capture_output=True, check=False)
    assert done.returncode == NETWORK
