"""Benchmark of logins a second: by token, and by password while others talk, compared with bare hashing."""

from __future__ import annotations

import threading
import time
from statistics import median

from client.load import roles
from client.load.accounts import Newcomer
from client.load.crew import Crew
from client.load.speaker import Address, Play, Role
from forkchat.config import Passwords
from forkchat.service.passwords import hasher
from forkchat.wire import msgid as m
from tests.bench import history
from tests.bench.accounts import make_accounts
from tests.bench.figures import Figure, processes
from tests.server import Server
from tests.talk import PASSWORD, QUIET, new_name

_TURNS = 5
#: Users who log in by token, all at once.
#: Processes of the load.
#: Users who log in by password in a loop, all at the same time.
_BY_TOKEN, _COMPANIES, _BY_PASSWORD = 8_000, 4, 8
#: Users who talk meanwhile.
#: Messages a second.
#: Seconds of one turn.
_TALKERS, _RATE, _SECONDS = 200, 1000.0, 8.0


def run() -> None:
    figures: dict[str, float] = {}
    with Server("-w", "2", config=QUIET) as server:
        address = "127.0.0.1", server.port
        accounts = make_accounts(server, _BY_TOKEN)
        parts = [roles.pairs(accounts[n::_COMPANIES], [address]) for n in range(_COMPANIES)]
        figures["by token, a second"] = median(_come(parts) for _ in range(_TURNS))
    with Server("-w", "1", config=QUIET) as server:  # one worker has one hashing lane
        figures |= _by_password(server, ("127.0.0.1", server.port))
    history.note("logins", figures)


def _come(parts: list[list[Role]]) -> float:
    """Return the logins a second, including the time to connect."""
    began = time.monotonic()
    with Crew(parts):
        return _BY_TOKEN / (time.monotonic() - began)


def _by_password(server: Server, address: Address) -> dict[str, float]:
    names = [new_name() for _ in range(_BY_PASSWORD)]
    for name in names:
        with Newcomer(address) as newcomer:
            newcomer.ask(m.REG, name=name, password=PASSWORD)
    talkers = roles.pairs(make_accounts(server, _TALKERS), [address])
    alone, rates, figure = [], [], Figure()
    with Crew([talkers]) as crew:
        for _ in range(_TURNS):
            alone.append(_hashes())
            came: list[int] = []
            with _Insistent(names, address, came):
                figure.measure(crew, Play(_SECONDS, rate=_RATE, is_timed=True), processes(server))
            rates.append(sum(came) / (_SECONDS + 1.0))
    delays = figure.summary(None)["ms"]
    return {
        "by password, a second": median(rates),
        "hashes a second, of one lane that has nothing else to do": median(alone),
        "ratio": median(rates) / median(alone),
        "of 1,000 messages a second meanwhile, p99 in ms": delays["p99"],
    }


def _hashes() -> float:
    """Return the number of passwords that one thread verifies in a second."""
    present = hasher(Passwords())
    stored, began = present.hash(PASSWORD), time.monotonic()
    for _ in range(10):
        present.verify(stored, PASSWORD)
    return 10 / (time.monotonic() - began)


class _Insistent:
    """Users who log in by password, each again as soon as the last login is done.

    `came` gets the number of logins of each user.
    """

    def __init__(self, names: list[str], address: Address, came: list[int]):
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._come, args=(name, address, came)) for name in names]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _come(self, name: str, address: Address, came: list[int]) -> None:
        count = 0
        while not self._over.is_set():
            with Newcomer(address) as newcomer:
                newcomer.ask(m.LOGIN, name=name, password=PASSWORD, takeover=True)
            count += 1
        came.append(count)
