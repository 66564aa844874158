"""The laws hold while each nemesis strikes once, two at a time. `make soak` runs more rounds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults import nemeses
from tests.faults.round import strike
from tests.faults.world import World

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces are made by root alone")

FAMILIES = {
    "processes and redis": nemeses.PROCESSES | nemeses.REDIS,
    "mysql and machines": nemeses.MYSQL | nemeses.MACHINES,
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken(world: World, family: str) -> None:
    report = strike(world, list(FAMILIES[family]), strikers=2)
    assert report.is_good, report
    assert report.acknowledged > 500
