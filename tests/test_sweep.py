"""The error sweep, a little of it: `make sweep` strikes every statement and command in every way."""

from __future__ import annotations

import asyncio

from tests.server import Server
from tests.sweep.scenario import SPECIALS, Scenario
from tests.sweep.strikes import Strike
from tests.sweep.sweep import missing, wave
from tests.sweep.world import World

#: What begins so, and how it fails: where something is left half-way most easily.
NASTY = [
    ("conversations.locate: SELECT conv", "4999"),
    ("conversations.of", "9001"),
    ("cursors.", "4999"),
    ("COMMIT (friends.add)", "4999-after"),
    ("append.insert_and_commit", "2013"),
    ("EVAL presence.RELEASE", "WEIRD"),
    ("EVAL presence.CLAIM", "null"),
    ("EXPIRE lease:*", "READONLY"),
    ("GET {u#}:session", "array"),
    ("EVAL rates.COUNT", "array"),
    ("SUBSCRIBE g#", "NOPERM"),
    ("PUBLISH g#", "cut-after"),
    ("PUBLISH u#", "array"),
]


def test_sweep() -> None:
    """The scenario sends every statement and command of the source. Some fail, and all is well again."""
    with Server("-w", "1") as owner:
        asyncio.run(_sweep(owner))


async def _sweep(owner: Server) -> None:
    async with World(owner) as world:
        scenario = Scenario(world)
        await scenario.start()
        try:
            assert not await scenario.play(set(SPECIALS) - {"kill", "slow"})
            assert not await scenario.play({"kill"})  # a forgotten lease is nobody's to clear up
            assert not missing(set(world.seen.counts))
            kinds = sorted(world.seen.counts)
            strikes = [
                Strike(next(kind for kind in kinds if kind.startswith(begin)), fault)
                for begin, fault in NASTY
            ]
            result = await wave(scenario, strikes, set())
            assert not result.wrong, result
            assert all(strike.hits for strike in strikes), strikes
        finally:
            await scenario.stop()
