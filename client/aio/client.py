"""An asyncio client for a session, with reconnecting and awaitable requests (docs/library.md).

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
from client.aio.given import Given
from client.aio.server import Server
from client.aio.waiters import Waiters, message_key
from client.aio.waiting import Waiting
from client.protocol import parse
from client.protocol.backoff import Backoff
from client.protocol.events import (
    Answer,
    ConnectionLost,
    Event,
    Greeted,
    LoggedIn,
    LoggedOut,
    Message,
    Problem,
    Retrying,
    Sent,
    Stranded,
)
from client.protocol.outbox import Pending
from client.protocol.session import Session, State
from forkchat.errors import RateLimited
from forkchat.wire import msgid as m

#: Seconds to wait for an answer, including the time to replace lost connections.
ANSWER_TIME = 30.0
#: Seconds to send the buffered output when the client closes.
CLOSE_TIME = 2.0
_CLOSED = "this client was closed"
#: Request fields whose values mean something else in another database.
_IDS = frozenset(("id", "friendid", "groupid", "toid", "conv", "after"))


class Client(asyncio.Protocol):
    """A client that reconnects by itself. `on_event` gets each event; without it `async for` yields them.

    The client confirms a message to the server when `on_event` has returned. With `async for` it confirms a
    message when the task that got it asks for the next event, or by `confirm`. The server gives an
    unconfirmed message again to the user's next session. An exception from `on_event` goes to `on_error`, or
    without one to the event loop's exception handler. The message is not confirmed then.

    `on_post` gets every message before it is sent, to keep it. `patience`: seconds that a request waits for a
    lost connection to come back. `ssl`: the context to connect with TLS (`client.aio.tls.context`). `lag`:
    seconds that an answer took. `follows_all`: as for `Session`.

    A closed client stays closed: its requests raise ConnectionLost.

    Awaited calls raise the `forkchat.errors.Refused` that the server answers, or TimeoutError without an
    answer. They raise CertificateError (of `client.aio.tls`) if the server's certificate is refused. They
    raise another OSError if there is no server at the address.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 6000,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_error: Callable[[Exception], None] | None = None,
        patience: float = 30.0,
        ssl: SSLContext | None = None,
        on_post: Callable[[Pending], None] | None = None,
        follows_all: bool = True,
    ):
        self.session = Session(follows_all=follows_all)
        self.lag = 0.0
        self._server = Server(host, port, ssl)
        self._given = Given(self._confirmed)
        self._waiting = Waiting(self._given, self._room_changed)
        self._on_event = on_event
        self._on_error = on_error
        self._patience = patience
        self._on_post = on_post
        self._socket: asyncio.Transport | None = None
        self._connected_at = 0.0
        self._backoff = Backoff()
        self._closing: asyncio.Task[None] | None = None
        self._epoch, self._me = "", 0
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._waiters = Waiters()
        self._timed: tuple[str, float] | None = None  # the answer being measured, and since when
        if not on_event:
            self.session.make_room(False)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Several tasks may iterate; each event goes to one of them."""
        return await self._waiting.take()

    def confirm(self, message: Message) -> None:
        """Confirm a message from `async for`, because the user is done with it."""
        self._given.done(message)

    async def connect(self) -> None:
        """Connect, and wait until a server has greeted the client.

        Raises TimeoutError if no greeting comes. Raises ConnectionError or another OSError if there is no
        server.
        """
        self._check_open()
        if self._opening is None or (self._opening.done() and not self._socket):
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)  # other tasks may await the same attempt

    def begin(self) -> None:
        """Connect as soon as there is a server, after a call of `session.login`.

        Retrying and Greeted report the progress.
        """
        self._check_open()
        self._reconnect_unless_done()

    async def close(self) -> None:
        """Tell the server what is confirmed, then end the connection and each `async for`.

        All tasks that call this wait for the same close.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._waiting.close()
        for task in (self._reconnecting, self._opening):
            if task:
                task.cancel()
        await self.leave()
        self._waiters.give_up(ConnectionLost(_CLOSED))
        self._ready.set()  # wake the tasks that wait for it
        if self._timer:
            self._timer.cancel()

    async def leave(self) -> None:
        """End the session with its connection. Unlike LOGINOUT, that keeps the token valid."""
        self.session.leave()
        if self._socket:
            self._step([])
            closed = self._waiters.expect("closed")
            self._socket.close()
            # TLS would wait longer for the server's end of the closing handshake.
            end = asyncio.get_running_loop().call_later(CLOSE_TIME, self._socket.abort)
            await self._waiters.result("closed", closed, None)
            end.cancel()

    @property
    def is_exposed(self) -> bool:
        """A connection exists, and others on the network can read what is sent on it."""
        peer = self._socket.get_extra_info("peername") if self._socket else None
        return peer is not None and self._server.exposes(peer[0])

    async def register(self, name: str, password: str) -> int:
        """Make an account and return its id."""
        return parse.identifier(await self.request(m.REG, name=name, password=password), "id")

    async def login(
        self, who: str | int = "", password: str = "", *, token: str = "", takeover: bool = False
    ) -> LoggedIn:
        """Log in as `Session.login` does. From then on the client replaces a lost connection.

        `takeover` holds only while this call is awaited. An automatic reconnect never ends a session
        elsewhere.
        """
        self._check_open()
        if not self._socket and not self._reconnecting:
            await self.connect()
        self.session.login(who, password, token=token, takeover=takeover)
        self._reconnect_unless_done()  # the greeted connection may have ended by now
        try:
            return cast(LoggedIn, await self._result("login", ANSWER_TIME))
        finally:
            self.session.withdraw_takeover()

    async def request(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send any other request of docs/wire.md, and return the fields of its answer.

        The call waits out a rate limit that is not longer than `patience`. Raises Stranded for a request with
        ids if the server's database was replaced before the request could be sent.
        """
        epoch = self.session.epoch
        if not self._socket and not self._reconnecting:
            await self.connect()
        while True:
            if not self._ready.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience):
                        await self._ready.wait()
            self._check_open()
            if epoch not in ("", self.session.epoch) and not _IDS.isdisjoint(fields):
                raise Stranded
            try:
                rid = self._time(self.session.request(msgid, **fields))
                return cast(dict[str, Any], await self._result(rid, ANSWER_TIME))
            except RateLimited as error:
                if error.retry_after is None or error.retry_after > self._patience:
                    raise
                await asyncio.sleep(error.retry_after)

    async def listed(self, msgid: int, key: str, **fields: Any) -> list[dict[str, Any]]:
        """Return all items of a list that comes in pages, such as friends, groups or members.

        `key` names the list in each page.
        """
        found: dict[int, dict[str, Any]] = {}
        while True:
            answer = await self.request(msgid, **fields)
            page = {parse.identifier(item, "id"): item for item in parse.objects(answer, key)}
            is_news = bool(page.keys() - found.keys())
            found |= page
            if not parse.flag(answer, "more") or not is_news:
                return list(found.values())
            fields["after"] = max(page)

    def post(self, to: str | int, text: str, name: str = "", cid: str = "") -> str:
        """Send a message to a conversation, or to a user's id, without waiting. Return its `cid`.

        The message is sent again until it is acknowledged; events report that. `name`, `cid`: as in
        `Session.send`.
        """
        self._check_open()
        pending = self.session.send(to, text, name, cid)
        if self._on_post:
            self._on_post(pending)
        if self.session.is_ready:  # otherwise the wait for a connection would be measured
            self._time(pending.cid)
        self._step([])
        return pending.cid

    async def acknowledged(self, cid: str, timeout: float | None = None) -> Sent:
        """Wait until a message that was just posted is stored."""
        return cast(Sent, await self._result(message_key(cid), timeout))

    async def send(self, to: str | int, text: str, cid: str = "") -> Sent:
        """Send a message, and return when it is stored. `cid`: as in `Session.send`."""
        return await self.acknowledged(self.post(to, text, cid=cid))

    def follow(self, conv: str, first: int, last: int) -> None:
        """Follow a conversation, as `Session.follow` does."""
        self.session.follow(conv, first, last)
        self._step([])

    def read(self, conv: str, seq: int) -> None:
        """Report that the user has read the conversation up to `seq`."""
        self.session.read(conv, seq)
        self._step([])

    def typing(self, conv: str) -> None:
        """Report that the user is typing in the conversation."""
        self.session.typing(conv)
        self._step([])

    async def settle(self, timeout: float) -> bool:
        """Wait until everything was acknowledged and shown.

        Return False if that takes longer than `timeout` seconds.
        """
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
        """Make one connection, and wait until it is greeted."""
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
    def is_opening(self) -> bool:
        """A connection is being made, or was made and is not greeted yet."""
        return self._opening is not None and not self._opening.done()

    @property
    def _is_needed(self) -> bool:
        return self.session.is_wanted and self._closing is None

    def _check_open(self) -> None:
        if self._closing:
            raise ConnectionLost(_CLOSED)

    def _reconnect_unless_done(self) -> None:
        if self._is_needed and not self._socket and not self._reconnecting:
            self._reconnecting = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        """Try until there is a connection. One Problem at most reports a refused certificate."""
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
        """Return the seconds before the next attempt. The server's `retry_after` applies only once."""
        asked, self.session.retry_after = self.session.retry_after, None
        return self._backoff.pause(asked)

    def _step(self, events: list[Event]) -> None:
        """Pass on the events of a session's call, send its output, and plan the next tick.

        This MUST follow each call of the session that yields events or output.
        """
        for event in events:
            self._waiters.wake(event)
            self._measure(event)
            if not isinstance(event, Answer):
                self._hand_on(event)
        if self.session.is_ready:
            self._ready.set()
        else:
            self._ready.clear()
        if self._socket:
            self._socket.write(self.session.data_to_send())
            if self.session.is_finished:
                self._socket.abort()  # not close, because a dead peer would never read the rest
        if self.session.is_idle:
            self._waiters.resolve("idle")
        self._plan()

    def _hand_on(self, event: Event) -> None:
        if self._is_new_start(event):
            self._given.forget()
            self._waiting.forget()
        if self._on_event is None:
            self._waiting.put(event)
            return
        if isinstance(event, Message):
            self._given.give(event)
        try:
            self._on_event(event)
        except Exception as error:
            self._report(error)
        else:
            if isinstance(event, Message):
                self._given.done(event)

    def _is_new_start(self, event: Event) -> bool:
        """Return True if the database or the user has changed.

        The session has then forgotten the earlier messages.
        """
        before = self._epoch, self._me
        match event:
            case Greeted():
                self._epoch = event.epoch
            case LoggedIn():
                self._me = event.id
            case LoggedOut(reason="logout"):
                self._me = 0
        return before != (self._epoch, self._me)

    def _report(self, error: Exception) -> None:
        if self._on_error:
            self._on_error(error)
        else:
            context = {"message": "on_event of a chat client has failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _confirmed(self, conv: str, seq: int) -> None:
        self.session.confirm(conv, seq)
        self._plan()

    def _room_changed(self, has_room: bool) -> None:
        self.session.make_room(has_room)
        if has_room:
            self._step([])

    def _plan(self) -> None:
        if self._timer:
            self._timer.cancel()
        deadline = self.session.deadline
        loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        # Use the deadline if it is later, because the loop may call a timer early by its clock's resolution.
        self._step(self.session.tick(max(self._now(), self.session.deadline or 0.0)))

    def _time(self, key: str) -> str:
        """Measure how long the answer of `key` takes, unless another is being measured. Return `key`."""
        self._timed = self._timed or (key, self._now())
        return key

    def _measure(self, event: Event) -> None:
        match event:
            case Answer(rid=key) | Sent(cid=key) if self._timed and key == self._timed[0]:
                self.lag = self._now() - self._timed[1]
                self._timed = None

    async def _result(self, key: str, timeout: float | None) -> Any:
        """Send the request that a call has left in the session, and wait for its result."""
        future = self._waiters.expect(key)
        self._step([])
        return await self._waiters.result(key, future, timeout)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
