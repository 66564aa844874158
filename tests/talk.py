"""Small synchronous clients for tests, classic and modern, with deadlines."""

from __future__ import annotations

import re
import secrets
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from typing import Any, Self, TypeVar

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import PADDED_SIZE
from forkchat.wire.msgid import Numbering
from tests.server import Server, until

Message = dict[str, Any]
#: Seconds to wait for a frame or an answer.
DEADLINE = 10.0
PASSWORD = "correct horse"
#: The source address of connections that begin with a PROXY header.
PROXY = "127.0.0.5"

#: QUIET: a configuration without rate limits. UNLIMITED: the same, with a debug log, which costs time.
QUIET = """\
[limits]
message_rate = 0
login_rate = 0
login_rate_address = 0
login_rate_account = 0
register_rate = 0
session_rate = 0
begin_rate = 0
change_rate = 0
fault_burst = 0
"""
UNLIMITED = f"[server]\nlog_level = 'debug'\n{QUIET}"


def new_name(stem: str = "li") -> str:
    return f"{stem}-{secrets.token_hex(4)}"


class Wire:
    """One connection, which sends bytes and receives whole frames.

    A PROXY `header` is sent first, and the connection then comes from `PROXY`.
    """

    def __init__(self, port: int, receive_buffer: int = 0, header: bytes = b"", host: str = "127.0.0.1"):
        self._sock = socket.socket()
        if receive_buffer:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._sock.settimeout(DEADLINE)
        if header:
            self._sock.bind((PROXY, 0))
        self._sock.connect((host, port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(header)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def own_port(self) -> int:
        """The port of the client's end, by which the server's log names the connection."""
        return int(self._sock.getsockname()[1])

    def deadline(self, seconds: float) -> None:
        """Set the seconds to wait for further data."""
        self._sock.settimeout(seconds)

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def frame(self) -> bytes:
        """Return the next frame with its delimiter.

        Raises TimeoutError after the deadline, and EOFError if the server has closed the connection.
        """
        while (end := re.search(rb"[\0\n]", self._buffer)) is None:
            self._receive()
        frame, self._buffer = self._buffer[: end.end()], self._buffer[end.end() :]
        return frame

    def _receive(self) -> None:
        try:
            data = self._sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError(f"the server closed the connection; unread: {self._buffer!r}")
        self._buffer += data

    def wait_closed(self) -> bytes:
        """Wait until the server closes the connection; return all that came before.

        Raises TimeoutError if it does not.
        """
        with suppress(EOFError):
            while True:
                self._receive()
        return self._buffer

    def close(self) -> None:
        self._sock.close()


class Classic(Wire):
    """A classic client, without HELLO. Its msgids are those of the notes; `numbering` translates them.

    It checks that each frame has the form of its `delimiter`: 1024 bytes, or a plain line.
    """

    def __init__(
        self,
        port: int,
        delimiter: bytes = b"\0",
        numbering: str = "notes",
        receive_buffer: int = 0,
        header: bytes = b"",
    ):
        super().__init__(port, receive_buffer, header)
        self.delimiter = delimiter
        self.numbering = Numbering(numbering)
        self.name = ""
        self.id = 0

    def encode(self, msgid: int, **fields: Any) -> bytes:
        return orjson.dumps({"msgid": self.numbering.outbound(msgid)} | fields) + self.delimiter

    def say(self, msgid: int, **fields: Any) -> None:
        self.send(self.encode(msgid, **fields))

    def hear(self) -> Message:
        """Return the next message other than probes, which a classic client ignores."""
        while True:
            frame = self.frame()
            if self.delimiter == b"\n":
                json = frame.removesuffix(b"\n")
                assert json == json.strip(), frame
            else:
                json = frame[:-1].rstrip(b" ")
                assert frame == json.ljust(PADDED_SIZE - 1) + b"\0"
            message: Message = orjson.loads(json)
            message["msgid"] = self.numbering.inbound(message["msgid"])
            if message["msgid"] != m.CLASSIC_PROBE:
                return message

    def ask(self, msgid: int, **fields: Any) -> Message:
        self.say(msgid, **fields)
        answer = self.hear()
        assert answer["msgid"] == m.ANSWERS[msgid], answer
        return answer

    def register(self, name: str = "") -> Self:
        self.name = name or new_name()
        answer = self.ask(m.REG, name=self.name, password=PASSWORD)
        assert answer["errno"] == 0, answer
        self.id = answer["id"]
        return self

    def login(self, user: int = 0, password: str = PASSWORD) -> Message:
        """Log in; return the answer, with the strings in its lists parsed."""
        answer = self.ask(m.LOGIN, id=user or self.id, password=password)
        for key in ("friends", "groups", "offlinemsg"):
            if key in answer:
                answer[key] = [orjson.loads(each) for each in answer[key]]
        for group in answer.get("groups", []):
            group["users"] = [orjson.loads(each) for each in group["users"]]
        return answer

    def join_in(self, name: str = "") -> Self:
        """Register and log in."""
        self.register(name)
        assert self.login()["errno"] == 0
        return self


class Modern(Wire):
    """A modern client, which answers PINGs, and checks that no `rid` is answered twice."""

    def __init__(
        self,
        port: int,
        receive_buffer: int = 0,
        greet: bool = True,
        header: bytes = b"",
        host: str = "127.0.0.1",
    ):
        super().__init__(port, receive_buffer, header, host)
        self.name = ""
        self.id = 0
        self.token = ""
        self._rids = count(1)
        self._answers: dict[str | int, Message] = {}
        self._answered: set[str | int] = set()
        self._pushed: list[Message] = []
        #: Clients whose PINGs are answered while this one waits.
        self.company: set[Modern] = set()
        if greet:
            self.done(m.HELLO, ver=1)

    def say(self, msgid: int, **fields: Any) -> str:
        """Send a request; return its `rid`."""
        rid = f"r{next(self._rids)}"
        self.send(orjson.dumps({"msgid": msgid, "rid": rid} | fields) + b"\n")
        return rid

    def tell(self, msgid: int, **fields: Any) -> None:
        """Send a message that has no answer."""
        self.send(orjson.dumps({"msgid": msgid} | fields) + b"\n")

    def answer(self, rid: str | int) -> Message:
        while rid not in self._answers:
            self._hear()
        return self._answers.pop(rid)

    def has_answer(self, rid: str) -> bool:
        """Return True if the answer has come already. Does not wait for it."""
        while rid not in self._answers and select.select([self._sock], [], [], 0)[0]:
            self._hear()
        return rid in self._answers

    def ask(self, msgid: int, **fields: Any) -> Message:
        answer = self.answer(self.say(msgid, **fields))
        assert answer["msgid"] == m.ANSWERS.get(msgid, m.ACK), answer
        if answer["msgid"] == m.ACK:
            assert answer["re"] == msgid, answer
        return answer

    def done(self, msgid: int, **fields: Any) -> Message:
        """Return the answer to a request that must succeed."""
        answer = self.ask(msgid, **fields)
        assert answer["errno"] == 0, answer
        return answer

    def push(self, msgid: int, **fields: Any) -> Message:
        """Return the next push with this msgid and these fields. Keep the others for later."""

        def is_it(message: Message) -> bool:
            return message["msgid"] == msgid and fields.items() <= message.items()

        while (at := next((at for at, each in enumerate(self._pushed) if is_it(each)), -1)) < 0:
            self._hear()
        return self._pushed.pop(at)

    def pushed(self) -> list[Message]:
        """Return all pushes not taken yet that come before the answer to a PING."""
        self.done(m.PING)
        pushed, self._pushed = self._pushed, []
        return pushed

    def _receive(self) -> None:
        deadline = time.monotonic() + (self._sock.gettimeout() or 0)
        while self.company:
            socks = {each._sock: each for each in self.company if each._sock.fileno() >= 0} | {
                self._sock: self
            }
            ready = select.select(socks, [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                raise TimeoutError
            if self._sock in ready:
                break
            for sock in ready:
                socks[sock]._take_in(self.company)
        super()._receive()

    def _take_in(self, company: set[Modern]) -> None:
        """Process what has come while another client waits. Leave the company if the connection has ended."""
        try:
            super()._receive()
            while b"\n" in self._buffer:
                self._hear()
        except (EOFError, OSError):
            company.discard(self)

    def _hear(self) -> None:
        frame = self.frame()
        assert frame.endswith(b"}\n"), frame
        message: Message = orjson.loads(frame)
        rid = message.get("rid")
        if rid is not None:
            assert rid not in self._answered, f"a second answer: {message}"
            self._answered.add(rid)
            self._answers[rid] = message
        elif message["msgid"] == m.PING:
            self.tell(m.PONG)
        else:
            self._pushed.append(message)

    def register(self, name: str = "") -> Self:
        self.name = name or new_name()
        self.id = self.done(m.REG, name=self.name, password=PASSWORD)["id"]
        return self

    def login(self, **fields: Any) -> Message:
        """Log in with the name and the password, or with the given fields; return the answer."""
        answer = self.ask(m.LOGIN, **(fields or {"name": self.name, "password": PASSWORD}))
        if answer["errno"] == 0:
            self.id, self.name, self.token = answer["id"], answer["name"], answer["token"]
        return answer

    def join_in(self, name: str = "") -> Self:
        """Register and log in."""
        self.register(name)
        assert self.login()["errno"] == 0
        return self

    def arrive(self) -> Self:
        """Register and log in, as soon as the server can serve both again."""
        who = {"name": new_name(), "password": PASSWORD}
        until(lambda: self.ask(m.REG, **who)["errno"] in (0, 5), "passwords are hashed and stored again")
        until(lambda: self.login(**who)["errno"] == 0, "sessions are opened again")
        return self


def come_back(port: int, client: Modern) -> Modern:
    """Break the connection; return a new one, logged in by token after the old session has ended."""
    client.close()
    new = Modern(port)
    until(lambda: new.login(token=client.token)["errno"] == 0, "the earlier session is over")
    return new


ClientT = TypeVar("ClientT", bound=Wire)


def worker_of(server: Server, client: Wire) -> str:
    """Return the name of the worker that has the connection, from the log at level debug."""
    connected = re.compile(rf"(worker\d+) peer\.connected peer=127\.0\.0\.1:{client.own_port}$", re.MULTILINE)
    return until(lambda: connected.findall(server.log()), "the log names the connection's worker")[-1]


def elsewhere(server: Server, other: Wire, connect: Callable[[], ClientT], is_same: bool = False) -> ClientT:
    """Return a connection on another worker than `other`'s, or, if `is_same`, on the same worker."""
    # Keep the connections tried, because a worker with many of them leaves the next to others.
    with ExitStack() as tried:
        for _ in range(50):
            client = connect()
            if (worker_of(server, client) == worker_of(server, other)) is is_same:
                return client
            tried.enter_context(client)
    raise AssertionError("none of 50 connections came to the worker that was wanted")
