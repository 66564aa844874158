"""The results of a load in turns: messages a second, and the processor time of each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from client.load.crew import Crew
from client.load.speaker import Play
from tests.bench.cpu import Meter
from tests.server import Server


@dataclass
class Figure:
    """The results of several turns under one name.

    `rates`: deliveries a second, by turn. `costs`: microseconds of processor time for a delivery, by process
    group. `delays`: milliseconds. `lost`: messages that never came.
    """

    rates: list[float] = field(default_factory=list)
    costs: list[dict[str, float]] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    lost: int = 0

    def measure(self, crew: Crew, play: Play, processes: Mapping[str, Iterable[int]]) -> None:
        """Play one turn and add its results."""
        meter = Meter({**processes, "load": crew.pids})
        used: dict[str, float] = {}

        def meanwhile() -> None:
            time.sleep(play.warm)
            meter.start()
            time.sleep(play.seconds)
            used.update(meter.stop())

        tallies = crew.play(play, meanwhile)
        heard = sum(tally.heard for tally in tallies)
        self.rates.append(sum(tally.heard / tally.seconds for tally in tallies))
        self.costs.append({name: seconds / max(heard, 1) * 1e6 for name, seconds in used.items()})
        self.delays += [delay * 1000 for tally in tallies for delay in tally.delays]
        self.lost += sum(tally.lost for tally in tallies)

    @property
    def rate(self) -> float:
        return median(self.rates)

    def cost(self) -> dict[str, float]:
        return {name: median(each[name] for each in self.costs) for name in self.costs[0]}

    def summary(self, floor: Figure | None) -> dict[str, Any]:
        """Return the results as they are saved. `ratio` is the rate divided by the rate of the floor."""
        kept: dict[str, Any] = {
            "rate": round(self.rate),
            "least": round(min(self.rates)),
            "most": round(max(self.rates)),
            "lost": self.lost,
            "cpu_us": {name: round(cost, 1) for name, cost in self.cost().items()},
        }
        if floor is not None:
            kept["ratio"] = round(self.rate / floor.rate, 3)
        if self.delays:
            ordered = sorted(self.delays)
            at = {"p50": 0.5, "p99": 0.99}
            kept["ms"] = {
                name: round(ordered[int(part * (len(ordered) - 1))], 2) for name, part in at.items()
            }
        return kept


def processes(*servers: Server) -> dict[str, list[int]]:
    """Return the process ids of these hosts by kind. The first host has the private services."""
    redis, mariadb = servers[0].service("redis-server"), servers[0].service("mariadbd")
    assert redis and mariadb
    workers = [pid for server in servers for pid in server.workers().values()]
    return {"workers": workers, "redis": [redis], "mariadb": [mariadb]}
