"""Benchmark of more messages than MySQL can store: rates, delays and peak memory."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.bench.disk import slow_disk
from tests.bench.memory import Peak
from tests.bench.pairs import make_pairs, new_tally
from tests.bench.talker import Talker, Tally, milliseconds, pace
from tests.server import Server
from tests.talk import QUIET

#: Seconds of one disk flush, slow enough for a load generator in Python to exceed the capacity.
#: Seconds of one measurement.
_FLUSH, _SPELL = 0.1, 20.0
_PAIRS, _IN_FLIGHT = 100, 32


def run() -> None:
    with tempfile.TemporaryDirectory() as directory:
        env = slow_disk(Path(directory), _FLUSH)
        with Server("-w", "2", config=QUIET, env=env) as server:
            asyncio.run(_measure(server))


async def _measure(server: Server) -> None:
    talkers = await make_pairs(server, _PAIRS)
    await _spell(talkers, 100, 3)  # the first messages create the conversations
    storable = await _storable(talkers)
    print(f"a flush takes {_FLUSH * 1000:.0f} ms; so {storable:.0f} messages a second can be stored")
    print("offered   sent/s  acked/s  refused/s  p50 ms  p99 ms  shown p99 ms  refused p99 ms  peak MiB")
    for factor in (0.5, 1, 2, 4, 0.5):
        with Peak(server.workers().values()) as peak:
            tally = await _spell(talkers, factor * storable, _SPELL)
        print(
            f"{factor:5.1f} x {tally.sent / _SPELL:8.0f} {len(tally.acked) / _SPELL:8.0f}"
            f" {len(tally.refused) / _SPELL:10.0f} {milliseconds(tally.acked, 0.5):7.0f}"
            f" {milliseconds(tally.acked, 0.99):7.0f} {milliseconds(tally.shown, 0.99):13.0f}"
            f" {milliseconds(tally.refused, 0.99):15.0f}  {peak}",
            flush=True,
        )


async def _storable(talkers: list[Talker]) -> float:
    """Return the messages a second that can be stored, with enough in flight to fill every batch."""
    tally = new_tally(talkers)
    for talker in talkers:
        talker.saturate(_IN_FLIGHT)
    await asyncio.sleep(5)
    begun, before = time.monotonic(), len(tally.acked)
    await asyncio.sleep(10)
    rate = (len(tally.acked) - before) / (time.monotonic() - begun)
    for talker in talkers:
        talker.window = 0
    await _settled(tally)
    return rate


async def _spell(talkers: list[Talker], rate: float, seconds: float) -> Tally:
    """Send `rate` messages a second for `seconds`; return the tally."""
    tally = new_tally(talkers)
    await pace(talkers, rate, seconds)
    await _settled(tally)
    return tally


async def _settled(tally: Tally) -> None:
    """Wait until all messages are answered, and all acknowledged messages were shown."""
    while len(tally.acked) + len(tally.refused) < tally.sent or len(tally.shown) < len(tally.acked):
        await asyncio.sleep(0.01)
