"""Benchmark of 60,000 silent users in 20 conversations each: memory, processor time, and a mass reconnect."""

from __future__ import annotations

import re
import time
from pathlib import Path

import redis

from client.load import roles
from client.load.crew import Crew
from client.load.roles import Account
from client.load.speaker import Play
from forkchat.process.embedded import run_dir
from tests.bench import history
from tests.bench.accounts import make_accounts, make_ring
from tests.bench.cpu import seconds
from tests.bench.figures import processes
from tests.server import Server
from tests.talk import QUIET

#: Connections.
#: Conversations of each user.
#: Processes of the load, which can hold 20,000 descriptors each.
#: Seconds of idleness.
_PEOPLE, _CONVERSATIONS, _COMPANIES, _IDLE = 60_000, 20, 4, 60.0


def run() -> None:
    with Server("-w", "4", "-b", "0.0.0.0", config=QUIET) as server:
        accounts = make_accounts(server, _PEOPLE)
        make_ring(server, accounts, _CONVERSATIONS // 2, 1)
        who = processes(server)
        before = _private(who["workers"]), _redis_memory(server)
        began = time.monotonic()
        with _crowd(server, accounts) as crowd:
            came = time.monotonic() - began
            used = {name: seconds(pids) for name, pids in who.items()}
            crowd.play(Play(_IDLE, 0.0, in_flight=0))
            cpu = {name: (seconds(pids) - used[name]) / _IDLE for name, pids in who.items()}
            after = _private(who["workers"]), _redis_memory(server)
        began = time.monotonic()
        with _crowd(server, accounts):
            back = time.monotonic() - began
        history.note(
            "idle",
            {
                "connections": _PEOPLE,
                "KiB a connection in the workers": (after[0] - before[0]) / _PEOPLE / 1024,
                "KiB a connection in Redis": (after[1] - before[1]) / _PEOPLE / 1024,
                **{f"% of a core, {name}": share * 100 for name, share in cpu.items()},
                "seconds until all had come": came,
                "seconds until all were back": back,
            },
        )


def _crowd(server: Server, accounts: list[Account]) -> Crew:
    """Connect all accounts.

    The load connects to several addresses, because one pair of addresses has only 28,000 ports.
    """
    addresses = [(f"127.0.0.{n + 1}", server.port) for n in range(_COMPANIES)]
    size = len(accounts) // _COMPANIES
    parts = [accounts[at : at + size] for at in range(0, len(accounts), size)]
    return Crew([roles.pairs(part, [address]) for part, address in zip(parts, addresses, strict=True)])


def _private(pids: list[int]) -> int:
    """Return the bytes of memory that the processes share with no other process."""
    total = 0
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += sum(map(int, re.findall(r"\nPrivate_(?:Clean|Dirty):\s+(\d+)", rollup))) * 1024
    return total


def _redis_memory(server: Server) -> int:
    with redis.Redis(unix_socket_path=str(run_dir(server.data_dir) / "redis.sock")) as client:
        return int(client.info("memory")["used_memory"])
