"""The users of a round: modern and classic clients that never give up, and record what they see."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from forkchat.wire.sequence import Sequence
from tests.faults.history import Ack, History, Message, Shown, Span

Json = dict[str, Any]
Address = tuple[str, int]

_PASSWORD = "correct horse"
#: Seconds in which a new client must be online, regardless of any fault.
_ONLINE = 30
#: The membership in a conversation of two, which never ends.
_ALWAYS = Span(0.0, joined=1.0)
_WRONG, _NOT_FOUND, _CONFLICT, _NOT_MEMBER, _RATE_LIMITED, _UNAVAILABLE = 1, 6, 7, 10, 8, 11


async def _answered(answer: asyncio.Future[Json]) -> Json:
    """Return the answer. Raises ConnectionError if the connection is lost before, or after 15 s."""
    done, _ = await asyncio.wait([answer], timeout=15)
    if not done or answer.cancelled():
        raise ConnectionError("no answer")
    return answer.result()


class Person:
    """The common part of both kinds of client: a name, an id, and a connection that reconnects."""

    def __init__(
        self,
        name: str,
        seed: int,
        history: History,
        address: Address,
        make_socket: Callable[[], socket.socket] = socket.socket,
    ):
        self.name = name
        self.id = 0
        self.history = history
        self.random = random.Random(seed)
        self.targets: list[Json] = []  # recipients, each as a `toid` or a `groupid`
        self.is_online = asyncio.Event()
        self._address = address
        self._make_socket = make_socket
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._count = 0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._stay())
        try:
            await asyncio.wait_for(self.is_online.wait(), _ONLINE)
        except TimeoutError:
            raise TimeoutError(f"{self.name} is not online after {_ONLINE} s") from None

    async def stop(self) -> None:
        """Leave without logging out, like a machine that is turned off."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._lose()

    async def talk(self, until: asyncio.Event, pause: float) -> None:
        """Send to random recipients every `pause` seconds on average, until told to stop."""
        while not until.is_set():
            self.utter(self.random.choice(self.targets))
            await asyncio.sleep(self.random.uniform(0, 2 * pause))

    def utter(self, target: Json) -> None:
        """Send the next message to a person or a group."""
        self._count += 1
        cid = f"{self.name}-{self._count}"
        group = f"g{target['groupid']}" if "groupid" in target else ""
        to = target.get("toid", 0)
        self.history.messages[cid] = Message(cid, self.id, to, group, self.history.now())
        self.say(cid, target)

    def say(self, cid: str, target: Json) -> None:
        raise NotImplementedError

    async def log_in(self) -> None:
        """Register and log in. Raises ConnectionError if the server refuses or the connection is lost."""
        raise NotImplementedError

    def on_frame(self, message: Json) -> None:
        raise NotImplementedError

    async def _stay(self) -> None:
        lost = 0.0
        while True:
            with suppress(OSError, ValueError):  # ValueError: a line was cut
                await self._connect(lost)
            if self.is_online.is_set():
                lost = self.history.now()
            self._lose()
            await asyncio.sleep(self.random.uniform(0.02, 0.2))

    async def _connect(self, lost: float) -> None:
        sock = self._make_socket()
        sock.setblocking(False)
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().sock_connect(sock, self._address)
            reader, self._writer = await asyncio.open_connection(sock=sock, limit=1 << 20)
        receiving = asyncio.create_task(self._receive(reader))
        try:
            await self.log_in()
            if lost:
                self.history.outages.append(self.history.now() - lost)
            self.history.online[self.id] = True
            self.history.logins[self.id].append(self.history.now())
            self.is_online.set()
            self.on_online()
            await receiving
        finally:
            receiving.cancel()

    def on_online(self) -> None:
        """Act on a login, the first one or a later one."""

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        try:
            while frame := await reader.readline():
                self.on_frame(orjson.loads(frame))
        finally:
            self.on_lost()

    def on_lost(self) -> None:
        """Act on the end of the connection."""

    def _lose(self) -> None:
        self.is_online.clear()
        self.history.online[self.id] = False
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.on_lost()

    def send(self, message: Json) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line(message))


