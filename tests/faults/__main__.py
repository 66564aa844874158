"""The long fault test: `python -m tests.faults --minutes 30`, or `--each` for one nemesis at a time.

Prints a line for each round, and at the end the memory of the workers and Redis. Exits with 1 if a law was
broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator

from tests.faults.nemeses import NEMESES, workers
from tests.faults.round import Bots, Report, Round
from tests.faults.world import World
from tests.server import pss

_LOST = ("nothing_is_lost", "dense", "everything_is_answered")
_DOUBLED = ("one_cid_one_message",)
_DISORDERED = ("once_and_in_order", "classic_clients_get_it_in_order")
_COLUMNS = (
    f"{'':26} {'acknowledged':>12} {'shown':>8} {'faults':>6} {'lost':>5} {'doubled':>7} {'disordered':>10}"
    f" {'other':>5} {'excused':>7} {'no session':>10} {'no answer':>10}"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="rounds of mixed faults for so long")
    parser.add_argument("--each", action="store_true", help="one round of each nemesis, alone, instead")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("nemesis", nargs="*", help=f"only these, of: {', '.join(NEMESES)}")
    args = parser.parse_args()
    names = args.nemesis or list(NEMESES)
    print(f"seed {args.seed}\n{_COLUMNS}", flush=True)
    reports = []
    with World() as world:
        plans = _each(names) if args.each else _mixed(names, args.minutes * 60, random.Random(args.seed))
        for number, (title, plan, strikers) in enumerate(plans):
            if number == 1:
                _print_memory(world, "after the first round")
            game = Round(world, args.seed + 100 * number, f"s{number}x")
            reports.append(report := asyncio.run(game.run(plan, 2.0, strikers)))
            print(_row(title, [report]), flush=True)
            if not report.is_good:
                print(report, flush=True)
        print(_row("all", reports))
        print(Bots(*(sum(counts) for counts in zip(*(report.bots for report in reports), strict=True))))
        if world.losses:
            noticed = [loss.noticed for loss in world.losses if loss.places]
            print(f"{len(noticed)} primaries lost messages, noticed within {max(noticed, default=0):.1f} s")
        _print_memory(world, "at the end")
    return 0 if all(report.is_good for report in reports) else 1


Plan = tuple[str, list[str], int]


def _each(names: list[str]) -> Iterator[Plan]:
    """Plan a round for each nemesis, which strikes three times, one strike after the other."""
    return ((name, [name] * 3, 1) for name in names)


def _mixed(names: list[str], seconds: float, random: random.Random) -> Iterator[Plan]:
    """Plan rounds of ten strikes, two at a time, until the time is up."""
    deadline = time.monotonic() + seconds
    number = 0
    while time.monotonic() < deadline:
        number += 1
        yield f"round {number}", random.choices(names, k=10), 2


def _row(title: str, reports: list[Report]) -> str:
    lost, doubled, disordered = (
        sum(report.breaches(*laws) for report in reports) for laws in (_LOST, _DOUBLED, _DISORDERED)
    )
    other = sum(report.breaches(*report.broken) for report in reports) - lost - doubled - disordered
    return (
        f"{title:26} {sum(r.acknowledged for r in reports):12} {sum(r.shown for r in reports):8}"
        f" {sum(len(r.struck) for r in reports):6} {lost:5} {doubled:7} {disordered:10} {other:5}"
        f" {sum(r.excused for r in reports):7}"
        f" {max(r.longest_outage for r in reports):8.1f} s {max(r.longest_wait for r in reports):8.1f} s"
    )


def _print_memory(world: World, when: str) -> None:
    held = ", ".join(f"{pss(pid):.1f}" for pid in sorted(workers(world)))
    with world.redis() as client:
        stored = f"{client.dbsize()} keys, {client.info('memory')['used_memory'] / 2**20:.1f} MiB"
    print(f"{when}: workers {held} MiB; redis {stored}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
