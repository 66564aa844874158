"""An asyncio client on the session: it connects, reconnects, and lets requests be awaited.

async with Client("localhost", 6000) as client:
    await client.login("li", password)
    await client.send(57, "hello")
    async for event in client:
        if isinstance(event, Message) and not event.is_own:
            await client.send(event.conv, "you said: " + event.text)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLContext
from typing import Any, Self, cast

from client.aio import tls
from client.aio.backoff import Backoff
from client.aio.server import Server
from client.aio.waiters import Waiters
from client.protocol import parse
from client.protocol.events import Answer, Event, LoggedIn, Problem, Retrying, Sent
from client.protocol.outbox import Pending
from client.protocol.session import Session, State
from forkchat.errors import RateLimited
from forkchat.wire import msgid as m

#: Seconds for an answer: a login waits for its turn among other people's password hashes.
ANSWER_TIME = 30.0
#: Seconds for what was written to leave when we close.
CLOSE_TIME = 2.0


class Client(asyncio.Protocol):
    """`on_event` gets every event as it happens; without it they are to be had by `async for`.

    `on_post` gets every message before it is sent: to keep it. `patience`: seconds that a request waits for a
    lost connection to come back. `ssl`: connect with TLS (`client.aio.tls.context`). `lag`: seconds that an
    answer took. `follows_all`: as `Session`'s.

    What is awaited raises the `forkchat.errors.Refused` that the server answers, TimeoutError when no answer
    comes, CertificateError (of `client.aio.tls`) when the server's certificate is refused, and another
    OSError when there is no server at the address.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 6000,
        *,
        on_event: Callable[[Event], None] | None = None,
        patience: float = 30.0,
        ssl: SSLContext | None = None,
        on_post: Callable[[Pending], None] | None = None,
        follows_all: bool = True,
    ):
        self.session = Session(follows_all=follows_all)
        self.lag = 0.0
        self._server = Server(host, port, ssl)
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._on_event = on_event or self._events.put_nowait
        self._patience = patience
        self._on_post = on_post
        self._socket: asyncio.Transport | None = None
        self._connected_at = 0.0
        self._backoff = Backoff()
        self._is_closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._waiters = Waiters()
        self._timed: tuple[str, float] | None = None  # an answer that is awaited, and since when

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        return event

    async def connect(self) -> None:
        """Returns when a server has greeted us. Raises TimeoutError when it does not, ConnectionError or
        another OSError when there is none."""
        if self._opening is None or (self._opening.done() and not self._socket):
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)  # others may wait for the same

    def begin(self) -> None:
        """After `session.login`: connect as soon as there is a server; Retrying and Greeted tell of it."""
        self._reconnect_unless_done()

    async def close(self) -> None:
        self._is_closing = True
        for task in (self._reconnecting, self._opening):
            if task:
                task.cancel()
        await self.leave()
        if self._timer:
            self._timer.cancel()
        self._events.put_nowait(None)

    async def leave(self) -> None:
        """End the session with its connection: unlike LOGINOUT, that leaves the token good for another."""
        self.session.leave()
        if self._socket:
            self._step([])
            closed = self._waiters.expect("closed")
            self._socket.close()
            # TLS would wait longer for the server's farewell.
            end = asyncio.get_running_loop().call_later(CLOSE_TIME, self._socket.abort)
            await self._waiters.result("closed", closed, None)
            end.cancel()

    async def register(self, name: str, password: str) -> int:
        """Make an account; returns its id."""
        return parse.identifier(await self.request(m.REG, name=name, password=password), "id")

    async def login(
        self, who: str | int = "", password: str = "", *, token: str = "", takeover: bool = False
    ) -> LoggedIn:
        """As `Session.login`; from then on a lost connection is made again."""
        if not self._socket and not self._reconnecting:
            await self.connect()
        self.session.login(who, password, token=token, takeover=takeover)
        return cast(LoggedIn, await self._result("login", ANSWER_TIME))

    async def request(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """The fields of the answer to any other request of docs/wire.md.

        It waits out a rate limit that is not longer than `patience`.
        """
        if not self._socket and not self._reconnecting:
            await self.connect()
        while True:
            if not self._ready.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ready.wait(), self._patience)
            try:
                rid = self._time(self.session.request(msgid, **fields))
                return cast(dict[str, Any], await self._result(rid, ANSWER_TIME))
            except RateLimited as error:
                if error.retry_after is None or error.retry_after > self._patience:
                    raise
                await asyncio.sleep(error.retry_after)

    async def listed(self, msgid: int, key: str, **fields: Any) -> list[dict[str, Any]]:
        """All items of a list that comes in pages, under `key` of each: friends, groups, members."""
        found: dict[int, dict[str, Any]] = {}
        while True:
            answer = await self.request(msgid, **fields)
            page = {parse.identifier(item, "id"): item for item in parse.objects(answer, key)}
            is_news = bool(page.keys() - found.keys())
            found |= page
            if answer.get("more") is not True or not is_news:
                return list(found.values())
            fields["after"] = max(page)

    def post(self, to: str | int, text: str) -> str:
        """Send a message to a conversation, or a user's id, without waiting; returns its `cid`.

        It is sent again until it is acknowledged: events tell of that.
        """
        pending = self.session.send(to, text)
        if self._on_post:
            self._on_post(pending)
        if self.session.is_ready:  # else it is the waiting that would be measured
            self._time(pending.cid)
        self._step([])
        return pending.cid

    async def acknowledged(self, cid: str, timeout: float | None = None) -> Sent:
        """Wait until a message, posted just now, is stored."""
        return cast(Sent, await self._result(cid, timeout))

    async def send(self, to: str | int, text: str) -> Sent:
        """Send a message; returns when it is stored."""
        return await self.acknowledged(self.post(to, text))

    def follow(self, conv: str, after: int) -> None:
        """As `Session.follow`."""
        self.session.follow(conv, after)
        self._step([])

    def read(self, conv: str, seq: int) -> None:
        """The user has read the conversation up to `seq`."""
        self.session.read(conv, seq)
        self._step([])

    def typing(self, conv: str) -> None:
        """The user is typing there."""
        self.session.typing(conv)
        self._step([])

    async def settle(self, timeout: float) -> bool:
        """Wait until everything was acknowledged and shown; whether it was."""
        with suppress(TimeoutError):
            if not self.session.is_idle:
                await self._result("idle", timeout)
        return self.session.is_idle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._connected_at = self._now()
        self.session.connected(self._connected_at)
        self._step([])

    def data_received(self, data: bytes) -> None:
        self._step(self.session.receive(data, self._now()))

    def connection_lost(self, error: Exception | None) -> None:
        self._socket = None
        self._backoff.ended(self._now() - self._connected_at)
        self._step(self.session.disconnected(self._now()))
        self._timed = None
        self._reconnect_unless_done()

    async def _open(self) -> None:
        """One connection, until it is greeted."""
        try:
            await self._server.open(self)
        except OSError:
            self._backoff.ended()
            raise
        if self._socket is None:
            raise ConnectionError("the server has closed the connection at once")
        if self.session.state is State.GREETING:
            await self._result("greeted", None)

    @property
    def _is_needed(self) -> bool:
        return self.session.is_wanted and not self._is_closing

    def _reconnect_unless_done(self) -> None:
        if self._is_needed and not self._socket and not self._reconnecting:
            self._reconnecting = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        """Until it succeeds; of a certificate that is refused meanwhile one Problem tells."""
        is_told, reason = False, ""
        while self._socket is None and self._is_needed:
            if self._connected_at or reason:
                pause = self._pause()
                self._step([Retrying(pause, reason)])
                await asyncio.sleep(pause)
            try:
                await self.connect()
            except OSError as error:
                reason = error.strerror or str(error)
                if isinstance(error, tls.CertificateError) and not is_told:
                    is_told = True
                    self._step([Problem(str(error))])
        self._reconnecting = None

    def _pause(self) -> float:
        """Until the next try: a server's own word is the one that counts."""
        retry_after, self.session.retry_after = self.session.retry_after, None
        return self._backoff.pause() if retry_after is None else retry_after

    def _step(self, events: list[Event]) -> None:
        """After each call of the session: pass on what happened, send, and plan the next tick."""
        for event in events:
            self._waiters.wake(event)
            self._measure(event)
            if not isinstance(event, Answer):
                self._on_event(event)
        if self.session.is_ready:
            self._ready.set()
        else:
            self._ready.clear()
        if self._socket:
            self._socket.write(self.session.data_to_send())
            if self.session.is_finished:
                self._socket.abort()  # not close: a dead peer would never take what is left
        if self.session.is_idle:
            self._waiters.resolve("idle")
        self._plan()

    def _plan(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline = self.session.deadline
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        # The loop calls a timer up to its clock's resolution early; that deadline has come.
        self._step(self.session.tick(max(self._now(), self.session.deadline or 0.0)))

    def _time(self, key: str) -> str:
        """Measure how long its answer takes, unless another one's is being measured."""
        self._timed = self._timed or (key, self._now())
        return key

    def _measure(self, event: Event) -> None:
        match event:
            case Answer(rid=key) | Sent(cid=key) if self._timed and key == self._timed[0]:
                self.lag = self._now() - self._timed[1]
                self._timed = None

    async def _result(self, key: str, timeout: float | None) -> Any:
        """Send what a request has left in the session, and wait."""
        future = self._waiters.expect(key)
        self._step([])
        return await self._waiters.result(key, future, timeout)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
