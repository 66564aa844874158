"""The server, broken on purpose, to check that the laws notice."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.broken import BREAKAGES
from tests.faults.round import strike
from tests.faults.world import World

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces are made by root alone")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(breakage="skip_reconciliation") as world:
        yield world


@pytest.mark.parametrize(
    ("breakage", "plan", "law"),
    [
        (
            "publish_before_commit",
            ["worker killed", "mysql killed", "mysql killed"],
            "what_was_acknowledged_is_kept",
        ),
        ("drop_a_publish", [], "soon"),
        ("skip_reconciliation", ["redis cuts subscribers"], "nothing_is_lost"),
        ("forget_the_cid_index", ["worker killed"], "one_cid_one_message"),
    ],
)
def test_a_server_that_is_broken_on_purpose_is_caught(
    world: World, breakage: str, plan: list[str], law: str
) -> None:
    world.break_it(breakage)
    assert law in strike(world, plan, patience=5.0).broken


def test_every_breakage_is_tried() -> None:
    marks = test_a_server_that_is_broken_on_purpose_is_caught.pytestmark  # type: ignore[attr-defined]
    assert {breakage for breakage, _, _ in marks[0].args[1]} == BREAKAGES.keys()
