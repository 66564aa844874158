"""Benchmark of delivery delays: one message at a time, and at half of the highest durable rate."""

from __future__ import annotations

from client.load import roles
from client.load.crew import Crew
from client.load.speaker import Play
from tests.bench import history
from tests.bench.accounts import make_accounts
from tests.bench.figures import Figure, processes
from tests.server import Server
from tests.talk import QUIET

_TURNS, _SECONDS = 5, 4.0
_PAIRS = 100


def run() -> None:
    with Server("-w", "2", config=QUIET) as server:
        addresses = [("127.0.0.1", server.port)]
        accounts = make_accounts(server, 2 * _PAIRS)
        figures: dict[str, Figure] = {}

        def measure(name: str, people: int, play: Play, is_ephemeral: bool = False) -> Figure:
            figure = figures.setdefault(name, Figure())
            with Crew([roles.pairs(accounts[:people], addresses, is_ephemeral)]) as crew:
                figure.measure(crew, play, processes(server))
            return figure

        for _ in range(_TURNS):
            measure("ephemeral, one at a time", 2, Play(_SECONDS, is_timed=True), is_ephemeral=True)
            measure("durable, one at a time", 2, Play(_SECONDS, is_timed=True))
            most = measure("durable, all there is", 2 * _PAIRS, Play(_SECONDS, in_flight=16)).rate
            measure("durable, half of it", 2 * _PAIRS, Play(_SECONDS, rate=most / 2, is_timed=True))
        history.report("latency", {name: figure.summary(None) for name, figure in figures.items()})
