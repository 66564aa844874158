"""Users that are bots: clients of the library (docs/library.md), which are killed and started again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, NoReturn

from client.aio.client import Client
from client.protocol.events import (
    Disconnected,
    Event,
    FriendState,
    Greeted,
    LoggedIn,
    LoggedOut,
    Message,
    SendFailed,
    Sent,
    Stranded,
)
from forkchat.errors import Conflict, RateLimited, Refused, Unavailable
from forkchat.wire import msgid as m
from tests.faults import history as past
from tests.faults.clients import Address, Json, Person
from tests.faults.history import TOLD, Ack, Given, History, Life, Shown, Span

_PASSWORD = "correct horse"
#: The bot that iterates answers the messages of a pair whose number this divides.
_ANSWERED = 8


class _Failure(Exception):
    """The failure of a bot at a message."""


class Bot(Person):
    """A bot: one `Client` after another.

    It sends a message again in its next life if it got no `Sent` for it. The `cid` of an answer is made from
    the message that it answers.

    With `iterates` the bot takes its events by `async for`, sometimes slowly, and is killed while it handles
    one. Without it the bot takes them by `on_event`, which raises an exception at the last one.
    """

    def __init__(self, name: str, seed: int, history: History, address: Address, *, iterates: bool):
        super().__init__(name, seed, history, address)
        #: Recipients by cid, in the order of sending.
        self.pending: dict[str, str | int] = {}
        self.names: dict[int, str] = {}  # names of users by id
        self._groups: dict[str, str] = {}  # names of groups by conversation
        self._iterates = iterates
        self._client = Client(*address)
        self._life = Life()
        self._is_over = asyncio.Event()  # set when this life ends without a kill
        self._is_failing = False
        self._has_failed = asyncio.Event()
        self._epoch = ""
        self._lost = 0.0
        self._known: set[tuple[past.Place, str]] = set()
        self._sending: set[asyncio.Task[None]] = set()

    # Lives.

    async def start(self) -> None:
        self._task = asyncio.create_task(self._live())
        await asyncio.wait_for(self.is_online.wait(), 30)

    async def stop(self) -> None:
        """End as KILL ends a process: send nothing more, and close the connection as the kernel does."""
        task, self._task = self._task, None
        for each in (task, *self._sending):
            if each is not None:
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each
        await self._drop()

    async def die(self) -> None:
        """Fail at the next message, if one comes soon, and die.

        In one case of five, close the client instead.
        """
        if self._task is None:
            return
        if self.random.random() < 0.2:
            self._life.closing = self.history.now()
            with suppress(Refused):
                await self._client.close()
        else:
            await self._fail(0.5)
        await self.stop()

    async def last_life(self, other: Person) -> None:
        """Live once more after all is settled.

        Handled messages must not come again. The message that `other` sends now must come again.
        """
        await self._client.settle(10)
        self._is_failing = True
        other.utter({"toid": self.id})
        await self._fail(20)
        await asyncio.sleep(TOLD)
        self._life.is_calm = True
        await self.stop()
        await self.start()
        await self._client.settle(20)

    async def _fail(self, seconds: float) -> None:
        self._is_failing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._has_failed.wait()

    async def _drop(self) -> None:
        """Stop all tasks of the client, because it would reconnect by itself."""
        client = self._client
        if client._socket:
            client._socket.abort()
        client.session.leave()
        for task in (client._reconnecting, client._opening):
            if task is not None and not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await task
        if client._socket:
            client._socket.abort()
        self._life.ended = self._life.ended or self.history.now()
        self._lost = 0.0
        self._offline()

    async def _live(self) -> None:
        """Live until killed. After a logout, begin another life."""
        while True:
            on_event = None if self._iterates else self._on_event
            self._client = Client(*self._address, on_event=on_event, on_error=self._on_error)
            self._life = Life()
            self._is_failing = False
            self._is_over.clear()
            self._has_failed.clear()
            try:
                if not self.id:
                    with suppress(Conflict):  # an attempt whose answer was lost may have registered it
                        self.id = await self._client.register(self.name, _PASSWORD)
                await self._client.login(self.name, _PASSWORD, takeover=True)
                await (self._iterate() if self._iterates else self._is_over.wait())
            except (OSError, Refused, StopAsyncIteration):
                pass
            if self._life.closing:
                return
            await self._drop()
            await asyncio.sleep(self.random.uniform(0.02, 0.2))

    async def _iterate(self) -> None:
        given: Given | None = None
        while not self._is_over.is_set():
            if given is not None:
                given.done = given.done or self.history.now()
            event = await anext(self._client)
            given = self._take(event)
            if given is None or not isinstance(event, Message):
                continue
            if self._is_failing:
                self._has_failed.set()
                await asyncio.Event().wait()
            await self._work(event)
            if self.random.random() < 0.1:
                given.done = self.history.now()
                self._client.confirm(event)

    async def _work(self, message: Message) -> None:
        if self.random.random() < 0.01:
            await asyncio.sleep(self.random.uniform(0, 0.3))
        is_asked = message.conv[0] == "d" and message.seq % _ANSWERED == 0
        if is_asked and not message.is_own and not message.cid.startswith("re-"):
            cid = f"re-{message.conv}-{message.seq}"
            self._note(cid, message.sender, "")
            with suppress(Refused):  # SendFailed reports it
                self._acknowledged(await self._client.send(message.conv, cid, cid), self._client._epoch)

    def _on_event(self, event: Event) -> None:
        given = self._take(event)
        if given is None:
            return
        if self._is_failing and isinstance(event, Message):
            raise _Failure
        given.done = self.history.now()

    def _on_error(self, error: Exception) -> None:
        self._has_failed.set()
        if not isinstance(error, _Failure):
            self.history.failures.append(repr(error))

    # Sending.

    def say(self, cid: str, target: Json) -> None:
        self.pending[cid] = f"g{target['groupid']}" if "groupid" in target else target["toid"]
        if self._client.session.me and not self._life.closing:
            if self.random.random() < 0.3:
                self._send_soon(cid)
            else:
                self._post(cid)

    def _note(self, cid: str, to: int, group: str) -> None:
        """Record a message in the history, once in all lives."""
        if cid not in self.history.messages:
            self.history.messages[cid] = past.Message(cid, self.id, to, group, self.history.now())

    def _post(self, cid: str) -> None:
        to = self.pending[cid]
        name = self.names.get(to, "") if isinstance(to, int) else self._groups.get(to, "")
        for _ in range(2 if self.random.random() < 0.05 else 1):  # a duplicate must not matter
            self._client.post(to, cid, name, cid)

    def _send_soon(self, cid: str) -> None:
        task = asyncio.create_task(self._send(cid))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, cid: str) -> None:
        with suppress(Refused):  # SendFailed reports it
            self._acknowledged(await self._client.send(self.pending[cid], cid, cid), self._client._epoch)

    def _acknowledged(self, sent: Sent, epoch: str) -> None:
        self.pending.pop(sent.cid, None)
        acks = self.history.messages[sent.cid].acks
        if (sent.conv, sent.seq) not in [(ack.conv, ack.seq) for ack in acks]:
            acks.append(Ack(self.history.now(), sent.conv, sent.seq, epoch))

    # Receiving.

    def _take(self, event: Event) -> Given | None:
        match event:
            case Message():
                return self._given(event)
            case Sent():
                self._life.sent[event.cid] += 1
                self._acknowledged(event, self._epoch)
            case SendFailed(refused=Stranded()) if event.cid in self.pending:
                self._post(event.cid)  # resolve the name again
            case SendFailed():
                self.pending.pop(event.cid, None)
                self.history.messages[event.cid].refusals.append((self.history.now(), event.refused.errno))
            case Greeted():
                self._epoch = event.epoch
            case LoggedIn():
                self._online(event)
            case FriendState():
                self.history.seen[self.id, event.id] = event.state
            case Disconnected():
                self._lost = self._lost or self.history.now()
                self._offline()
            case LoggedOut():
                self._life.logged_out = event.reason
                self._is_over.set()
        return None

    def _given(self, message: Message) -> Given:
        number = len(self.history.spans.get((self.id, message.conv), [0])) - 1
        shown = Shown(
            self.history.now(),
            message.conv,
            number,
            message.seq,
            message.cid,
            message.sender,
            message.text,
            self._epoch,
        )
        given = Given(shown)
        self._life.given.append(given)
        if (shown.place, shown.epoch) not in self._known:
            self._known.add((shown.place, shown.epoch))
            self.history.shown[self.id].append(shown)
        return given

    def _online(self, event: LoggedIn) -> None:
        self.id = event.id
        history, now = self.history, self.history.now()
        history.shown.setdefault(self.id, [])
        lives = history.lives.setdefault(self.id, [])
        if self._life not in lives[-1:]:
            self._life.begun = now
            lives.append(self._life)
            for cid in list(self.pending):
                self._post(cid)
        if self._lost:
            history.outages.append(now - self._lost)
            self._lost = 0.0
        if history.epochs[self.id][-1:] != [self._epoch]:
            history.epochs[self.id].append(self._epoch)
        for friend in event.friends:
            history.seen[self.id, friend.id] = friend.state
        history.online[self.id] = True
        history.logins[self.id].append(now)
        self.is_online.set()

    def _offline(self) -> None:
        self.is_online.clear()
        self.history.online[self.id] = False

    # Requests.

    async def ask(self, msgid: int, **fields: Any) -> Json:
        """Return the answer to a request. Ask again while the server is unavailable."""
        while True:
            await self.is_online.wait()
            try:
                return await self._client.request(msgid, **fields)
            except (Unavailable, RateLimited, Stranded, TimeoutError):  # ids stay valid in the next epoch
                await asyncio.sleep(0.5)

    async def befriend(self, other: Person) -> None:
        await self.ask(m.ADD_FRIEND, friendid=other.id)

    async def join(self, group: int) -> None:
        span = Span(self.history.now())
        self.history.spans[self.id, f"g{group}"].append(span)
        answer = await self.ask(m.ADD_GROUP, groupid=group)
        span.first, span.joined = answer["first"], self.history.now()
        self._groups[answer["conv"]] = answer["groupname"]

    async def read(self, conv: str) -> None:
        """Read all stored messages of a conversation."""
        last, more = 0, True
        while more:
            page = await self.ask(m.FETCH, conv=conv, after=last, limit=200)
            for each in page["msgs"]:
                last = each["seq"]
                self.history.kept[conv, last] = each["cid"]
            more = page["more"]

    def on_frame(self, message: Json) -> NoReturn:
        raise NotImplementedError

    def behind(self) -> str:
        """Describe what is not settled; return "" if all is."""
        return f"{len(self.pending)} unacknowledged" if self.pending else ""
