"""Benchmark of 20,000 connections at once, and again after a restart of the server."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import shutil
import signal
import socket
import time
from multiprocessing.sharedctypes import Synchronized

from client.load.roles import Account
from forkchat.process.embedded import run_dir
from forkchat.wire import msgid as m
from tests.bench.accounts import make_accounts
from tests.bench.memory import Peak
from tests.bench.talker import Json, Talker, Tally
from tests.server import Server, make_data_dir, until

_CONNECTIONS, _PROCESSES = 20_000, 4


class Guest(Talker):
    """A client that logs in by token, and again after each disconnect."""

    def __init__(self, account: Account, at: tuple[int, str], inside: Synchronized[int]):
        super().__init__(Tally())
        self._account = account
        self._at = at
        self._inside = inside
        self._retry_after = 0.0
        self._over = asyncio.Event()

    async def stay(self) -> None:
        while True:
            self._over.clear()
            try:
                await self.open(*self._at)
                answer = await self.log_in(self._account.token)
            except OSError:
                answer = {"errno": -1}
            if answer["errno"] == 0:
                self._count(1)
                await self._over.wait()
                self._count(-1)
                await asyncio.sleep(self._retry_after)
            else:
                await asyncio.sleep(answer.get("retry_after", random.uniform(0.5, 2)))

    def _count(self, more: int) -> None:
        with self._inside.get_lock():
            self._inside.value += more

    def on_frame(self, message: Json) -> None:
        if message["msgid"] == m.BYE:
            self._retry_after = message.get("retry_after", 1.0)
        super().on_frame(message)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._over.set()


def run() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    data_dir = make_data_dir()
    inside = multiprocessing.Value("l", 0)
    crowd: list[multiprocessing.Process] = []
    try:
        with Server("-w", "4", "-p", str(port), data_dir=data_dir) as server:
            accounts = make_accounts(server, _CONNECTIONS)
            crowd += [
                multiprocessing.Process(target=_guests, args=(accounts[n::_PROCESSES], port, n, inside))
                for n in range(_PROCESSES)
            ]
            with Peak(server.workers().values()) as peak:
                for each in crowd:
                    each.start()
                print(f"all at once: {_all_in(inside):.1f} s until {_CONNECTIONS} are logged in; MiB {peak}")
            begun = time.monotonic()
            server.send(signal.SIGTERM)
            server.wait(60)
            print(f"told to end, the server ended in {time.monotonic() - begun:.1f} s", flush=True)
        with Server("-w", "4", "-p", str(port), data_dir=data_dir) as server:
            print(f"started again, it served {time.monotonic() - begun:.1f} s after being told to end")
            with Peak(server.workers().values()) as peak:
                print(f"all are back {_all_in(inside):.1f} s after that; MiB {peak}", flush=True)
    finally:
        for each in crowd:
            each.kill()
        shutil.rmtree(run_dir(data_dir), ignore_errors=True)
        shutil.rmtree(data_dir, ignore_errors=True)


def _all_in(inside: Synchronized[int]) -> float:
    begun = time.monotonic()
    until(lambda: inside.value >= _CONNECTIONS, "all are inside", 300)
    return time.monotonic() - begun


def _guests(accounts: list[Account], port: int, number: int, inside: Synchronized[int]) -> None:
    async def come() -> None:
        at = port, f"127.0.1.{number + 1}"
        await asyncio.gather(*(Guest(each, at, inside).stay() for each in accounts))

    asyncio.run(come())
