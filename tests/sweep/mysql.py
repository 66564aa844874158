"""A proxy in front of MySQL that sees each statement, and can answer in the server's place."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from tests.sweep.proxy import Link, Proxy
from tests.sweep.source import Statement, statements
from tests.sweep.strikes import CONNECT, CONNECT_FAULTS, MYSQL_FAULTS, Seen, Strike

_QUERY, _PING, _QUIT = 3, 14, 1
#: Seconds of silence after which a local server has sent its whole answer to a statement.
_ANSWERED = 0.1


class MySQLProxy(Proxy["_Link"]):
    """A proxy on a TCP port, for the server at a Unix socket."""

    def __init__(self, socket_path: str, seen: Seen):
        super().__init__(socket_path, seen)
        self._statements = sorted(_merged(statements()), key=lambda each: -each.weight)
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def link(self, *streams: Any) -> _Link:
        return _Link(self, *streams)

    def cut(self) -> None:
        """Cut every connection."""
        self.cut_links()

    def kind(self, sql: str) -> str:
        """Return the name of a statement, as found in the source, or made from its text."""
        for each in self._statements:
            if each.matches(sql):
                return each.name
        return "sql " + " ".join(sql.split())[:80]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        strike = self.seen.strike(CONNECT)
        if strike is not None:
            await _refuse(CONNECT_FAULTS[strike.fault][0], reader, writer)
            strike.ended = time.monotonic()
            return
        await self.serve(reader, writer)


async def _refuse(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if number == 0:
        with suppress(OSError):
            await reader.read(1)
    elif number > 0:
        writer.write(_packet(0, b"\xff" + number.to_bytes(2, "little") + b"injected"))
    else:
        writer.transport.abort()
    writer.close()


class _Link(Link):
    def __init__(self, proxy: MySQLProxy, *streams: Any):
        super().__init__(*streams)
        self._proxy = proxy
        self._is_muted = False
        self._heard = 0.0
        self._latest = ""

    async def forward(self) -> None:
        while True:
            header = await self._reader.readexactly(4)
            data = await self._reader.readexactly(int.from_bytes(header[:3], "little"))
            if header[3] == 0 and data[:1] in (b"\x03", b"\x0e"):
                await self._command(header, data)
            else:
                self._upstream.write(header + data)

    async def back(self) -> None:
        with suppress(OSError):
            while data := await self._upstream_reader.read(1 << 16):
                self._heard = time.monotonic()
                if not self._is_muted:
                    self._writer.write(data)
        self._writer.close()

    async def _command(self, header: bytes, data: bytes) -> None:
        kind = "ping" if data[0] == _PING else self._kind(data[1:].decode(errors="replace"))
        strike = self._proxy.seen.strike(kind)
        if strike is None:
            self._upstream.write(header + data)
            return
        await self._strike(strike, header + data)

    def _kind(self, sql: str) -> str:
        """Return the kind of a statement. COMMIT and ROLLBACK are named after the statement before them."""
        upper = sql.strip().upper()
        if upper in ("COMMIT", "ROLLBACK"):
            return f"{upper} ({self._latest})"
        kind = self._proxy.kind(sql)
        if ": " in kind:
            self._latest = kind.partition(":")[0]
        return kind

    async def _strike(self, strike: Strike, packet: bytes) -> None:
        number, is_forwarded = MYSQL_FAULTS[strike.fault]
        self._is_muted = True
        if is_forwarded:
            self._heard = time.monotonic()
            self._upstream.write(packet)
            while time.monotonic() < self._heard + _ANSWERED:
                await asyncio.sleep(_ANSWERED / 2)
        if number < 0:
            self.cut()
        elif number == 0:
            await self.swallow()
        else:
            self._is_muted = False
            self._writer.write(_packet(1, b"\xff" + number.to_bytes(2, "little") + b"#HY000injected"))
        strike.ended = time.monotonic()


def _packet(sequence: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def _merged(found: list[Statement]) -> list[Statement]:
    """Keep one of several statements with the same text, because the proxy cannot tell them apart."""
    by_parts: dict[tuple[str, ...], Statement] = {}
    for each in found:
        by_parts.setdefault(each.parts, each)
    return list(by_parts.values())
