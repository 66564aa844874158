"""Benchmark of messages a second and their cost, compared with a bare relay in the same run, in turns."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import quote

from client.load import roles
from client.load.accounts import make_group
from client.load.crew import Crew
from client.load.roles import Account
from client.load.speaker import Address, Play, Role
from forkchat.process.embedded import run_dir
from tests.bench import history
from tests.bench.accounts import make_accounts
from tests.bench.figures import Figure, processes
from tests.bench.floor import Floor, floor_group, floor_pairs
from tests.server import Server
from tests.talk import QUIET

_PAIRS, _MEMBERS, _COMPANIES = 100, 100, 2
_TURNS, _SECONDS, _WARM = 5, 3.0, 1.0


class Field:
    """Two hosts of one cluster, two relays, and the figures measured on them by name."""

    def __init__(self, stack: ExitStack):
        self.pairs = stack.enter_context(Floor("pairs"))
        self.group = stack.enter_context(Floor("group"))
        self.one = stack.enter_context(Server("-w", "2", config=QUIET))
        self.two = stack.enter_context(Server("-w", "2", *services(self.one), config=QUIET))
        self.figures: dict[str, Figure] = {}
        self.near: list[Address] = [("127.0.0.1", self.one.port)]
        self.both: list[Address] = [*self.near, ("127.0.0.1", self.two.port)]
        self._people = make_accounts(self.one, 2 * _PAIRS)
        members = make_accounts(self.one, _MEMBERS)
        self._members = members, make_group(self.near[0], members)

    def turn(self) -> None:
        """Measure each kind once.

        Two hosts come last, because a host gets the messages of users who left it for some seconds more.
        """
        for in_flight in (1, 16):
            self._measure(f"floor, {in_flight}", floor_pairs(self.pairs, _PAIRS, _COMPANIES), in_flight)
        self._measure("ephemeral, 1", self._pairs(self.near, is_ephemeral=True), 1)
        self._measure("durable, 1", self._pairs(self.near), 1)
        self._measure("durable, 16", self._pairs(self.near), 16)
        self._measure("floor of a group", [floor_group(self.group, _MEMBERS)], 1, _MEMBERS - 1)
        self._measure("group", [roles.group(self._members[0], self.near, self._members[1])], 1, _MEMBERS - 1)
        self._measure("ephemeral, 1, two hosts", self._pairs(self.both, is_ephemeral=True), 1)
        self._measure(
            "group, two hosts", [roles.group(self._members[0], self.both, self._members[1])], 1, _MEMBERS - 1
        )

    def summary(self) -> dict[str, dict[str, object]]:
        return {name: figure.summary(self.figures.get(_floor(name))) for name, figure in self.figures.items()}

    def _pairs(self, addresses: list[Address], is_ephemeral: bool = False) -> list[list[Role]]:
        return [roles.pairs(part, addresses, is_ephemeral) for part in _parts(self._people)]

    def _measure(self, name: str, companies: list[list[Role]], in_flight: int, share: int = 1) -> None:
        figure = self.figures.setdefault(name, Figure())
        if name.startswith("floor"):
            who = {"relay": [self.group.pid if "group" in name else self.pairs.pid]}
        else:
            who = processes(self.one, self.two) if "two" in name else processes(self.one)
        with Crew(companies) as crew:
            figure.measure(crew, Play(_SECONDS, _WARM, in_flight, share), who)


def run() -> None:
    with ExitStack() as stack:
        field = Field(stack)
        for _ in range(_TURNS):
            field.turn()
        history.report("speed", field.summary())


def _floor(name: str) -> str:
    """Return the name of the floor that a figure is compared with, "" if it is a floor itself."""
    if name.startswith("floor"):
        return ""
    return "floor of a group" if name.startswith("group") else f"floor, {name.split(', ')[1]}"


def _parts(accounts: list[Account]) -> list[list[Account]]:
    size = len(accounts) // _COMPANIES
    return [accounts[at : at + size] for at in range(0, len(accounts), size)]


def services(server: Server) -> list[str]:
    """Return the flags of a host that shares the private services of another host."""
    run = run_dir(server.data_dir)
    mysql = f"mysql://root@/forkchat?unix_socket={quote(str(run / 'mysql.sock'))}"
    return ["--mysql-url", mysql, "--redis-url", f"unix://{run / 'redis.sock'}"]
