"""The users of a sweep: those of a round, who also record their waits and unexpected disconnects."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.faults import clients
from tests.faults.clients import Json
from tests.faults.history import History

PASSWORD = "correct horse"
_TOLD = (m.BYE, m.ERROR)


class Guest(clients.Modern):
    """A modern client that records the wait of each request, and disconnects with a request unanswered."""

    def __init__(self, name: str, seed: int, history: History, port: int):
        super().__init__(name, seed, history, ("127.0.0.1", port))
        self.waits: list[tuple[float, float, str]] = []  # begin, end, request
        self.hung_up: list[str] = []
        self._refusals: list[str] = []  # of the current request
        self.password = PASSWORD
        self._other_password = (
            PASSWORD  # the other password that may be valid, after a change whose answer was lost
        )
        self._was_told = False
        self._is_leaving = False

    async def insist(self, msgid: int, *errnos: int, **fields: Any) -> Json:
        """Return the answer, whose errno must be 0 or one of `errnos`, after as many retries as it takes."""
        begun = time.monotonic()
        answer = await self.ask({"msgid": msgid, **fields})
        self.waits.append((begun, time.monotonic(), f"{msgid} {fields.get('op', '')}"))
        assert answer["errno"] in (0, *errnos), f"{self.name}: {msgid} {fields}: {answer}"
        return answer

    async def ask(self, message: Json) -> Json:
        begun = time.monotonic()
        self._refusals.clear()
        try:
            return await super().ask(message)
        finally:
            what = f"{message['msgid']} {message.get('op', '')}"
            refused = f" after {self._refusals}" if self._refusals else ""
            self.waits.append((begun, time.monotonic(), what + refused))

    def on_refused(self, answer: Json) -> None:
        self._refusals.append(f"{answer['msgid']} {answer['code']} {answer['retry_after']}")

    async def change_password(self, new: str) -> None:
        """Change the password.

        Errno 1 is accepted, because an attempt whose answer was lost may have changed it.
        """
        self._other_password = new
        answer = await self.insist(m.ACCOUNT, 1, op="password", old=self.password, new=new)
        self.password = self._other_password = new
        self._token = answer.get("token", "")

    async def log_out(self) -> None:
        """Log out, and log in again by password, because the token is no longer valid."""
        await self.is_online.wait()
        with suppress(ConnectionError):
            await self._request({"msgid": m.LOGINOUT})
        self._token = ""
        await self.come_again()

    async def come_again(self) -> None:
        """Reconnect and log in again."""
        await self.stop()
        begun = time.monotonic()
        with suppress(TimeoutError):
            await self.start()
        self.waits.append((begun, time.monotonic(), "login"))

    async def log_in(self) -> None:
        self._was_told = False
        await self._request({"msgid": m.HELLO})
        if not self.id:
            answer = await self._request({"msgid": m.REG, "name": self.name, "password": self.password})
            if answer["errno"] not in (0, 7):
                raise ConnectionError(answer["code"])
        who: Json = {"token": self._token} if self._token else {"name": self.name, "password": self.password}
        answer = await self._request({"msgid": m.LOGIN, "takeover": True, **who})
        if answer["errno"] == 13:
            self._token = ""
        if answer["errno"] == 1:
            self.password, self._other_password = self._other_password, self.password
        if answer["errno"]:
            raise ConnectionError(answer["code"])
        self._token = answer["token"]
        self.history.shown.setdefault(self.id, [])
        for conv in answer["convs"]:
            self._note(conv["conv"], conv["last"])

    async def stop(self) -> None:
        self._is_leaving = True
        try:
            await super().stop()
        finally:
            self._is_leaving = False

    def on_frame(self, message: Json) -> None:
        if message["msgid"] in _TOLD:
            self._was_told = True
        if message["msgid"] in (m.ONE_CHAT, m.GROUP_CHAT) and "seq" not in message:
            return  # it is ephemeral
        super().on_frame(message)

    def on_lost(self) -> None:
        if self._answers and not self._was_told and not self._is_leaving:
            self.hung_up.append(f"{self.name}: the connection was closed with a request unanswered")
        super().on_lost()


async def try_login(port: int, **who: Any) -> Json:
    """Return the answer to one login on a new connection, without takeover; {} if there is none."""
    guest = Guest("", 0, History(), port)
    with suppress(OSError, ConnectionError, TimeoutError):
        reader, guest._writer = await asyncio.open_connection("127.0.0.1", port)
        receiving = asyncio.create_task(guest._receive(reader))
        try:
            await guest._request({"msgid": m.HELLO})
            return await guest._request({"msgid": m.LOGIN, **who})
        finally:
            receiving.cancel()
            guest._writer.close()
    return {}


class SlowReader:
    """A client that logs in and then does not read for a while."""

    def __init__(self, port: int):
        self._port = port
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.setblocking(False)
        self._buffer = b""

    async def log_in(self, name: str) -> None:
        await asyncio.get_running_loop().sock_connect(self._sock, ("127.0.0.1", self._port))
        await self._ask({"msgid": m.HELLO, "rid": "h"})
        errno = -1
        while errno:
            await asyncio.sleep(0.1)
            answer = await self._ask(
                {"msgid": m.LOGIN, "rid": "l", "name": name, "password": PASSWORD, "takeover": True}
            )
            errno = answer["errno"]

    async def drain(self, number: int) -> None:
        """Read until a CONVS tells the state of the conversations, or until all messages have come.

        All may come, because the kernels can buffer them.
        """
        shown: set[int] = set()
        while len(shown) < number and (frame := await self._frame())["msgid"] != m.CONVS:
            if frame["msgid"] == m.ONE_CHAT and "rid" not in frame:
                shown.add(frame["seq"])
        self._sock.close()

    async def _ask(self, message: Json) -> Json:
        await asyncio.get_running_loop().sock_sendall(self._sock, line(message))
        while (answer := await self._frame()).get("rid") != message["rid"]:
            pass
        return answer

    async def _frame(self) -> Json:
        while b"\n" not in self._buffer:
            data = await asyncio.get_running_loop().sock_recv(self._sock, 65536)
            if not data:
                raise ConnectionError("a slow reader was disconnected")
            self._buffer += data
        frame, _, self._buffer = self._buffer.partition(b"\n")
        message: Json = orjson.loads(frame)
        return message
