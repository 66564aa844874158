"""Clients that talk while things are killed, and the laws that must hold of what they saw.

The seed of the fault harness: each client keeps what it sent, what was acknowledged and what it
showed; `check` compares these afterwards.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from forkchat.wire.sequence import Sequence

Message = dict[str, Any]


@dataclass
class History:
    """What one client saw: `acked` (conversation, seq) by cid, `shown` cids by conversation, in order;
    `outages` seconds from the loss of a connection until it was logged in again."""

    acked: dict[str, tuple[str, int]] = field(default_factory=dict)
    shown: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))
    refused: list[Message] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)


class Talker:
    """A modern client that never gives up: it reconnects, takes over, resends, fetches what is missing.

    Each connection goes to any of `hosts`.
    """

    def __init__(self, port: int, name: str, seed: int, hosts: tuple[str, ...] = ("127.0.0.1",)):
        self.port = port
        self.hosts = hosts
        self.name = name
        self.id = 0
        self.history = History()
        self.targets: list[Message] = []  # what to add to a message to address it
        self._random = random.Random(seed)
        self._token = ""
        self._pending: dict[str, Message] = {}  # by cid, in the order in which they were sent
        self._sequences: dict[str, Sequence[str]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[str, asyncio.Future[Message]] = {}
        self._fetching: dict[str, str] = {}  # conversations by rid
        self._rid = 0
        self._online = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._stay_connected())
        await asyncio.wait_for(self._online.wait(), 20)

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._disconnect()

    async def talk(self, until: asyncio.Event) -> None:
        """Send to random targets until told to stop."""
        count = 0
        while not until.is_set():
            cid = f"{self.name}-{count}"
            count += 1
            message = {"rid": cid, "cid": cid, "msg": f"text {cid}", **self._random.choice(self.targets)}
            self._pending[cid] = message
            if self._online.is_set():
                self._send(message)
            await asyncio.sleep(self._random.uniform(0.005, 0.04))

    async def settle(self, last: dict[str, int]) -> None:
        """Wait until all was acknowledged and every conversation was shown up to `last`.

        Nothing is asked for that the server's own messages do not show to be missing.
        """
        while self._pending or any(s.last < last[conv] for conv, s in self._sequences.items()):
            await asyncio.sleep(0.01)

    @property
    def is_acknowledged(self) -> bool:
        return not self._pending

    def behind(self) -> str:
        """What is not settled, in words."""
        gaps = {conv: s.gap() for conv, s in self._sequences.items() if s.gap()}
        return f"{len(self._pending)} unacknowledged, missing {gaps}" if self._pending or gaps else ""

    async def ask(self, message: Message) -> Message:
        """The answer to a request, asked again while it is unavailable.

        Raises ConnectionError when the connection is lost before it.
        """
        while True:
            await self._online.wait()
            answer = await self._request(message)
            if answer["errno"] != 11:
                assert answer["errno"] == 0, answer
                return answer
            await asyncio.sleep(answer["retry_after"])

    # Connection.

    async def _stay_connected(self) -> None:
        lost = 0.0
        while True:
            with suppress(OSError):  # the server, or what stands behind it, is being killed
                await self._connect(lost)
            if self._online.is_set():
                lost = time.monotonic()
            self._disconnect()
            await asyncio.sleep(self._random.uniform(0.02, 0.2))

    async def _connect(self, lost: float) -> None:
        host = self._random.choice(self.hosts)
        reader, self._writer = await asyncio.open_connection(host, self.port, limit=1 << 20)
        receiving = asyncio.create_task(self._receive(reader))
        try:
            await self._log_in()
            if lost:
                self.history.outages.append(time.monotonic() - lost)
            self._online.set()
            for message in list(self._pending.values()):
                self._send(message)
            await receiving
        finally:
            receiving.cancel()

    def _disconnect(self) -> None:
        self._online.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._fetching.clear()
        self._fail_requests()

    def _fail_requests(self) -> None:
        """The connection is lost, and with it what waits for an answer."""
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.cancel()

    async def _log_in(self) -> None:
        await self._request({"msgid": m.HELLO})
        if not self._token:
            await self._request({"msgid": m.REG, "name": self.name, "password": "secret"})
            login = {"msgid": m.LOGIN, "name": self.name, "password": "secret", "takeover": True}
        else:
            login = {"msgid": m.LOGIN, "token": self._token, "takeover": True}
        answer = await self._request(login)
        if answer["errno"]:
            raise ConnectionError(answer["code"])
        self.id, self._token = answer["id"], answer["token"]
        for conv in answer["convs"]:
            self._note(conv["conv"], conv["last"])

    async def _request(self, message: Message) -> Message:
        self._rid += 1
        rid = f"r{self._rid}"
        answer = self._answers[rid] = asyncio.get_running_loop().create_future()
        self._send(message | {"rid": rid})
        try:
            return await asyncio.wait_for(answer, 10)
        except (asyncio.CancelledError, TimeoutError):
            if answer.cancelled():
                raise ConnectionError("lost") from None
            raise

    def _send(self, message: Message) -> None:
        if self._writer is not None:
            if "msgid" not in message:
                message = message | {"msgid": m.GROUP_CHAT if "groupid" in message else m.ONE_CHAT}
            self._writer.write(line(message))

    # Messages.

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        try:
            while frame := await reader.readline():
                self._on_message(orjson.loads(frame))
        finally:
            self._fail_requests()

    def _on_message(self, message: Message) -> None:
        kind, rid = message["msgid"], message.get("rid", "")
        if rid in self._answers:
            answer = self._answers.pop(rid)
            if not answer.done():
                answer.set_result(message)
        if kind == m.ACK and rid in self._pending:
            self._on_ack(rid, message)
        elif kind in (m.ONE_CHAT, m.GROUP_CHAT):
            self._show(message["conv"], message["seq"], message["cid"])
        elif kind == m.PAGE:
            self._on_page(rid, message)
        elif kind == m.CONVS:
            for conv in message["convs"]:
                self._note(conv["conv"], conv["last"])
        elif kind == m.PING:
            self._send({"msgid": m.PONG})

    def _on_page(self, rid: str, message: Message) -> None:
        conv = self._fetching.pop(rid, "")
        if message["errno"]:
            asyncio.get_running_loop().call_later(message.get("retry_after", 0.5), self._fetch, conv)
            return
        for each in message["msgs"]:
            self._show(conv, each["seq"], each["cid"])
        if message["more"] or self._sequence(conv).gap():
            self._fetch(conv)

    def _on_ack(self, cid: str, message: Message) -> None:
        if message["errno"] == 0:
            del self._pending[cid]
            where = (message["conv"], message["seq"])
            assert self.history.acked.setdefault(cid, where) == where, (
                f"{cid} acknowledged twice, differently"
            )
            self._show(*where, cid)
        elif message["errno"] in (8, 11):
            again = self._pending[cid]
            asyncio.get_running_loop().call_later(message.get("retry_after", 0.5), self._send, again)
        else:
            del self._pending[cid]
            self.history.refused.append(message)

    def _show(self, conv: str, seq: int, cid: str) -> None:
        sequence = self._sequence(conv)
        shown = self.history.shown[conv]
        for ready in sequence.feed(seq, cid):
            shown.append((len(shown) + 1, ready))
        if sequence.gap():
            self._fetch(conv)
        else:
            self._send({"msgid": m.RECV, "c": {conv: sequence.last}})

    def _note(self, conv: str, last: int) -> None:
        sequence = self._sequence(conv)
        sequence.note(last)
        if sequence.gap():
            self._fetch(conv)

    def _fetch(self, conv: str) -> None:
        if conv not in self._fetching.values() and self._writer is not None:
            self._rid += 1
            rid = f"f{self._rid}"
            self._fetching[rid] = conv
            self._send({"msgid": m.FETCH, "rid": rid, "conv": conv, "after": self._sequence(conv).last})

    def _sequence(self, conv: str) -> Sequence[str]:
        return self._sequences.setdefault(conv, Sequence(0))


async def meet(talkers: list[Talker], group_size: int) -> None:
    """Neighbours become pairs, every `group_size` of them a group."""
    for a, b in zip(talkers[::2], talkers[1::2], strict=True):
        a.targets.append({"toid": b.id})
        b.targets.append({"toid": a.id})
    for at in range(0, len(talkers), group_size):
        members = talkers[at : at + group_size]
        group = (await members[0].ask({"msgid": m.CREATE_GROUP, "groupname": f"group{at}"}))["groupid"]
        for member in members:
            await member.ask({"msgid": m.ADD_GROUP, "groupid": group})
            member.targets.append({"groupid": group})


async def settle(talkers: list[Talker], seconds: float) -> None:
    """Wait until every talker has shown all that was acknowledged. Raises TimeoutError."""
    try:
        async with asyncio.timeout(seconds):
            while not all(talker.is_acknowledged for talker in talkers):
                await asyncio.sleep(0.01)
            last: dict[str, int] = defaultdict(int)
            for talker in talkers:
                for conv, seq in talker.history.acked.values():
                    last[conv] = max(last[conv], seq)
            await asyncio.gather(*(talker.settle(last) for talker in talkers))
    except TimeoutError:
        behind = {talker.name: talker.behind() for talker in talkers}
        raise TimeoutError(
            f"not settled: { {name: what for name, what in behind.items() if what} }"
        ) from None


async def talk_under(
    port: int,
    prefix: str,
    seed: int,
    strike: Callable[[], Awaitable[None]],
    strikes: int,
    pause: float,
    hosts: tuple[str, ...] = ("127.0.0.1",),
) -> int:
    """20 clients talk while `strike` comes again and again, `pause` seconds apart; how many messages were
    acknowledged. Raises AssertionError if any was lost, doubled or out of order."""
    random.seed(seed)
    talkers = [Talker(port, f"{prefix}{n}", seed + n, hosts) for n in range(20)]
    await asyncio.gather(*(talker.start() for talker in talkers))
    try:
        await meet(talkers, group_size=10)
        stop = asyncio.Event()
        talking = [asyncio.create_task(talker.talk(stop)) for talker in talkers]
        for _ in range(strikes):
            await asyncio.sleep(pause)
            await strike()
        await asyncio.sleep(pause)
        stop.set()
        await asyncio.gather(*talking)
        await settle(talkers, seconds=20)
        histories = [talker.history for talker in talkers]
        outages = sorted(outage for history in histories for outage in history.outages)
        if outages:
            longest, median = outages[-1], outages[len(outages) // 2]
            print(f"{len(outages)} outages of {median:.1f} s (median), {longest:.1f} s (longest)")
        return check(histories)
    finally:
        await asyncio.gather(*(talker.stop() for talker in talkers))


def check(histories: list[History]) -> int:
    """Raises AssertionError naming the law that is broken; how many messages were acknowledged."""
    acked: dict[str, dict[int, str]] = defaultdict(dict)
    for history in histories:
        assert not history.refused, f"refused: {history.refused[:3]}"
        for cid, (conv, seq) in history.acked.items():
            assert seq not in acked[conv], f"{conv} {seq} was given to {cid} and to {acked[conv][seq]}"
            acked[conv][seq] = cid
    for conv, by_seq in acked.items():
        assert sorted(by_seq) == list(range(1, len(by_seq) + 1)), f"{conv}: the numbers have holes"
    for at, history in enumerate(histories):
        for conv, shown in history.shown.items():
            expected = sorted(acked[conv].items())
            assert shown == expected, f"client {at} saw {conv} differently: {_difference(expected, shown)}"
    return sum(len(history.acked) for history in histories)


def _difference(expected: list[tuple[int, str]], shown: list[tuple[int, str]]) -> str:
    at = next((n for n, (e, s) in enumerate(zip(expected, shown, strict=False)) if e != s), -1)
    what = f"{expected[at:][:3]}, {shown[at:][:3]}"
    return f"{len(expected)} acknowledged, {len(shown)} shown; first at {at}: {what}"
