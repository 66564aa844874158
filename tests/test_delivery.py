"""The promise: what was acknowledged is shown once and in order, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.checker import talk_under
from tests.server import Server, children

_UNLIMITED = "[limits]\nmessage_rate = 0\nlogin_rate = 0\nregister_rate = 0\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "4", config=_UNLIMITED) as server:
        yield server


def redis_socket(server: Server) -> Path:
    titles = [title for title in children(server.pid).values() if "redis-server" in title]
    match = re.search(r"unixsocket:(\S+)", titles[0])
    assert match
    return Path(match[1])


def _kill_worker(server: Server) -> None:
    workers = list(server.workers().values())
    os.kill(random.choice(workers), signal.SIGKILL)


def _kill_service(name: str) -> Callable[[Server], None]:
    def strike(server: Server) -> None:
        pid = server.service(name)
        if pid is not None:  # else it is being restarted after the last strike
            os.kill(pid, signal.SIGKILL)

    return strike


def _redis_command(*command: str) -> Callable[[Server], None]:
    def strike(server: Server) -> None:
        with redis.Redis(unix_socket_path=str(redis_socket(server))) as client:
            client.execute_command(*command)

    return strike


NEMESES = {
    "worker": _kill_worker,
    "redis": _kill_service("redis-server"),
    "mariadb": _kill_service("mariadbd"),
    "pubsub": _redis_command("CLIENT", "KILL", "TYPE", "pubsub"),
    "flushall": _redis_command("FLUSHALL"),
}


@pytest.mark.parametrize("nemesis", NEMESES)
def test_acknowledged_is_shown_once_and_in_order(server: Server, nemesis: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    async def strike() -> None:
        NEMESES[nemesis](server)

    acknowledged = asyncio.run(talk_under(server.port, nemesis, seed, strike, strikes=3, pause=1.2))
    assert acknowledged > 500
    assert "Traceback" not in server.log()
