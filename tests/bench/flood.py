"""Benchmark of strangers who guess passwords at full speed: the effect on logged-in users."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
from contextlib import suppress
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

from forkchat.wire import msgid as m
from tests.bench.pairs import make_pairs, new_tally
from tests.bench.talker import Talker, Tally, milliseconds, pace
from tests.server import Server

_PAIRS, _RATE, _SPELL = 100, 1000, 20.0
_STRANGERS = 200


def run() -> None:
    """Measure with the default limits. Each guess is for another account, from another address."""
    with Server("-w", "2") as server:
        asyncio.run(_measure(server))


async def _measure(server: Server) -> None:
    talkers = await make_pairs(server, _PAIRS)
    await pace(talkers, _RATE, 2)
    print(f"{_RATE} messages a second  acked/s  p50 ms  p99 ms  shown p99 ms  guesses/s")
    for is_flooded in (False, True, False, True):
        tally = new_tally(talkers)
        over, guesses = multiprocessing.Event(), multiprocessing.Value("l", 0)
        strangers = multiprocessing.Process(target=_flood, args=(server.port, over, guesses))
        if is_flooded:
            strangers.start()
            await asyncio.sleep(2)
        guesses.value = 0
        await pace(talkers, _RATE, _SPELL)
        rate = guesses.value / _SPELL
        if is_flooded:
            over.set()
            await asyncio.to_thread(strangers.join)
        print(
            f"{'flooded' if is_flooded else 'quiet':22} {len(tally.acked) / _SPELL:7.0f}"
            f" {milliseconds(tally.acked, 0.5):7.1f} {milliseconds(tally.acked, 0.99):7.1f}"
            f" {milliseconds(tally.shown, 0.99):13.1f} {rate:10.0f}",
            flush=True,
        )


def _flood(port: int, over: Event, guesses: Synchronized[int]) -> None:
    """Guess passwords at the lowest priority.

    Attackers on another machine would take no processor time from the server.
    """
    os.nice(19)

    async def guess() -> None:
        await asyncio.gather(*(_guess(n, port, over, guesses) for n in range(_STRANGERS)))

    asyncio.run(guess())


async def _guess(number: int, port: int, over: Event, guesses: Synchronized[int]) -> None:
    """Make one guess after another, as fast as the server answers."""
    count = 0
    while not over.is_set():
        talker = Talker(Tally())
        count += 1
        with suppress(OSError):
            await talker.open(port, source=f"127.{number + 1}.{count // 250 % 250 + 1}.{count % 250 + 1}")
            await talker.ask({"msgid": m.HELLO})
            await talker.ask({"msgid": m.LOGIN, "name": secrets.token_hex(8), "password": "guess"})
            guesses.value += 1
            talker.transport.abort()
