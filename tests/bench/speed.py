"""Messages a second and their cost, held against a bare relay in the same run, in turns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

from client.load.crew import Crew
from client.load.speaker import Play, Role
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.bench.accounts import Account, make_accounts
from tests.bench.cpu import Meter
from tests.bench.floor import Floor
from tests.server import Server
from tests.talk import UNLIMITED

_PAIRS, _MEMBERS, _PROCESSES = 100, 100, 2
_TURNS, _SECONDS, _WARM = 5, 4.0, 1.0
_TEXT = "hello, how are you today?"
_QUIET = UNLIMITED.replace("debug", "info")


@dataclass
class Figure:
    """What came of some turns: messages a second, and microseconds of processor time a message by who."""

    rates: list[float] = field(default_factory=list)
    costs: list[dict[str, float]] = field(default_factory=list)
    lost: int = 0

    def measure(self, crew: Crew, play: Play, groups: dict[str, list[int]]) -> None:
        meter = Meter(groups | {"load": crew.pids})
        cost: dict[str, float] = {}

        def meanwhile() -> None:
            time.sleep(play.warm)
            meter.start()
            time.sleep(play.seconds)
            cost.update(meter.stop())

        tallies = crew.play(play, meanwhile)
        heard = sum(tally.heard for tally in tallies)
        self.rates.append(sum(tally.heard / tally.seconds for tally in tallies))
        self.costs.append({name: used / heard * 1e6 for name, used in cost.items()})
        self.lost += sum(tally.lost for tally in tallies)

    def cost(self) -> dict[str, float]:
        return {name: median(each[name] for each in self.costs) for name in self.costs[0]}


def server_groups(server: Server) -> dict[str, list[int]]:
    redis, mariadb = server.service("redis-server"), server.service("mariadbd")
    assert redis and mariadb
    return {"workers": list(server.workers().values()), "redis": [redis], "mariadb": [mariadb]}


def opening(account: Account) -> bytes:
    return line({"msgid": m.HELLO}) + line({"msgid": m.LOGIN, "token": account.token, "takeover": True})


def pair_roles(accounts: Sequence[Account], is_ephemeral: bool) -> Iterator[Role]:
    """Each talks to the next; every other one begins."""
    for at, account in enumerate(accounts):
        other = at ^ 1
        head = '{"msgid":5,' + ('"ephemeral":true' if is_ephemeral else '"rid":%d,"cid":"%d"')
        frame = f'{head},"toid":{accounts[other].id},"msg":"{_TEXT}"}}\n'.encode()
        yield Role(opening(account), 2, frame, b'{"msgid":5,', (other,), begins=at % 2 == 0)


def floor_pairs(processes: int) -> list[list[Role]]:
    frame = f'{{"msgid":5,"rid":%d,"cid":"%d","toid":12345,"msg":"{_TEXT}"}}\n'.encode()
    return [
        [
            Role(b"%d %d\n" % (n, n ^ 1), 1, frame, b'{"msgid":5,', (at ^ 1,), at % 2 == 0, login_ok=b"")
            for at, n in enumerate(
                range(2 * each * _PAIRS // processes, 2 * (each + 1) * _PAIRS // processes)
            )
        ]
        for each in range(processes)
    ]


def split(accounts: list[Account], processes: int) -> list[list[Account]]:
    size = len(accounts) // processes
    return [accounts[at : at + size] for at in range(0, len(accounts), size)]


def run() -> None:
    with ExitStack() as stack:
        floor = stack.enter_context(Floor("pairs"))
        server = stack.enter_context(Server("-w", "2", config=_QUIET))
        accounts = make_accounts(server, 2 * _PAIRS)

        def crew(port: int, companies: list[list[Role]]) -> Crew:
            return Crew(companies, ("127.0.0.1", port))

        figures: dict[str, Figure] = {}
        for _ in range(_TURNS):
            for k in (1, 16):
                with crew(floor.port, floor_pairs(_PROCESSES)) as c:
                    figures.setdefault(f"floor {k}", Figure()).measure(
                        c, Play(_SECONDS, _WARM, k), {"relay": [floor.pid]}
                    )
            for name, eph, k in (("ephemeral", True, 1), ("durable", False, 1), ("durable", False, 16)):
                roles = [list(pair_roles(part, eph)) for part in split(accounts, _PROCESSES)]
                with crew(server.port, roles) as c:
                    figures.setdefault(f"{name} {k}", Figure()).measure(
                        c, Play(_SECONDS, _WARM, k), server_groups(server)
                    )
        for name, figure in figures.items():
            base = median(figures["floor " + name.split()[1]].rates)
            print(
                f"{name:14} {median(figure.rates):8.0f} {median(figure.rates) / base:5.2f} lost {figure.lost} ",
                {k: round(v, 1) for k, v in figure.cost().items()},
            )
