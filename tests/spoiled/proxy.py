"""A proxy for a good server. It spoils one frame, or all of a kind for a while, and is then honest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import orjson

from forkchat.wire import msgid as m

Json = dict[str, Any]

#: Seconds for which a lasting strike spoils each frame of its kind.
LASTING = 3.0
#: Names of the messages by msgid.
_NAMES = {value: name for name, value in vars(m).items() if name.isupper() and isinstance(value, int)}


def step_of(message: Json) -> str:
    """Return the step of the protocol that a frame of the server belongs to."""
    name = _NAMES.get(message["msgid"], "?")
    if message["msgid"] == m.ACK:
        return f"ACK of {_NAMES.get(message['re'], '?')}"
    return f"EVENT {message['kind']}" if message["msgid"] == m.EVENT else name


@dataclass(frozen=True)
class Way:
    """A way to spoil a frame.

    `excuses`: the laws that no client can keep after this lie. `slow`: seconds that the client may take
    longer, because the lie asks it to.
    """

    group: str
    name: str
    act: Callable[[Relay, Json], Awaitable[object]]
    excuses: frozenset[str] = frozenset()
    slow: float = 0.0


@dataclass(frozen=True)
class Strike:
    """A plan to spoil the `number`th frame of a step, counted from 1.

    `is_lasting`: later frames of the step are spoiled, too, for a while.
    """

    step: str
    number: int
    way: Way
    is_lasting: bool = False

    def __str__(self) -> str:
        lasting = ", lasting" if self.is_lasting else ""
        return f"{self.step} {self.number}, {self.way.group}: {self.way.name}{lasting}"


class Relay:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer
        self.is_ended = False
        self.upstream: asyncio.StreamWriter | None = None

    def say(self, data: bytes) -> None:
        if not self.is_ended and not self.writer.is_closing():
            self.writer.write(data)

    def tell(self, message: object) -> None:
        self.say(orjson.dumps(message) + b"\n")

    async def flush(self) -> None:
        with suppress(OSError):
            await self.writer.drain()

    def cut(self) -> None:
        """Close both connections. The client still gets what was sent before."""
        self.writer.close()
        if self.upstream and not self.upstream.is_closing():
            self.upstream.transport.abort()

    def half_close(self) -> None:
        if not self.is_ended and not self.writer.is_closing():
            self.is_ended = True
            self.writer.write_eof()


class Proxy:
    """A proxy for the server on `port`.

    `steps` counts the frames of each step, and `samples` has them. `connections` and `requests` count those
    of the clients. `honest_at`: when the proxy became honest again; None before the strike.
    """

    def __init__(self, port: int, strike: Strike | None = None):
        self.port = 0
        self.steps: Counter[str] = Counter()
        self.samples: dict[tuple[str, int], Json] = {}
        self.connections = 0
        self.requests = 0
        self.strikes = 0
        self.honest_at: float | None = None
        self._server_port = port
        self._strike = strike
        self._began = 0.0
        self._relays: set[Relay] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, strike: Strike | None) -> None:
        """Start again, with another strike or none."""
        self.cut_all()
        self.steps.clear()
        self.connections = self.requests = self.strikes = 0
        self.honest_at, self._began, self._strike = None, 0.0, strike

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_all(self) -> None:
        for relay in list(self._relays):
            relay.cut()

    @property
    def is_struck(self) -> bool:
        return self.honest_at is not None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        relay = Relay(reader, writer)
        self._relays.add(relay)
        try:
            upstream, relay.upstream = await asyncio.open_connection(
                "127.0.0.1", self._server_port, limit=1 << 24
            )
            up = asyncio.create_task(self._up(relay))
            try:
                await self._down(relay, upstream)
            finally:
                up.cancel()
                await asyncio.wait([up])
        except (OSError, asyncio.CancelledError):
            pass  # the client sees only that the connection ended
        finally:
            self._relays.discard(relay)
            self._tasks.discard(task)
            relay.cut()

    async def _up(self, relay: Relay) -> None:
        """Forward the client's data unchanged. The server learns of the client's end after its answers."""
        assert relay.upstream
        with suppress(OSError):
            while data := await relay.reader.read(1 << 16):
                self.requests += data.count(b"\n")
                relay.upstream.write(data)
                await relay.upstream.drain()
        relay.upstream.close()  # data sent before is still read
        relay.writer.close()

    async def _down(self, relay: Relay, upstream: asyncio.StreamReader) -> None:
        while (frame := await upstream.readline()).endswith(b"\n"):
            message = orjson.loads(frame)
            step = step_of(message)
            self.steps[step] += 1
            self.samples[step, self.steps[step]] = message
            if self._is_due(step):
                await self._spoil(relay, message)
            else:
                relay.say(frame)
            await relay.flush()

    def _is_due(self, step: str) -> bool:
        strike = self._strike
        if strike is None or step != strike.step or self.steps[step] < strike.number:
            return False
        if not self._began:
            return True
        return strike.is_lasting and asyncio.get_running_loop().time() < self._began + LASTING

    async def _spoil(self, relay: Relay, message: Json) -> None:
        assert self._strike
        loop = asyncio.get_running_loop()
        self._began = self._began or loop.time()
        self.strikes += 1
        self.honest_at = self._began + LASTING if self._strike.is_lasting else loop.time()
        await self._strike.way.act(relay, message)
        self.honest_at = max(self.honest_at, loop.time())
