"""Sessions that send a running server valid, almost valid, out-of-order and garbage frames."""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line, padded

Json = dict[str, Any]

_MSGIDS = sorted(value for name, value in vars(m).items() if name.isupper() and isinstance(value, int))
_OPS = ("leave", "remove", "members", "list", "password", "end_others", "")
_TEXTS = ("", "hi", "你好 👋", "\x1b[2J", "\u202e", "x" * 9000, "'; DROP TABLE user; --", "%s", "\0")
_NUMBERS = (0, 1, -1, 2**31, 2**32, 2**63, 2**64 - 1, 1.5, True, None)
_SHAPES: tuple[Any, ...] = ([], {}, [[]], {"a": 1}, "NaN")
_PASSWORD = "correct horse"


class Fuzzer:
    """Many sessions with random frames. `inputs` counts them.

    The same seed sends the same frames, as far as the server's answers are the same.
    """

    def __init__(self, port: int, seed: int):
        self.inputs = 0
        self._port = port
        self._random = random.Random(seed)
        self._tokens: dict[str, str] = {}  # tokens by name, because a login by token needs no hashing
        self._names = [f"f{seed}-{n}" for n in range(8)]

    async def run(self, inputs: int, sessions: int = 20) -> None:
        while self.inputs < inputs:
            await asyncio.gather(*(self._session() for _ in range(sessions)))

    async def _session(self) -> None:
        """Run one connection until either side ends it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        name = self._random.choice(self._names)
        reading = asyncio.create_task(self._read_all(reader, name))
        try:
            for frame in self._opening(name):
                writer.write(frame)
            for _ in range(self._random.randrange(60)):
                writer.write(self._input())
                self.inputs += 1
                if self._random.random() < 0.2:
                    await asyncio.sleep(0)
                    await asyncio.wait_for(writer.drain(), 10)
                if reading.done():
                    break
            if self._random.random() < 0.5:
                writer.write_eof()
                await asyncio.wait([reading], timeout=self._random.random())
        except OSError:
            return  # the server may close the connection
        finally:
            reading.cancel()
            writer.transport.abort()

    def _opening(self, name: str) -> list[bytes]:
        who = {"name": name, "password": _PASSWORD}
        hello, takeover = line({"msgid": m.HELLO}), {"takeover": True}
        modern = [line({"msgid": m.REG, **who}), line({"msgid": m.LOGIN, "rid": 1, **who, **takeover})]
        if token := self._tokens.get(name):
            modern = [line({"msgid": m.LOGIN, "rid": 1, "token": token, **takeover})]
        classic = [padded(orjson.dumps({"msgid": m.LOGIN, **who}))]
        return self._random.choices([[], [hello], [hello, *modern], classic], [1, 2, 3, 1])[0]

    def _input(self) -> bytes:
        frame = line(self._message())
        how = self._random.random()
        if how < 0.5:
            return frame
        if how < 0.9:
            return self._mutated(frame)
        return self._random.randbytes(self._random.choice([1, 10, 100, 5000])) + b"\n"

    def _message(self) -> Json:
        """Return a message with most of the known fields, one of them perhaps of a wrong type."""
        pick, number = self._random.choice, self._random.randrange(1, 12)
        conv = pick([f"g{number}", f"d{number}-{number + 1}", f"d{number + 1}-{number}", "d1", ""])
        right: Json = {
            "rid": pick([number, "r"]),
            "name": pick(self._names),
            "password": _PASSWORD,
            "id": number,
            "toid": number,
            "friendid": number,
            "groupid": number,
            "groupname": "group",
            "groupdesc": pick(_TEXTS),
            "msg": pick(_TEXTS),
            "cid": str(number),
            "ephemeral": pick([True, False]),
            "conv": conv,
            "after": pick([0, number, conv]),
            "before": number,
            "limit": number,
            "c": {conv: number},
            "seq": number,
            "op": pick(_OPS),
            "token": pick(_TEXTS),
            "takeover": True,
            "ver": pick([0, 1, 2]),
        }
        message = {key: value for key, value in right.items() if self._random.random() < 0.85}
        if self._random.random() < 0.4:
            message[pick(list(right))] = pick([*_TEXTS, *_NUMBERS, *_SHAPES])
        return {"msgid": self._msgid(), **message}

    def _msgid(self) -> int:
        """Choose a msgid; rarely one for which the server hashes a password, which takes 0.1 s."""
        if self._random.random() < 0.05:
            return self._random.randrange(-1, 200)
        cheap = [each for each in _MSGIDS if each not in (m.LOGIN, m.REG, m.ACCOUNT)]
        return self._random.choice(cheap if self._random.random() < 0.98 else _MSGIDS)

    def _mutated(self, frame: bytes) -> bytes:
        pick, at = self._random.choice, self._random.randrange(len(frame))
        changed = bytearray(frame)
        match pick(("flip", "cut", "repeat", "insert", "join")):
            case "flip":
                changed[at] ^= 1 << self._random.randrange(8)
            case "cut":
                del changed[at:]
            case "repeat":
                changed += frame[:at] + frame
            case "insert":
                changed[at:at] = pick(
                    [b"\0", b"\n", b"\r\n", b"\xff\xfe", b"[" * 2000, b"{", b'"', b" " * 1100]
                )
            case "join":
                del changed[-1:]
        return bytes(changed)

    async def _read_all(self, reader: asyncio.StreamReader, name: str) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if token := re.search(rb'"token":"([^"]+)"', data):
                    self._tokens[name] = token[1].decode()