class Modern(Person):
    """A modern client that resends, fetches missing messages, and takes over its own older session."""

    def __init__(
        self,
        name: str,
        seed: int,
        history: History,
        address: Address,
        make_socket: Callable[[], socket.socket] = socket.socket,
    ):
        super().__init__(name, seed, history, address, make_socket)
        self.pending: dict[str, Json] = {}  # by cid, in the order of sending
        self._token = ""
        self._epoch = ""
        self._sequences: dict[str, Sequence[Json]] = {}
        self._answers: dict[str, asyncio.Future[Json]] = {}
        self._early: dict[str, list[Json]] = {}  # a group's messages before the answer to joining
        self._fetching: dict[str, str] = {}  # conversations by rid
        self._rid = 0

    # Actions of the user.

    def say(self, cid: str, target: Json) -> None:
        kind = m.GROUP_CHAT if "groupid" in target else m.ONE_CHAT
        self.pending[cid] = {"msgid": kind, "rid": cid, "cid": cid, "msg": cid, **target}
        if self.is_online.is_set():
            self.send(self.pending[cid])

    async def ask(self, message: Json) -> Json:
        """Return the answer to a request.

        Ask again after a lost connection, or if rate-limited or unavailable.
        """
        while True:
            await self.is_online.wait()
            try:
                answer = await self._request(message)
            except ConnectionError:
                continue
            if answer["errno"] not in (_RATE_LIMITED, _UNAVAILABLE):
                return answer
            self.on_refused(answer)
            await asyncio.sleep(answer["retry_after"])

    def on_refused(self, answer: Json) -> None:
        """Act on an answer after which the request will be retried."""

    async def join(self, group: int) -> None:
        span = Span(self.history.now())
        self.history.spans[self.id, f"g{group}"].append(span)
        answer = await self.ask({"msgid": m.ADD_GROUP, "groupid": group})
        assert answer["errno"] == 0, answer
        conv, span.first, span.joined = answer["conv"], answer["first"], self.history.now()
        self._sequences[conv] = Sequence(span.first - 1)
        for early in self._early.pop(conv, []):
            self._show(early)
        self._note(conv, answer["last"])

    async def create(self, name: str) -> int:
        begun = self.history.now()
        answer = await self.ask({"msgid": m.CREATE_GROUP, "groupname": name})
        span = Span(begun, joined=self.history.now())
        self.history.spans[self.id, answer["conv"]].append(span)
        return int(answer["groupid"])

    async def leave(self, group: int) -> None:
        await self._end(group, self, {"op": "leave"})

    async def remove(self, group: int, other: Modern) -> None:
        """Remove a member from the group, as its creator."""
        await self._end(group, other, {"op": "remove", "id": other.id})

    async def readmit(self, group: int, other: Modern) -> None:
        """Let a removed member join the group again, as its creator."""
        answer = await self.ask({"msgid": m.GROUPS, "groupid": group, "op": "readmit", "id": other.id})
        assert answer["errno"] in (0, _NOT_FOUND), answer  # an attempt whose answer was lost may have done it

    async def _end(self, group: int, who: Modern, how: Json) -> None:
        span = self.history.spans[who.id, f"g{group}"][-1]
        span.leaving = self.history.now()
        answer = await self.ask({"msgid": m.GROUPS, "groupid": group, **how})
        # An attempt whose answer was lost may have ended the membership.
        assert answer["errno"] in (0, _NOT_MEMBER, _NOT_FOUND), answer
        span.left = self.history.now()
        who.forget(f"g{group}")

    def forget(self, conv: str) -> None:
        """Stop showing messages of a group after its membership ended."""
        self._sequences.pop(conv, None)

    async def read(self, conv: str) -> None:
        """Read all stored messages of a conversation."""
        last, more = 0, True
        while more:
            page = await self.ask({"msgid": m.FETCH, "conv": conv, "after": last, "limit": 200})
            assert page["errno"] == 0, page
            for each in page["msgs"]:
                last = each["seq"]
                self.history.kept[conv, last] = each["cid"]
            more = page["more"]

    async def befriend(self, other: Person) -> None:
        answer = await self.ask({"msgid": m.ADD_FRIEND, "friendid": other.id})
        assert answer["errno"] == 0, answer

    async def take_over(self) -> None:
        """Log in from another device of the same user. This ends the old session, but not its connection."""
        old, self._writer = self._writer, None
        await self.stop()
        await self.start()
        if old is not None:
            old.close()

    # The connection.

    async def log_in(self) -> None:
        self._enter((await self._request({"msgid": m.HELLO}))["epoch"])
        if not self._token:
            made = await self._request({"msgid": m.REG, "name": self.name, "password": _PASSWORD})
            if made["errno"] not in (0, _CONFLICT):  # do not log in: it would count as a failed login
                raise ConnectionError(made["code"])
        who = {"token": self._token} if self._token else {"name": self.name, "password": _PASSWORD}
        answer = await self._request({"msgid": m.LOGIN, "takeover": True, **who})
        if answer["errno"] == _WRONG and self.history.losses:
            self._token = ""  # the token was lost with the primary
        if answer["errno"]:
            raise ConnectionError(answer["code"])
        self._token = answer["token"]
        epochs = self.history.epochs[self.id]
        if epochs[-1:] != [self._epoch]:
            epochs.append(self._epoch)
        self.history.shown.setdefault(self.id, [])
        for conv in answer["convs"]:
            self._note(conv["conv"], conv["last"])
        # In a new epoch all is read again, and the login names only conversations with unconfirmed messages.
        if len(epochs) > 1:
            await self._sync()

    async def _sync(self) -> None:
        after: Json = {}
        more = True
        while more:
            page = await self._request({"msgid": m.SYNC, **after})
            if page["errno"]:
                raise ConnectionError(page["code"])
            for conv in page["convs"]:
                after = {"after": conv["conv"]}
                self._note(conv["conv"], conv["last"])
            more = page["more"]

    def _enter(self, epoch: str) -> None:
        """Enter an epoch. If it is new, reset the cursors of all conversations, so that all is reread."""
        if self._epoch != epoch:
            self._epoch = epoch
            self._early.clear()
            self._sequences = {
                conv: Sequence(span.first - 1)
                for conv in self._sequences
                if (span := self._span(conv)) is not None
            }

    def on_online(self) -> None:
        for message in self.pending.values():
            self.send(message)

    def on_lost(self) -> None:
        self._fetching.clear()
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.cancel()

    async def _request(self, message: Json) -> Json:
        """Send a request and return its answer. Raises ConnectionError if the connection is lost before."""
        self._rid += 1
        rid = f"r{self._rid}"
        answer = self._answers[rid] = asyncio.get_running_loop().create_future()
        self.send(message | {"rid": rid})
        return await _answered(answer)

    # Receiving.

    def on_frame(self, message: Json) -> None:
        kind, rid = message["msgid"], message.get("rid", "")
        if rid in self._answers:
            self._see(message)
            self._answers.pop(rid).set_result(message)
        elif kind == m.ACK and rid in self.history.messages:
            self._on_ack(rid, message)
        elif kind in (m.ONE_CHAT, m.GROUP_CHAT):
            self._show(message)
        elif kind == m.PAGE:
            self._on_page(rid, message)
        elif kind == m.CONVS:
            for conv in message["convs"]:
                self._note(conv["conv"], conv["last"])
        elif kind == m.PRESENCE:
            self._see(message)
        elif kind == m.PING:
            self.send({"msgid": m.PONG})

    def _see(self, message: Json) -> None:
        """Record the friends' states at once.

        The task that awaits the answer runs only after the frames that came together with it.
        """
        if message["msgid"] == m.LOGIN_ACK and message["errno"] == 0:
            self.id = message["id"]
        friends = message.get("friends", [message] if "state" in message else [])
        for friend in friends:
            self.history.seen[self.id, friend["id"]] = friend["state"]

    def _on_ack(self, cid: str, answer: Json) -> None:
        message = self.history.messages[cid]
        if answer["errno"] == 0:
            message.acks.append(Ack(self.history.now(), answer["conv"], answer["seq"], self._epoch))
            sent = self.pending.pop(cid, None)
            if sent is not None:
                self._show({**answer, "cid": cid, "id": self.id, "msg": cid})
                if self.random.random() < 0.05:
                    self.send(sent)  # send a duplicate, which must have no effect
        elif answer["errno"] in (_RATE_LIMITED, _UNAVAILABLE):
            wait = answer.get("retry_after", 0.5)
            asyncio.get_running_loop().call_later(wait, self._send_again, cid)
        else:
            message.refusals.append((self.history.now(), answer["errno"]))
            self.pending.pop(cid, None)

    def _send_again(self, cid: str) -> None:
        if cid in self.pending and self.is_online.is_set():
            self.send(self.pending[cid])

    def _show(self, message: Json) -> None:
        conv = message["conv"]
        span = self._span(conv)
        if span is None or not span.is_open:
            self._record(self.history.strays, message)  # the laws decide if it was still allowed
        elif not span.joined:
            self._early.setdefault(conv, []).append(message)
        else:
            sequence = self._sequence(conv)
            for ready in sequence.feed(message["seq"], message):
                self._record(self.history.shown, ready)
            if sequence.gap():
                self._fetch(conv)
            else:
                self.send({"msgid": m.RECV, "c": {conv: sequence.last}})

    def _record(self, where: dict[int, list[Shown]], message: Json) -> None:
        conv = message["conv"]
        number = len(self.history.spans.get((self.id, conv), [0])) - 1
        where.setdefault(self.id, []).append(
            Shown(
                self.history.now(),
                conv,
                number,
                message["seq"],
                message["cid"],
                message["id"],
                message["msg"],
                self._epoch,
            )
        )

    def _span(self, conv: str) -> Span | None:
        """Return the latest membership; None if there never was one."""
        if conv[0] == "d":
            return _ALWAYS
        spans = self.history.spans.get((self.id, conv))
        return spans[-1] if spans else None

    def _sequence(self, conv: str) -> Sequence[Json]:
        if conv not in self._sequences:
            self._sequences[conv] = Sequence(0)
        return self._sequences[conv]

    def _note(self, conv: str, last: int) -> None:
        span = self._span(conv)
        if span is None or not span.is_open or not span.joined:
            return
        sequence = self._sequence(conv)
        sequence.note(last)
        if sequence.gap():
            self._fetch(conv)

    def _fetch(self, conv: str) -> None:
        if conv not in self._fetching.values():
            self._rid += 1
            rid = f"f{self._rid}"
            self._fetching[rid] = conv
            self.send({"msgid": m.FETCH, "rid": rid, "conv": conv, "after": self._sequence(conv).last})

    def _fetch_again(self, conv: str, connection: asyncio.StreamWriter | None) -> None:
        """Fetch again on the same connection. If it was lost, the next login asks for what is missing."""
        if connection is not None and connection is self._writer:
            self._fetch(conv)

    def _on_page(self, rid: str, page: Json) -> None:
        conv = self._fetching.pop(rid, "")
        if conv not in self._sequences:
            return
        if page["errno"] == _NOT_MEMBER:
            return
        if page["errno"]:
            wait = page.get("retry_after", 0.5)
            asyncio.get_running_loop().call_later(wait, self._fetch_again, conv, self._writer)
            return
        for each in page["msgs"]:
            self._show({**each, "conv": conv})
        if conv in self._sequences and (page["more"] or self._sequences[conv].gap()):
            self._fetch(conv)

    def behind(self) -> str:
        """Describe what is not settled; return "" if all is."""
        gaps = {conv: s.gap() for conv, s in self._sequences.items() if s.gap()}
        return f"{len(self.pending)} unacknowledged, missing {gaps}" if self.pending or gaps else ""


