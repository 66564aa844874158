"""The promise, with everything that can break: each nemesis strikes once. More of it: `make soak`."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from itertools import count

import pytest

from tests.faults import nemeses
from tests.faults.broken import BREAKAGES
from tests.faults.round import Report, Round
from tests.faults.world import World

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces are made by root alone")

FAMILIES = {
    "processes": nemeses.PROCESSES,
    "redis": nemeses.REDIS,
    "mysql": nemeses.MYSQL,
    "machines": nemeses.MACHINES,
}
_numbers = count()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as world:
        yield world


def strike(world: World, plan: list[str], patience: float = 40.0) -> Report:
    """A round in which these strike, in a random order."""
    seed = random.randrange(2**32)
    random.Random(seed).shuffle(plan)
    report = asyncio.run(
        Round(world, seed, f"r{next(_numbers)}x", patience).run(plan, calm=1.0 if plan else 3.0)
    )
    print(report)
    return report


@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken(world: World, family: str) -> None:
    report = strike(world, list(FAMILIES[family]))
    assert report.is_good, report
    assert report.acknowledged > 500


@pytest.mark.parametrize(
    ("breakage", "plan", "law"),
    [
        ("publish_before_commit", ["worker killed", "mysql killed"], "one_cid_one_message"),
        ("drop_a_publish", [], "soon"),
        ("skip_reconciliation", ["redis cuts subscribers"], "nothing_is_lost"),
        ("forget_the_cid_index", ["worker killed"], "one_cid_one_message"),
    ],
)
def test_a_server_that_is_broken_on_purpose_is_caught(breakage: str, plan: list[str], law: str) -> None:
    with World(breakage=breakage) as world:
        assert law in strike(world, plan, patience=5.0).broken


def test_every_breakage_is_tried() -> None:
    marks = test_a_server_that_is_broken_on_purpose_is_caught.pytestmark  # type: ignore[attr-defined]
    assert {breakage for breakage, _, _ in marks[0].args[1]} == BREAKAGES.keys()
