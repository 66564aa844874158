"""The scenario: all that users do, in a few seconds, on two hosts; and the laws for afterwards."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from itertools import count
from typing import Any

from argon2 import PasswordHasher

from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.faults.clients import Classic
from tests.faults.history import History, Message
from tests.faults.laws import breaches, friends_are_seen_right, nothing_is_lost
from tests.sweep.people import PASSWORD, Guest, SlowReader, try_login
from tests.sweep.world import World

#: Seconds after the last fault in which everything must work again.
#: Seconds in which the acts must be done.
RECOVERED, _PLAYED = 10.0, 45.0
#: Seconds that the proof may take. A friend's logout is announced only after 5 s.
_SERVED = 15.0
#: The law that is not checked, because the faults do not stop.
_NOT_HELD = {"soon"}


class Scenario:
    """The users, who stay from one wave to the next."""

    _names = count(1)

    def __init__(self, world: World):
        self.world = world
        self.history = history = History()
        self._numbers = count(1)
        self._stem = f"s{next(self._names)}x"
        ports = [host.port for host in world.hosts]
        self.people = [Guest(f"{self._stem}{n}", n, history, ports[n % 2]) for n in range(4)]
        self.classic = [
            Classic(f"{self._stem}old{n}", 10 + n, history, ("127.0.0.1", ports[n])) for n in range(2)
        ]
        self._passing: list[Guest] = []
        self._group = 0
        self._begun = 0.0  # when the wave began
        self._is_rough = False  # the scenario itself cuts connections

    async def start(self) -> None:
        await asyncio.gather(*(person.start() for person in (*self.people, *self.classic)))
        a, b, c, d = self.people
        for person in self.people:
            for other in self.people:
                if other is not person:
                    person.targets.append({"toid": other.id})
                    await person.befriend(other)
        for old, person in zip(self.classic, (b, a), strict=True):
            person.targets.append({"toid": old.id})
            old.targets.append({"toid": person.id})
            await person.befriend(old)
        self._group = await a.create("all")
        for person in (b, c, d):
            await person.join(self._group)
        for person in self.people:
            person.targets.append({"groupid": self._group})
            for target in person.targets:
                person.utter(target)
        await self._acknowledged()

    async def stop(self) -> None:
        people = (*self.people, *self.classic, *self._passing)
        await asyncio.gather(*(person.stop() for person in people), return_exceptions=True)

    # A wave.

    async def play(self, specials: set[str]) -> list[str]:
        """Run all acts once, at the same time; return their failures as text."""
        acts: list[Callable[[], Awaitable[None]]] = [
            self._chat,
            self._lists,
            self._come_and_go,
            self._visit,
            self._offline,
            self._housekeeping,
            self._contend,
            *(SPECIALS[name].__get__(self) for name in sorted(specials)),
        ]
        self._begun = time.monotonic()
        for guest in (*self.people, *self._passing):
            guest.hung_up.clear()
        self._is_rough = bool(specials & {"kill", "restore", "forget"})
        return await self._gather(acts, _PLAYED)

    async def prove(self, since: float) -> list[str]:
        """Check that all users are served and every law holds; return the failures as text.

        `since`: when the last fault ended.
        """
        wrong = await self._gather([self._serve], max(_SERVED, since + RECOVERED + 5 - time.monotonic()))
        wrong += [text for guest in (*self.people, *self._passing) for text in self._hung_up(guest)]
        broken = breaches(self.history)
        wrong += [
            f"{law}: {text}" for law, texts in broken.items() if law not in _NOT_HELD for text in texts[:2]
        ]
        wrong += [f"{guest.name}: {guest.behind()}" for guest in self.people if guest.behind()]
        return wrong

    def longest_wait(self, ends: list[float]) -> tuple[float, str]:
        """Return the longest wait for an answer or acknowledgement, and what it was for.

        A wait counts from the last fault before its end. Only waits that began in this wave count.
        """
        waits = [wait for guest in (*self.people, *self._passing) for wait in guest.waits]
        waits += [
            (self.history.available(msg.sender, msg.begun, msg.acks[0].at), msg.acks[0].at, "acknowledged")
            for msg in self.history.messages.values()
            if msg.acks
        ]
        longest = (0.0, "")
        for begun, over, what in waits:
            if begun < self._begun:
                continue
            since = max((end for end in ends if end <= over), default=begun)
            longest = max(longest, (over - max(begun, since), what))
        return longest

    def _hung_up(self, guest: Guest) -> list[str]:
        found, guest.hung_up = guest.hung_up, []
        return [] if self._is_rough else found

    async def _gather(self, acts: list[Callable[[], Awaitable[None]]], seconds: float) -> list[str]:
        async def act(what: Callable[[], Awaitable[None]]) -> str:
            task = asyncio.ensure_future(what())
            try:
                await asyncio.wait([task], timeout=seconds)
                if not task.done():
                    return f"{what.__name__}: not over after {seconds:.0f} s, at {_where(task)}"
                task.result()
            except (AssertionError, TimeoutError) as error:
                return f"{what.__name__}: {error}"
            finally:
                task.cancel()
                await asyncio.wait([task])
            return ""

        return [text for text in await asyncio.gather(*map(act, acts)) if text]

    # Acts.

    async def _chat(self) -> None:
        a = self.people[0]
        for round_ in range(2):
            for person in (*self.people, *self.classic):
                for target in person.targets:
                    person.utter(target)
            await asyncio.sleep(0.3)
            if round_ == 0:
                self.world.seen.to_lose = 1
        await self._acknowledged()
        cid = next(
            c for c, msg in self.history.messages.items() if msg.sender == a.id and msg.acks and msg.recipient
        )
        to = self.history.messages[cid].recipient
        again = await a.insist(m.ONE_CHAT, toid=to, msg=cid, cid=cid)
        assert again["seq"] == self.history.messages[cid].acks[0][2], again
        conflict = await a.insist(m.ONE_CHAT, 7, toid=to, msg="other", cid=cid)
        assert conflict["errno"] == 7, conflict

    async def _acknowledged(self) -> None:
        while any(person.pending for person in self.people):
            await asyncio.sleep(0.05)

    async def _lists(self) -> None:
        a, b, c, d = self.people
        conv = f"d{a.id}-{b.id}" if a.id < b.id else f"d{b.id}-{a.id}"
        await a.insist(m.FETCH, conv=conv, after=0, limit=5)
        await b.insist(m.FETCH, conv=conv, limit=5)
        await a.insist(m.SYNC)
        await b.insist(m.READ, conv=conv, seq=1)
        await a.insist(m.TYPING, conv=conv)
        await a.insist(m.ONE_CHAT, toid=b.id, msg="psst", ephemeral=True, cid=f"e{next(self._numbers)}")
        await c.insist(m.LOOKUP, id=a.id)
        await c.insist(m.LOOKUP, name=a.name)
        await b.insist(m.FRIENDS, op="list")
        await b.insist(m.FRIENDS, 6, op="remove", friendid=d.id)
        await b.befriend(d)
        await c.insist(m.GROUPS, op="list")
        await b.insist(m.GROUPS, op="members", groupid=self._group)

    async def _come_and_go(self) -> None:
        a, b, c, d = self.people
        await d.leave(self._group)
        await a.remove(self._group, c)
        await d.join(self._group)
        await a.readmit(self._group, c)
        await c.join(self._group)
        group = await b.create(f"one-off {next(self._numbers)}")
        await a.join(group)
        b.utter({"groupid": group})
        await self._acknowledged()
        await a.leave(group)
        await b.read(f"g{group}")
        await b.leave(group)

    async def _visit(self) -> None:
        """Register a user, who chats, changes the password, logs out and in, and leaves with writes due."""
        a, b, *_ = self.people
        number = next(self._numbers)
        port = self.world.hosts[number % 2].port
        guest = Guest(f"{self._stem}v{number}", number, self.history, port)
        self._passing.append(guest)
        await guest.start()
        await a.befriend(guest)
        await guest.befriend(b)
        guest.utter({"toid": b.id})
        other = self.world.hosts[1 - number % 2].port
        answer = await try_login(other, name=guest.name, password=PASSWORD)
        is_lost = self._is_rough or not guest.is_online.is_set()  # then no session is in the way
        assert answer.get("errno", 11) in (2, 8, 11) or is_lost, answer
        answer = await try_login(other, name=guest.name, password="wrong")
        assert answer.get("errno", 11) in (1, 8, 11), answer
        await asyncio.to_thread(self._use_up, "nobody")
        answer = await try_login(other, name="nobody", password="wrong")
        assert answer.get("errno", 11) in (1, 8, 11), answer
        await guest.change_password("correct donkey")
        await guest.insist(m.ACCOUNT, op="end_others")
        await asyncio.to_thread(self._grow_old, guest.id, "correct donkey")
        await guest.log_out()
        await guest.come_again()
        while guest.pending:
            await asyncio.sleep(0.05)
        await guest.insist(m.PING)
        guest.send({"msgid": m.RECV, "c": {f"g{10_000 + n}": 1 for n in range(4000)}})
        await guest.stop()  # its confirmations are still to be written
        self.history.shown.pop(guest.id, None)  # nobody waits for messages to this user

    def _grow_old(self, user: int, password: str) -> None:
        """Give an account many tokens and addresses, and a password hash with outdated parameters."""
        insert = "INSERT INTO token (digest, user, expires) VALUES (%s, %s, UTC_TIMESTAMP() + INTERVAL 1 DAY)"
        for _ in range(20):
            self.world.execute(insert, secrets.token_bytes(32), user)
            self.world.execute(
                "INSERT INTO known_address (address, user, seen) VALUES (%s, %s, '2030-01-01')",
                secrets.token_bytes(32),
                user,
            )
        old = PasswordHasher(time_cost=1, memory_cost=2048, parallelism=1).hash(password)
        self.world.execute("UPDATE user SET password = %s WHERE id = %s", old, user)
        self.world.execute("DELETE FROM known_address WHERE user = %s AND seen < '2030-01-01'", user)

    def _use_up(self, name: str) -> None:
        """Use up the login rate of an account for 2 s."""
        with self.world.redis_client() as client:
            client.set(f"rate:login:account:{name}", 1 << 30, ex=2)

    async def _offline(self) -> None:
        """Send to an offline classic client; register another one."""
        old = self.classic[0]
        while self._unshown(old):
            await asyncio.sleep(0.05)  # a message in its kernel, not read yet, would be lost
        await old.stop()
        self.people[1].utter(old.targets[0] | {"toid": old.id})
        await self._acknowledged()
        number = next(self._numbers)
        new = Classic(f"{self._stem}new{number}", number, History(), ("127.0.0.1", self.world.hosts[0].port))
        with suppress(TimeoutError):
            await asyncio.gather(old.start(), new.start())
        await new.stop()
        await self.people[2].take_over()

    def _unshown(self, old: Classic) -> list[Message]:
        """Return the acknowledged messages that a classic client was not shown."""
        shown = set(self.history.classic.get(old.id, []))
        said = self.history.messages.values()
        return [each for each in said if each.acks and each.recipient == old.id and each.cid not in shown]

    async def _housekeeping(self) -> None:
        """Trigger the periodic jobs: make retention due, and have the epoch read."""
        await asyncio.to_thread(self._make_due)

    def _make_due(self) -> None:
        world = self.world
        conv = f"d0-{next(self._numbers)}"
        world.execute(
            f"INSERT INTO conversation (conv, touched, last_seq) VALUES ('{conv}', '2000-01-01', 2)"
        )
        world.execute(
            "INSERT INTO message (conv, seq, sender, cid, ts, body) VALUES"
            f" ('{conv}', 1, 1, '{conv}', 0, 'x'), ('{conv}', 2, 1, '{conv}b', 0, 'x')"
        )
        world.execute("UPDATE retention SET done = '', due = '2000-01-01' WHERE one = 1")
        with world.redis_client() as client:
            client.publish("all", "epoch")

    async def _contend(self) -> None:
        """Send to a conversation while another session holds its lock."""
        a, b, *_ = self.people
        holding = asyncio.create_task(asyncio.to_thread(self._hold_lock, pair_key(a.id, b.id)))
        await asyncio.sleep(0.1)
        a.utter({"toid": b.id})
        await holding

    def _hold_lock(self, conv: str) -> None:
        with closing(self.world.connection()) as connection, connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM conversation WHERE conv = %s FOR UPDATE", (conv.encode(),))
            time.sleep(0.4)
            cursor.execute("ROLLBACK")

    # Special acts.

    async def cut(self) -> None:
        """Cut every connection to MySQL and Redis, those of subscribers first.

        The messages of the time between make workers look for what they stored.
        """
        await asyncio.sleep(0.3)
        self.world.redis.cut(is_subscriber=True)
        await asyncio.sleep(1.5)  # after `restore`, which makes workers forget what they stored
        for a, b in (self.people[:2], self.people[1::-1]):  # a worker of each host
            a.utter({"toid": b.id})
        await self._acknowledged()
        self.world.mysql.cut()
        self.world.redis.cut()

    async def kill(self) -> None:
        """Kill a worker. Its next generation clears up its lease."""
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.world.kill_worker, 1)
        await asyncio.sleep(1.0)

    async def forget(self) -> None:
        """Delete all data in Redis."""
        await asyncio.sleep(1.0)
        await asyncio.to_thread(self._flush)
        await asyncio.sleep(4.0)

    def _flush(self) -> None:
        with self.world.redis_client() as client:
            client.flushdb()

    async def restore(self) -> None:
        """Reset a conversation of two strangers to an earlier number, as in an older database.

        Wait until the epoch has changed.
        """
        async with self._strangers() as (one, two):
            answers = [await one.insist(m.ONE_CHAT, toid=two.id, msg="x", cid=f"r{n}") for n in range(3)]
            conv = answers[-1]["conv"]
            known = await asyncio.to_thread(self._epoch)
            await asyncio.to_thread(self._go_back, conv)
            n = 3
            while await asyncio.to_thread(self._epoch) == known:
                await one.insist(m.ONE_CHAT, toid=two.id, msg="x", cid=f"r{(n := n + 1)}")
                await asyncio.sleep(0.5)

    def _go_back(self, conv: str) -> None:
        self.world.execute("DELETE FROM message WHERE conv = %s AND seq > 1", conv)
        self.world.execute(
            "UPDATE conversation SET last_seq = 1, touched = UTC_TIMESTAMP(3) WHERE conv = %s", conv
        )

    def _epoch(self) -> str:
        connection = self.world.connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT CAST(value AS CHAR) FROM epoch")
            value = str(cursor.fetchone()[0])
        connection.close()
        return value

    async def slow(self) -> None:
        """Send to a client that does not read. It must be told the state of its conversations afterwards."""
        async with self._strangers() as (one, two):
            await two.stop()
            while True:
                reader = SlowReader(self.world.hosts[1].port)
                try:
                    await reader.log_in(two.name)
                    for _ in range(20):
                        texts = [
                            one.insist(m.ONE_CHAT, toid=two.id, msg="x" * 8000, cid=f"w{next(self._numbers)}")
                            for _ in range(20)
                        ]
                        await asyncio.gather(*texts)
                    await reader.drain(20 * 20)
                    return
                except ConnectionError as error:
                    assert self._is_rough, str(error)

    @asynccontextmanager
    async def _strangers(self) -> AsyncIterator[tuple[Guest, Guest]]:
        """Log in two new users, one on each host, whom no other user knows."""
        number = next(self._numbers)
        one, two = (
            Guest(f"{self._stem}{stem}{number}", number, History(), host.port)
            for stem, host in zip("yz", self.world.hosts, strict=True)
        )
        await asyncio.gather(one.start(), two.start())
        try:
            yield one, two
        finally:
            await asyncio.gather(one.stop(), two.stop())

    # The proof.

    async def _serve(self) -> None:
        a, b, _, d = self.people
        everybody = (*self.people, *self.classic)
        await asyncio.gather(*(person.is_online.wait() for person in everybody))
        for person in everybody:
            for target in person.targets:
                person.utter(target)
        await d.leave(self._group)
        await d.join(self._group)
        await asyncio.gather(*(person.insist(m.SYNC) for person in self.people))
        await self._acknowledged()
        await self._shown()
        await asyncio.gather(*(person.come_again() for person in self.people))
        a._token = b._token = ""  # log in by password
        await asyncio.gather(a.come_again(), b.come_again())
        for person in everybody:
            person.utter(person.targets[0])
        await self._acknowledged()
        await self._shown()
        await self._read()
        while any(friends_are_seen_right(self.history)):
            await asyncio.sleep(0.2)

    async def _read(self) -> None:
        """Read the stored messages of each conversation of the users who stay.

        Other conversations were read when they ended.
        """
        convs = {ack.conv for msg in self.history.messages.values() for ack in msg.acks}
        readers = {f"g{self._group}": self.people[0]}
        for person in self.people:
            readers |= {conv: person for conv in convs if str(person.id) in conv.strip("d").split("-")}
        await asyncio.gather(*(person.read(conv) for conv, person in readers.items() if conv in convs))

    async def _shown(self) -> None:
        while any(nothing_is_lost(self.history)):
            await asyncio.sleep(0.1)


def _where(task: asyncio.Task[None]) -> str:
    """Return the functions and lines in which a task waits, from the outermost call inwards."""
    at: list[str] = []
    waits: Any = task.get_coro()
    while frame := getattr(waits, "cr_frame", None):
        at.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        waits = waits.cr_await
    return " ".join(at)


SPECIALS = {
    "cut": Scenario.cut,
    "kill": Scenario.kill,
    "forget": Scenario.forget,
    "restore": Scenario.restore,
    "slow": Scenario.slow,
}
