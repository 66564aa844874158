"""All strikes at the library and at chatcli, several at a time, and their results."""

from __future__ import annotations

import asyncio
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from client.protocol import link
from tests.pane import Tmux, tmux_server
from tests.spoiled.library import Breach, NotMet, Run, Table, come_and_go, register
from tests.spoiled.proxy import Json, Strike, Way
from tests.spoiled.screen import Seat, chosen
from tests.spoiled.ways import believed, fields, lies, unseen, whole
from tests.talk import QUIET

#: Settings of the server. A heartbeat of 1 s makes PINGs come during a run.
CONFIG = f"{QUIET}\n[session]\nheartbeat = 1\n[passwords]\nmemory = 1024\ntime = 1\n"
#: Shorter timeouts of the client, in seconds, to save time.
TIMES = {"HELLO_TIME": 2.0, "ANSWER_TIME": 2.0, "HASHING_TIME": 2.0, "DEAD_TIME": 8.0}
#: Frames of one step that are struck, at most, if it recurs in a session.
_MOST = 3
#: MiB that the process may use.
MAX_MEMORY = 500.0


#: A function that chooses the strikes. They are run from the last to the first.
Choose = Callable[[list[Strike]], list[Strike]]


@contextmanager
def hurried() -> Iterator[None]:
    before = {name: getattr(link, name) for name in TIMES if hasattr(link, name)}
    try:
        for name in before:
            setattr(link, name, TIMES[name])
        yield
    finally:
        for name, value in before.items():
            setattr(link, name, value)


@dataclass
class Report:
    """The results. `cells`: strikes by step and by the group of their way."""

    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)
    not_met: int = 0
    longest: tuple[float, str] = (0.0, "")
    covered: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, strike: Strike, seconds: float, breach: str = "") -> None:
        self.cells[strike.step, strike.way.group] += 1
        if sum(self.cells.values()) % 500 == 0:
            print(f"{sum(self.cells.values())} strikes, {len(self.breaches)} breaches", flush=True)
        if breach:
            self.breaches.append(f"{strike}: {breach}")
            print(f"BREACH {strike}: {breach}", flush=True)
        elif strike.way.slow == 0:
            self.longest = max(self.longest, (seconds, str(strike)))

    def text(self) -> str:
        groups = sorted({group for _, group in self.cells})
        steps = sorted({step for step, _ in self.cells})
        rows = [["", *groups]] + [
            [step, *(str(self.cells[step, group] or "") for group in groups)] for step in steps
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return "\n".join(
            [
                *lines,
                f"{sum(self.cells.values())} strikes in {self.seconds:.0f} s, {len(self.breaches)} breaches; "
                f"steps that did not come: {self.not_met}",
                f"longest time to recover: {self.longest[0]:.1f} s, {self.longest[1]}",
                f"memory: {memory:.0f} MiB at most",
            ]
        )


def strikes(samples: dict[tuple[str, int], Json]) -> list[Strike]:
    """Return the strikes: every way for each of the first frames of a step.

    Lasting strikes begin at the first frame. They use every whole-frame way but the delays, and one way for
    each other group and place.
    """
    found = []
    for (step, number), sample in samples.items():
        if number > _MOST:
            continue
        by_frame = list(whole(TIMES["ANSWER_TIME"]))
        by_lie = list(lies(sample))
        by_field = list(fields(sample))
        ways = (*by_frame, *by_lie, *by_field)
        found += [Strike(step, number, unseen(way, sample)) for way in ways]
        if number == 1:
            chosen = (*by_frame, *_one_each(by_lie), *_one_each(by_field))
            chosen = tuple(believed(unseen(way, sample), sample) for way in chosen if way.group != "delay")
            found += [Strike(step, number, way, is_lasting=True) for way in chosen]
    return found


def _one_each(ways: Sequence[Way]) -> list[Way]:
    """Return the first way of each group and place."""
    firsts: dict[tuple[str, str], Way] = {}
    for way in ways:
        firsts.setdefault((way.group, way.name.split(" = ")[0]), way)
    return list(firsts.values())


async def learn(table: Table) -> dict[tuple[str, int], Json]:
    """Play without a strike; return the frames of a good server in one session, heartbeats included."""
    run = Run(table, Strike("PONG", 10**9, next(whole(1.0))))
    run.strike = None
    await run.play()
    samples = dict(run.proxy.samples)
    samples.setdefault(("PONG", 1), {"msgid": 103})
    samples.setdefault(("PING", 1), {"msgid": 102})
    online = {"msgid": 120, "id": table.bo.id, "name": table.bo.name, "state": "online"}
    samples.setdefault(("PRESENCE", 1), online)
    return samples


async def sweep(port: int, report: Report, choose: Choose, tables: int, minutes: float = 1e6) -> None:
    """Strike at the library, at `tables` tables at a time.

    An exception that reaches the event loop counts as a breach.
    """
    began = time.monotonic()

    def on_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        text = "".join(traceback.format_exception(error)) if error else str(context)
        report.breaches.append(f"raised: {context.get('message')}: {text}")
        print(report.breaches[-1], flush=True)

    asyncio.get_running_loop().set_exception_handler(on_exception)
    visitor = await register(port, "cy")
    async with AsyncExitStack() as stack:
        seats = [Table(port, visitor) for _ in range(tables)]
        await asyncio.gather(*(stack.enter_async_context(seat) for seat in seats))
        visits = asyncio.create_task(come_and_go(port, visitor))
        queue = choose(strikes(await learn(seats[0])))
        end = asyncio.create_task(_end(queue, minutes))
        with hurried():
            await asyncio.gather(*(_serve(seat, queue, report) for seat in seats))
        visits.cancel()
        end.cancel()
    report.seconds = time.monotonic() - began


async def sweep_screen(port: int, report: Report, choose: Choose, seats: int, minutes: float = 1e6) -> None:
    """Strike at chatcli, in `seats` terminals at a time."""
    began = time.monotonic()
    with tmux_server() as tmux:
        async with AsyncExitStack() as stack:
            visitor = await register(port, "cy")
            tables = [await stack.enter_async_context(Table(port, visitor)) for _ in range(seats)]
            queue = choose(chosen(strikes(await learn(tables[0]))))
            end = asyncio.create_task(_end(queue, minutes))
            await asyncio.gather(*(_seat(tmux, table, queue, report) for table in tables))
            end.cancel()
    report.seconds = time.monotonic() - began


async def _end(queue: list[Strike], minutes: float) -> None:
    await asyncio.sleep(minutes * 60)
    queue.clear()


async def _seat(tmux: Tmux, table: Table, queue: list[Strike], report: Report) -> None:
    seat = Seat(tmux, table)
    await seat.open()
    try:
        while queue:
            strike = queue.pop()
            try:
                async with asyncio.timeout(300):
                    report.add(strike, await seat.play(strike))
            except NotMet:
                report.not_met += 1
            except (Breach, TimeoutError, AssertionError) as error:
                report.add(strike, 0.0, str(error) or repr(error))
    finally:
        await seat.close()


async def _serve(table: Table, queue: list[Strike], report: Report) -> None:
    while queue:
        strike = queue.pop()
        run = Run(table, strike)
        try:
            async with asyncio.timeout(240):
                await run.play()
        except NotMet:
            report.not_met += 1
        except (Breach, TimeoutError, LookupError, AssertionError) as error:
            report.add(strike, run.seconds, str(error) or repr(error))
        else:
            report.add(strike, run.seconds)
