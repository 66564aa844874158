"""Discovery of the kinds, waves of strikes, and their results."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.server import Server
from tests.sweep.mysql import MySQLProxy
from tests.sweep.scenario import RECOVERED, SPECIALS, Scenario
from tests.sweep.source import commands, scripts, statements
from tests.sweep.strikes import CONNECT, CONNECT_FAULTS, MYSQL_FAULTS, REDIS_FAULTS, Seen, Strike
from tests.sweep.world import World

_OCCURRENCES = ((1, 0.0), (2, 0.0), (1, 3.0))
#: Seconds that a strike may be late: announcements follow a logout, and sweeps run every few seconds.
_LATE = 6.0
#: Seconds of recovery above which a wave is printed with its strikes.
_LONG = 5.0
#: Waves of a world, at most. The laws check its whole history, in the process that relays all traffic.
_WAVES = 15


@dataclass
class Wave:
    """The results of some strikes at the same time."""

    strikes: list[Strike]
    wrong: list[str]
    wait: float = 0.0
    waited_for: str = ""
    traces: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)  # of the hosts, if a law was broken


class Sweep:
    def __init__(self, owners: list[Server], seed: int, size: int):
        self._owners = owners
        self._random = random.Random(seed)
        self._size = size
        self.kinds: dict[str, str] = {}  # the special act that triggers the kind
        self._of_redis: set[str] = set()
        self._at_start: set[str] = set()  # kinds that a worker sends before it serves
        self.missing: list[str] = []
        self.waves: list[Wave] = []
        self.breaches: list[Wave] = []
        self.traces: Counter[str] = Counter()
        self._lag = 0.0

    @property
    def is_good(self) -> bool:
        return not self.breaches and not self.missing

    async def discover(self) -> Counter[str]:
        """Play the scenario without a fault, then with each special act; count the kinds that are sent."""
        total: Counter[str] = Counter()
        async with World(self._owners[0]) as world:
            total += world.seen.counts
            self._at_start = set(world.seen.counts)
            world.seen.counts.clear()
            scenario = Scenario(world)
            await scenario.start()
            for special in ("", "", *SPECIALS):
                world.seen.counts.clear()
                wrong = await scenario.play({special} - {""})
                wrong += await scenario.prove(time.monotonic())
                await asyncio.sleep(0 if special else 6)  # until logouts are announced, and channels dropped
                assert not wrong, f"without a fault{' but ' + special if special else ''}: {wrong}"
                for kind in world.seen.counts:
                    self.kinds.setdefault(kind, special)
                total += world.seen.counts
            await scenario.stop()
            self._of_redis = world.seen.of_redis
        self.missing = missing(set(total))
        return total

    async def run(self, seconds: float, only: str, fault: str, k: int, span: float) -> None:
        counts = await self.discover()
        print(f"{len(counts)} kinds seen; of the source's not: {self.missing or 'none'}", flush=True)
        strikes = [
            strike
            for kind in sorted(self.kinds)
            if kind.startswith(only)
            for strike in self._strikes(kind, counts[kind])
            if strike.fault == (fault or strike.fault)
            and strike.k == (k or strike.k)
            and strike.seconds == (span if span >= 0 else strike.seconds)
        ]
        self._random.shuffle(strikes)
        deadline = time.monotonic() + seconds if seconds else float("inf")
        print(f"{len(self.kinds)} kinds to be struck, {len(strikes)} strikes", flush=True)
        strikes.sort(key=lambda strike: (strike.k, strike.seconds))
        watch = asyncio.create_task(self._watch())
        await asyncio.gather(*(self._share(owner, strikes, deadline) for owner in self._owners))
        watch.cancel()

    async def _watch(self) -> None:
        """Measure how late this process runs, because it relays all traffic of the hosts."""
        while True:
            due = time.monotonic() + 0.1
            await asyncio.sleep(0.1)
            self._lag = max(self._lag, time.monotonic() - due)

    def _strikes(self, kind: str, seen: int) -> list[Strike]:
        if kind == CONNECT:
            faults = list(CONNECT_FAULTS)
        elif kind in self._of_redis:
            faults = list(REDIS_FAULTS)
        else:
            faults = list(MYSQL_FAULTS)
        occurrences = [at for at in _OCCURRENCES if at[0] <= seen]
        return [Strike(kind, fault, k, span) for fault in faults for k, span in occurrences]

    async def _share(self, owner: Server, strikes: list[Strike], deadline: float) -> None:
        """Run the remaining strikes, together with the other owners, in one world after another.

        An owner has one world at a time, because two worlds would share Redis channels.
        """
        while strikes and time.monotonic() < deadline:
            await self._with_world(owner, strikes, deadline)

    async def _with_world(self, owner: Server, strikes: list[Strike], deadline: float) -> None:
        """Run some waves in one world, until one breaks a law."""
        async with World(owner) as world:
            scenario = Scenario(world)
            await scenario.start()
            try:
                for _ in range(_WAVES):
                    if not strikes or time.monotonic() >= deadline:
                        return
                    wave = await self._wave(scenario, _take(strikes, self._size))
                    self.waves.append(wave)
                    struck = sum(bool(strike.hits) for strike in wave.strikes)
                    print(
                        f"wave {len(self.waves)}: {struck} struck, {wave.wait:.1f} s until {wave.waited_for}",
                        flush=True,
                    )
                    if wave.wait > _LONG:
                        print(f"    in {'; '.join(map(str, wave.strikes))}", flush=True)
                    self.traces.update(wave.traces)
                    if wave.wrong:
                        break
                else:
                    return
            finally:
                await scenario.stop()
        await self._confirm(owner, wave)

    async def _confirm(self, owner: Server, wave: Wave) -> None:
        """Repeat each strike of a failed wave by itself, in a new world."""
        if len(wave.strikes) == 1:
            self._note(wave)
            return
        found = False
        for strike in wave.strikes:
            if strike.hits:
                alone = await self._alone(owner, Strike(strike.kind, strike.fault, strike.k, strike.seconds))
                if alone.wrong:
                    found = True
                    self._note(alone)
        if not found:
            print(f"not repeated alone: {'; '.join(map(str, wave.strikes))}", flush=True)
            self._note(wave)

    async def _alone(self, owner: Server, strike: Strike) -> Wave:
        async with World(owner) as world:
            scenario = Scenario(world)
            await scenario.start()
            try:
                return await self._wave(scenario, [strike])
            finally:
                await scenario.stop()

    async def _wave(self, scenario: Scenario, strikes: list[Strike]) -> Wave:
        specials = {self.kinds[strike.kind] for strike in strikes} - {""}
        if any(strike.kind.startswith("conversations.of") for strike in strikes):
            specials.add("slow")  # a slow reader and each login cause the same statements
        if any(strike.seconds and strike.kind in self._at_start for strike in strikes):
            specials.add("kill")  # a worker starts meanwhile
        return await wave(scenario, strikes, specials)

    def _note(self, wave: Wave) -> None:
        self.breaches.append(wave)
        print(f"BREACH {'; '.join(map(str, wave.strikes))}")
        for text in wave.wrong[:6]:
            print(f"    {text[:300]}")
        for trace, number in Counter(wave.traces).items():
            print(f"    {number} × {trace[:200]}")
        kept = Path(tempfile.mkdtemp(prefix="forkchat-sweep-"))
        for number, text in enumerate(wave.logs):
            (kept / f"host{number}.log").write_text(text)
        print(f"    the hosts' logs: {kept}")
        print(end="", flush=True)

    def table(self) -> str:
        strikes = [strike for wave in self.waves for strike in wave.strikes]
        struck = [strike for strike in strikes if strike.hits]
        longest = max(self.waves, key=lambda wave: wave.wait, default=None)
        rows = [
            f"kinds: {len(self.kinds)}, struck {len({strike.kind for strike in struck})}",
            f"of the source's statements, commands and scripts not covered: {self.missing or 'none'}",
            f"strikes: {len(struck)} ({sum(strike.hits for strike in struck)} faults), not reached:"
            f" {len(strikes) - len(struck)}",
            f"breaches: {len(self.breaches)}",
            f"longest time that the sweep itself was late: {self._lag:.1f} s",
        ]
        if longest is not None:
            at = "; ".join(map(str, longest.strikes))
            rows.append(f"longest time to recover: {longest.wait:.1f} s until {longest.waited_for}, in {at}")
        rows += [f"{number} × {trace[:180]}" for trace, number in self.traces.most_common(20)]
        return "\n".join(rows)


async def wave(scenario: Scenario, strikes: list[Strike], specials: set[str]) -> Wave:
    """Play the scenario while these strikes wait for their kinds.

    Then check that all is served, and every law.
    """
    seen = scenario.world.seen
    before = len(scenario.world.traces())
    seen.strikes = strikes
    wrong = await scenario.play(specials)
    deadline = time.monotonic() + _LATE
    while any(not strike.hits and strike.k == 1 for strike in strikes) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    seen.strikes = []
    ends = [strike.ended for strike in strikes if strike.hits]
    scenario.history.faults.append((min(ends, default=0.0), max(ends, default=0.0), "strikes"))
    wrong += await scenario.prove(max(ends, default=time.monotonic()))
    wait, what = scenario.longest_wait(ends)
    if wait > RECOVERED:
        wrong.append(f"{wait:.1f} s until {what}")
    logs = [host.log() for host in scenario.world.hosts] if wrong else []
    return Wave(strikes, wrong, wait, what, scenario.world.traces()[before:], logs)


def _take(strikes: list[Strike], size: int) -> list[Strike]:
    """Take the next strikes, of different kinds."""
    taken: list[Strike] = []
    for strike in list(strikes):
        if len(taken) < size and strike.kind not in {each.kind for each in taken}:
            taken.append(strike)
            strikes.remove(strike)
    return taken


def missing(seen: set[str]) -> list[str]:
    """Return the kinds of the source that were not seen."""
    proxy = MySQLProxy("", Seen())
    named = {proxy.kind("?".join(each.parts)) for each in statements()}
    found = sorted(named - seen)
    found += sorted(name for name in scripts().values() if f"EVAL {name}" not in seen)
    sent = {kind.split(" ")[0] for kind in seen}
    return found + sorted(commands() - sent)


async def print_kinds(sweep: Sweep) -> int:
    counts = await sweep.discover()
    for kind in sorted(counts):
        print(f"{counts[kind]:6} {sweep.kinds.get(kind, 'start'):8} {kind[:150]}")
    print(f"not covered: {sweep.missing or 'none'}")
    return 1 if sweep.missing else 0
