"""A proxy in front of Redis that sees each command, and can answer in the server's place."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from contextlib import suppress
from typing import Any

from tests.sweep.proxy import Link, Proxy
from tests.sweep.source import scripts
from tests.sweep.strikes import REDIS_FAULTS, Seen, Strike

#: Commands that are answered only by pushes.
_PUSHED = (b"SUBSCRIBE", b"UNSUBSCRIBE")


class RedisProxy(Proxy["_Link"]):
    """A proxy at a Unix socket, for the server at another one."""

    def __init__(self, path: str, upstream: str, seen: Seen):
        super().__init__(upstream, seen)
        self._path = path
        self._scripts = {text.encode(): name for text, name in scripts().items()}

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self.serve, self._path)

    def link(self, *streams: Any) -> _Link:
        return _Link(self, *streams)

    def cut(self, is_subscriber: bool | None = None) -> None:
        """Cut every connection, or only those of subscribers, or only the others."""
        self.cut_links(lambda link: is_subscriber in (None, link.is_subscriber))

    def kind(self, command: list[bytes]) -> str:
        name = command[0].decode()
        if name == "EVAL":
            return f"EVAL {self._scripts.get(command[1], command[1].decode().strip()[:40])}"
        if name in ("HELLO", "CLIENT", "AUTH", "SELECT"):
            return f"redis {name}"
        return f"{name} {_pattern(command[1])}" if len(command) > 1 else name


def _pattern(key: bytes) -> str:
    """Replace the parts of a key or channel that belong to one user, worker or address."""
    text = key.decode(errors="replace")
    text = re.sub(r"^(lease|users|reap|w|rate:\w+):.*", r"\1:*", text)
    return re.sub(r"\d+", "#", text)


class _Link(Link):
    def __init__(self, proxy: RedisProxy, *streams: Any):
        super().__init__(*streams)
        self._proxy = proxy
        self.is_subscriber = False
        self._is_mute = False
        #: The sources of the answers to the commands sent, in order. None: the server. Otherwise our reply;
        #: with True, the server's reply is swallowed first.
        self._answers: deque[tuple[bytes, bool] | None] = deque()

    async def forward(self) -> None:
        while True:
            raw, command = await _command(self._reader)
            await self._sent(raw, command)

    async def _sent(self, raw: bytes, command: list[bytes]) -> None:
        is_pushed = command[0] in _PUSHED
        self.is_subscriber |= is_pushed
        kind = self._proxy.kind(command)
        self._proxy.seen.of_redis.add(kind)
        strike = self._proxy.seen.strike(kind)
        if strike is not None:
            await self._strike(strike, raw, is_pushed)
        elif self._proxy.seen.to_lose and kind in ("PUBLISH u#", "PUBLISH g#"):
            self._proxy.seen.to_lose -= 1
            self._answers.append((b":1\r\n", False))
            self._flush()
        else:
            self._upstream.write(raw)
            if not is_pushed:
                self._answers.append(None)

    async def _strike(self, strike: Strike, raw: bytes, is_pushed: bool) -> None:
        reply, is_forwarded = REDIS_FAULTS[strike.fault]
        if is_forwarded:
            self._upstream.write(raw)
        if reply is None:
            if is_forwarded:
                self._is_mute = True
                await asyncio.sleep(0.05)  # Redis runs the command before it notices the end
            self.cut()
        elif not reply:
            self._is_mute = True
            await self.swallow()
        else:
            self._answers.append((reply, is_forwarded and not is_pushed))
            self._flush()
        strike.ended = time.monotonic()

    def _flush(self) -> None:
        """Send our own replies whose turn it is."""
        while self._answers and (answer := self._answers[0]) is not None and not answer[1]:
            self._writer.write(answer[0])
            self._answers.popleft()

    async def back(self) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                reply = await _reply(self._upstream_reader)
                if self._is_mute:
                    continue
                if reply[:1] != b">" and self._answers:
                    answer = self._answers.popleft()
                    reply = answer[0] if answer is not None else reply
                self._writer.write(reply)
                self._flush()
        self._writer.close()


async def _command(reader: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    header = await reader.readuntil(b"\r\n")
    raw, words = [header], []
    for _ in range(int(header[1:])):
        size = await reader.readuntil(b"\r\n")
        data = await reader.readexactly(int(size[1:]) + 2)
        raw += [size, data]
        words.append(data[:-2])
    words[0] = words[0].upper()
    return b"".join(raw), words


async def _reply(reader: asyncio.StreamReader) -> bytes:
    """Return one whole reply or push, unparsed (RESP3)."""
    line = await reader.readuntil(b"\r\n")
    kind = line[:1]
    if kind in b"$=!" and line[1:2] != b"-":
        return line + await reader.readexactly(int(line[1:]) + 2)
    if kind in b"*~>%|" and line[1:2] != b"-":
        count = int(line[1:]) * (2 if kind in b"%|" else 1)
        return line + b"".join([await _reply(reader) for _ in range(count)])
    return line
