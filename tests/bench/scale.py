"""Benchmark of the processor time of a message with more workers and hosts.

On few cores it shows the overhead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from client.load import roles
from client.load.crew import Crew
from client.load.speaker import Play
from tests.bench import history
from tests.bench.accounts import make_accounts
from tests.bench.figures import Figure, processes
from tests.bench.speed import services
from tests.server import Server
from tests.talk import QUIET

_WORKERS, _HOSTS = (1, 2, 4, 8), (1, 2, 4)
_TURNS, _SECONDS, _PEOPLE = 3, 3.0, 200


def run() -> None:
    figures: dict[str, Figure] = {}
    for count in _WORKERS:
        with _cluster(1, count) as hosts:
            _measure(figures, f"workers {count}", hosts)
    for count in _HOSTS:
        with _cluster(count, 1) as hosts:
            _measure(figures, f"hosts {count}, a worker each", hosts)
    history.report("scale", {name: figure.summary(None) for name, figure in figures.items()})


@contextmanager
def _cluster(hosts: int, workers: int) -> Iterator[list[Server]]:
    """Run a cluster; yield its hosts. The first host has the private services."""
    with ExitStack() as stack:
        first = stack.enter_context(Server("-w", str(workers), config=QUIET))
        shared = services(first)
        others = [Server("-w", str(workers), *shared, config=QUIET) for _ in range(hosts - 1)]
        yield [first, *map(stack.enter_context, others)]


def _measure(figures: dict[str, Figure], name: str, hosts: list[Server]) -> None:
    accounts = make_accounts(hosts[0], _PEOPLE)
    addresses = [("127.0.0.1", host.port) for host in hosts]
    for kind, is_ephemeral, in_flight in (("ephemeral, 1", True, 1), ("durable, 16", False, 16)):
        half = _PEOPLE // 2
        halves = [roles.pairs(some, addresses, is_ephemeral) for some in (accounts[:half], accounts[half:])]
        for _ in range(_TURNS):
            with Crew(halves) as crew:
                figure = figures.setdefault(f"{kind}: {name}", Figure())
                figure.measure(crew, Play(_SECONDS, in_flight=in_flight), processes(*hosts))
