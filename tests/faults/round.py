"""One round: users talk, come and go while nemeses strike; then the laws are checked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple

from tests.cluster import HOSTS
from tests.faults.bot_laws import confirmed
from tests.faults.bots import Bot
from tests.faults.clients import Classic, Modern, Person
from tests.faults.history import History, Message
from tests.faults.laws import breaches, friends_are_seen_right, nothing_is_lost
from tests.faults.nemeses import ALONE, NEMESES
from tests.faults.world import World

#: Seconds between two messages of one user.
#: The same in the test suite, where other tests run at the same time.
#: Seconds in which all must be settled after the last fault.
#: Seconds in which all presence must be right then.
_PAUSE, _BESIDE_OTHERS, _SETTLED, _PRESENT = 0.05, 0.25, 40.0, 10.0


class Bots(NamedTuple):
    """The counts of bots.

    `given`: messages that they were given. `again`: those that came again in the next life. `done`: those of
    `again` that the bot had handled. `confirmed`: those of `again` that the server knew to be handled.
    `told`: acknowledgements that came as events.
    """

    lives: int
    given: int
    again: int
    done: int
    confirmed: int
    told: int

    @staticmethod
    def of(history: History) -> Bots:
        lives = list(chain.from_iterable(history.lives.values()))
        again = done = wrong = 0
        for some in history.lives.values():
            for life, after in pairwise(some):
                came = {(each.shown.place, each.shown.epoch) for each in after.given}
                repeated = [each for each in life.given if (each.shown.place, each.shown.epoch) in came]
                again += len(repeated)
                done += sum(each.done > 0 for each in repeated)
                told = confirmed(history, life, after)
                wrong += sum((each.shown.place, each.shown.epoch) in came for each in told)
        given, sent = sum(len(life.given) for life in lives), sum(life.sent.total() for life in lives)
        return Bots(len(lives), given, again, done, wrong, sent)

    def __str__(self) -> str:
        return (
            f"bots: {self.lives} lives, {self.given} given, {self.again} of them again ({self.done} done"
            f" before, {self.confirmed} confirmed), {self.told} told of"
        )


@dataclass
class Report:
    """The results of a round.

    `broken`: breaches by the name of the law. `excused`: acknowledged messages that were lost with a primary,
    because its replica lacked them. `longest_outage`: the most seconds of a client without a session.
    `longest_wait`: the most seconds until a message of an online client was acknowledged, including all
    resends. `bots`: the counts of the bots.
    """

    seed: int
    acknowledged: int
    excused: int
    shown: int
    struck: list[str]
    longest_outage: float
    longest_wait: float
    bots: Bots
    broken: dict[str, list[str]]

    @property
    def is_good(self) -> bool:
        return not self.broken

    def breaches(self, *laws: str) -> int:
        return sum(len(self.broken.get(law, [])) for law in laws)

    def __str__(self) -> str:
        counts = f"{self.acknowledged} acknowledged, {self.excused} of them lost with a primary,"
        counts += f" {self.shown} shown, {len(self.struck)} faults"
        silence = f"at most {self.longest_outage:.1f} s without a session, {self.longest_wait:.1f} s until"
        silence += " acknowledged"
        laws = "".join(
            f"\n{law}: {len(texts)}\n  " + "\n  ".join(texts[:5]) for law, texts in self.broken.items()
        )
        verdict = f"broken:{laws}" if laws else "no law broken"
        return f"seed {self.seed}: {counts}; {silence}; {self.bots}; {verdict}"


class Round:
    def __init__(self, world: World, seed: int, name: str, patience: float = _SETTLED, pause: float = _PAUSE):
        """Make the users of a round.

        `name`: the beginning of their names, unique among the rounds of a world. `patience`: seconds in which
        all must be settled. `pause`: average seconds between two messages of one user.
        """
        self.history = History(losses=world.losses)
        self._world = world
        self._seed = seed
        self._patience = patience
        self._pause = pause
        self._random = random.Random(seed)
        at = (world.address, world.port)
        people = [Modern(f"{name}{n}", seed + n, self.history, at) for n in range(8)]
        far = [Modern(f"{name}far{n}", seed + 20 + n, self.history, at, world.far_socket) for n in range(2)]
        self._modern = people + far
        self._bots = [
            Bot(f"{name}bot{n}", seed + 40 + n, self.history, at, iterates=n == 0) for n in range(2)
        ]
        self._friends: list[Modern | Bot] = [*people, *self._bots, *far]  # each is a friend of the next
        self._classic = [Classic(f"{name}old{n}", seed + 30 + n, self.history, at) for n in range(4)]
        self._struck: list[str] = []

    async def run(self, plan: Iterable[str], calm: float, strikers: int = 1) -> Report:
        """Run the round. `strikers` nemeses of the plan strike at a time, up to `calm` seconds apart."""
        people: list[Person] = [*self._friends, *self._classic]
        await asyncio.gather(*(person.start() for person in people))
        try:
            await self._meet()
            over = asyncio.Event()
            lives = [person.talk(over, self._pause) for person in people]
            lives += [self._wander(over), self._switch(over), self._nap(over)]
            lives += [self._perish(bot, over) for bot in self._bots]
            tasks = [asyncio.create_task(life) for life in lives]
            rest = iter(plan)
            self._strikers = strikers
            self._shares, self._queue = asyncio.Semaphore(strikers), asyncio.Lock()
            await asyncio.gather(*(self._strike(rest, calm) for _ in range(strikers)))
            await asyncio.sleep(calm)
            over.set()
            await asyncio.gather(*tasks)
            await self._settle()
            return self._report()
        finally:
            await asyncio.gather(*(person.stop() for person in people))

    async def _meet(self) -> None:
        """Set up pairs, two groups, and a circle of friends."""
        modern, classic, friends = self._modern, self._classic, self._friends
        for bot in self._bots:
            bot.names = {person.id: person.name for person in friends}
        for a, b in zip(friends, friends[1:] + friends[:1], strict=True):
            a.targets.append({"toid": b.id})
            b.targets.append({"toid": a.id})
            await a.befriend(b)
        for n, old in enumerate(classic):
            for other in (modern[n], classic[n - 1]):
                old.targets.append({"toid": other.id})
            modern[n].targets.append({"toid": old.id})
            await modern[n].befriend(old)
        self._groups = []
        for n in range(2):
            creator = modern[n]
            group = await creator.create(f"group {n}")
            self._groups.append(group)
            for member in friends:
                if member is not creator:
                    await member.join(group)
                member.targets.append({"groupid": group})

    # Actions besides talking.

    async def _wander(self, over: asyncio.Event) -> None:
        """Let one user leave a group and rejoin it, and another be removed, readmitted and rejoin."""
        leaver, outcast = self._modern[2], self._modern[3]
        while not over.is_set():
            group = self._random.choice(self._groups)
            creator = self._modern[self._groups.index(group)]
            async with self._membership():
                await leaver.leave(group)
                await creator.remove(group, outcast)
            await asyncio.sleep(self._random.uniform(0, 0.3))
            async with self._membership():
                await leaver.join(group)
                await creator.readmit(group, outcast)
                await outcast.join(group)
            await asyncio.sleep(self._random.uniform(0, 0.5))

    @asynccontextmanager
    async def _membership(self) -> AsyncIterator[None]:
        """Hold the lock under which memberships change."""
        await asyncio.to_thread(self._world.membership.acquire)
        try:
            yield
        finally:
            self._world.membership.release()

    async def _switch(self, over: asyncio.Event) -> None:
        """Let a user log in from another device, without logging out at the first."""
        while not over.is_set():
            await self._restarted(self._modern[4].take_over)
            await asyncio.sleep(self._random.uniform(0.5, 2))

    async def _nap(self, over: asyncio.Event) -> None:
        """Let a user go offline for a while, again and again."""
        person = self._modern[5]
        while not over.is_set():
            await person.stop()
            await asyncio.sleep(self._random.uniform(0, 2))
            await self._restarted(person.start)
            await asyncio.sleep(self._random.uniform(0, 2))

    async def _perish(self, bot: Bot, over: asyncio.Event) -> None:
        """Kill a bot and start it again, until the round is over."""
        while not over.is_set():
            await asyncio.sleep(self._random.uniform(1, 4))
            await bot.die()
            await asyncio.sleep(self._random.uniform(0, 1))
            await self._restarted(bot.start)

    async def _restarted(self, start: Callable[[], Awaitable[None]]) -> None:
        with suppress(TimeoutError):  # it keeps trying
            await start()

    # The faults.

    async def _strike(self, plan: Iterator[str], calm: float) -> None:
        for name in plan:
            await asyncio.sleep(self._random.uniform(calm / 2, calm))
            async with self._turn(is_alone=name in ALONE):
                since = self.history.now()
                whisper = asyncio.create_task(self._whisper())
                await asyncio.to_thread(NEMESES[name], self._world, random.Random(self._random.random()))
                await whisper
                self.history.faults.append((since, self.history.now(), name))
                self._struck.append(name)

    @asynccontextmanager
    async def _turn(self, is_alone: bool) -> AsyncIterator[None]:
        """Wait until a fault may strike: beside others, or, if `is_alone`, when no other does."""
        shares = self._strikers if is_alone else 1
        async with self._queue:
            for _ in range(shares):
                await self._shares.acquire()
        try:
            yield
        finally:
            for _ in range(shares):
                self._shares.release()

    async def _whisper(self) -> None:
        """Let each user send to another, to whom they write only during faults.

        No later message in these pairs reveals a missing one.
        """
        for n, person in enumerate(self._friends):
            await asyncio.sleep(0.01)
            person.utter({"toid": self._friends[n - 5].id})

    # The end.

    async def _settle(self) -> None:
        """Wait until all is acknowledged and shown, then until presence is right; each with a deadline."""
        gone = self._modern[6]
        await asyncio.gather(*(person.is_online.wait() for person in (*self._friends, *self._classic)))
        await self._agree()
        if not any(nothing_is_lost(self.history)):
            await asyncio.gather(*(bot.last_life(self._modern[0]) for bot in self._bots))
            await self._agree()
        await self._read()
        await gone.stop()
        await self._until(self._is_presence_right, _PRESENT)

    async def _agree(self) -> None:
        await self._until(lambda: not any(p.pending for p in self._friends), self._patience)
        await self._until(lambda: not any(nothing_is_lost(self.history)), self._patience)

    async def _read(self) -> None:
        """Read each conversation as it is stored, by a user who wrote in it and may still read it."""
        readers: dict[str, Modern | Bot] = {
            f"g{group}": self._modern[n] for n, group in enumerate(self._groups)
        }
        for person in self._friends:
            own = (message for message in self.history.messages.values() if message.sender == person.id)
            for ack in chain.from_iterable(map(self.history.acks, own)):
                readers.setdefault(ack.conv, person)
        await asyncio.gather(*(person.read(conv) for conv, person in readers.items()))

    def _waited(self, message: Message) -> float:
        """Return the seconds from the sending, or the sender's later login, to the acknowledgement."""
        acked = message.acks[0].at
        return acked - self.history.available(message.sender, message.begun, acked)

    def _is_presence_right(self) -> bool:
        return not any(friends_are_seen_right(self.history))

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    def _report(self) -> Report:
        broken = breaches(self.history)
        for host in HOSTS:
            if "Traceback" in (log := self._world.log(host)):
                broken.setdefault("no_traceback", []).append(log[log.index("Traceback") - 300 :][:3000])
        waiting = [f"{p.name}: {p.behind()}" for p in self._friends if p.behind()]
        if waiting:
            broken["everything_is_answered"] = waiting
        acked = [message for message in self.history.messages.values() if message.acks]
        return Report(
            self._seed,
            len(acked),
            sum(len(self.history.acks(message)) < len(message.acks) for message in acked),
            sum(map(len, self.history.shown.values())),
            self._struck,
            max(self.history.outages, default=0.0),
            max(map(self._waited, acked), default=0.0),
            Bots.of(self.history),
            broken,
        )


def strike(world: World, plan: list[str], patience: float = _SETTLED, strikers: int = 1) -> Report:
    """Run a round in which these nemeses strike in a random order; return its report."""
    seed = random.randrange(2**32)
    random.Random(seed).shuffle(plan)
    game = Round(world, seed, f"{seed}x", patience, _BESIDE_OTHERS)
    report = asyncio.run(game.run(plan, 1.0 if plan else 3.0, strikers))
    print(report)
    return report
