"""Lean clients for load: each received frame is parsed once and counted, never kept."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line

Json = dict[str, Any]


@dataclass
class Tally:
    """The results of many talkers together, in seconds."""

    acked: list[float] = field(default_factory=list)  # from sending to the acknowledgement
    refused: list[float] = field(default_factory=list)  # from sending to the answer to retry later
    shown: list[float] = field(default_factory=list)  # from sending to the delivery at the other side
    sent: int = 0


class Talker(asyncio.Protocol):
    """A modern client. Its texts begin with the time at which they were sent."""

    def __init__(self, tally: Tally):
        self.tally = tally
        # Messages kept in flight, because each acknowledgement triggers the next; 0: `pace` sends instead.
        self.window = 0
        self._buffer = b""
        self._rid = 0
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._sent: dict[int, float] = {}
        self._message: Json = {}
        self.transport: asyncio.Transport

    async def open(self, port: int, source: str = "127.0.0.1", buffer: int = 0) -> None:
        """Connect from a loopback address. `buffer`: bytes that the kernel takes unread, if not 0."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        sock.bind((source, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.create_connection(lambda: self, sock=sock)

    async def log_in(self, token: str) -> Json:
        await self.ask({"msgid": m.HELLO})
        return await self.ask({"msgid": m.LOGIN, "token": token, "takeover": True})

    def ask(self, message: Json) -> asyncio.Future[Json]:
        """Send a request; return a future of the answer.

        The future raises ConnectionError if the connection is lost before.
        """
        self._rid += 1
        answer = self._answers[self._rid] = asyncio.get_running_loop().create_future()
        self.transport.write(line(message | {"rid": self._rid}))
        return answer

    def address(self, **to: int) -> None:
        """Set the recipient of what is said: `toid` or `groupid`."""
        self._message = {"msgid": m.GROUP_CHAT if "groupid" in to else m.ONE_CHAT, **to}

    def say(self, padding: str = "") -> None:
        self._rid += 1
        now = time.monotonic()
        self._sent[self._rid] = now
        self.tally.sent += 1
        words = {"rid": self._rid, "cid": f"{self._rid}", "msg": f"{now} {padding}"}
        self.transport.write(line(self._message | words))

    def unanswered(self) -> list[float]:
        """Return the times at which the unanswered messages were sent."""
        return list(self._sent.values())

    def saturate(self, window: int) -> None:
        """Keep `window` messages in flight, until `window` is set to 0."""
        self.window = window
        for _ in range(window):
            self.say()

    # Received data.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *frames, self._buffer = (self._buffer + data).split(b"\n")
        for frame in frames:
            self.on_frame(orjson.loads(frame))

    def connection_lost(self, _error: Exception | None) -> None:
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(ConnectionError("closed"))

    def on_frame(self, message: Json) -> None:
        kind, rid = message["msgid"], message.get("rid")
        if rid in self._answers:
            answer = self._answers.pop(rid)
            if not answer.done():
                answer.set_result(message)
        elif rid in self._sent:
            now = time.monotonic()
            (self.tally.refused if message["errno"] else self.tally.acked).append(now - self._sent.pop(rid))
            if self.window:
                self.say()
        elif kind in (m.ONE_CHAT, m.GROUP_CHAT):
            self.tally.shown.append(time.monotonic() - float(message["msg"].partition(" ")[0]))
        elif kind == m.PING:
            self.transport.write(line({"msgid": m.PONG}))


async def pace(talkers: list[Talker], rate: float, seconds: float, padding: str = "") -> None:
    """Send `rate` messages a second in total, by each talker in turn, regardless of the answers."""
    begun, said = time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        while said < (now - begun) * rate:
            talkers[said % len(talkers)].say(padding)
            said += 1
        await asyncio.sleep(0.005)


def milliseconds(delays: Iterable[float], part: float) -> float:
    """Return the quantile `part` of the delays in milliseconds; NaN if there are none."""
    ordered = sorted(delays)
    return ordered[int(part * (len(ordered) - 1))] * 1000 if ordered else float("nan")
