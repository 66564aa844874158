"""Tests of a server that spoils what it sends: a few strikes of every kind.

`python -m tests.spoiled` does them all.
"""

from __future__ import annotations

import asyncio

from tests.server import Server
from tests.spoiled.proxy import Strike
from tests.spoiled.sweep import CONFIG, Report, sweep

#: Whole names of the strikes, each with its step.
STRIKES = (
    "HELLO_ACK 1, removed: epoch",
    "HELLO_ACK 2, cut: in the middle",
    "HELLO_ACK 2, limits: page = 9223372036854775808",
    "LOGIN_ACK 1, BYE: replaced",
    "LOGIN_ACK 2, type: token = None",
    "LOGIN_ACK 2, other id: id + 1",
    "PAGE 1, number: last + 4611686018427387904",
    "PAGE 1, removed: more",
    "ACK of FRIENDS 1, msgid: 2",
    "ACK of ONE_CHAT 1, garbage: nothing",
    "ACK of ONE_CHAT 1, number: seq + 5",
    "ACK of ONE_CHAT 1, twice: twice",
    "ACK of GROUP_CHAT 1, errno: 8, again after 1e-09",
    "ONE_CHAT 1, garbage: invalid UTF-8",
    "GROUP_CHAT 1, foreign: a message in d4294967294-4294967295 before",
    "RECEIPT 1, cut: half-close after",
    "TYPING 1, BYE: draining",
    "EVENT group_left 1, delay: 1 s",
)


def test_all_is_well_again() -> None:
    def choose(strikes: list[Strike]) -> list[Strike]:
        found = [strike for strike in strikes if str(strike) in STRIKES]
        assert {str(strike) for strike in found} == set(STRIKES)
        return found

    report = Report()
    with Server("-w", "1", config=CONFIG) as server:
        asyncio.run(sweep(server.port, report, choose, tables=len(STRIKES)))
    assert report.breaches == []
    assert sum(report.cells.values()) == len(STRIKES)