class Classic(Person):
    """A classic client, without HELLO, which sends lines.

    Its messages get no answer. It is sent messages at once, or at its next login.
    """

    _answer: asyncio.Future[Json] | None = None

    def say(self, cid: str, target: Json) -> None:
        if self.is_online.is_set():
            self.send({"msgid": m.ONE_CHAT, "id": self.id, "name": self.name, "msg": cid, **target})

    async def log_in(self) -> None:
        if not self.id:
            self.id = (await self._request({"msgid": m.REG, "name": self.name})).get("id", 0)
        answer = await self._request({"msgid": m.LOGIN, "name": self.name})
        if answer["errno"]:
            raise ConnectionError("refused")
        self.id = answer["id"]

    async def _request(self, message: Json) -> Json:
        self._answer = asyncio.get_running_loop().create_future()
        self.send(message | {"password": _PASSWORD})
        return await _answered(self._answer)

    def on_frame(self, message: Json) -> None:
        if message["msgid"] == m.ONE_CHAT:
            self.history.classic.setdefault(self.id, []).append(message["msg"])
        elif message["msgid"] in (m.LOGIN_ACK, m.REG_ACK) and self._answer and not self._answer.done():
            for each in message.get("offlinemsg", []):  # they come before live messages
                self.on_frame(orjson.loads(each))
            self._answer.set_result(message)

    def on_lost(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
