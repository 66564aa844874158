"""Pairs of users who talk only to each other."""

from __future__ import annotations

from tests.bench.accounts import make_accounts
from tests.bench.talker import Talker, Tally
from tests.server import Server


async def make_pairs(server: Server, count: int) -> list[Talker]:
    """Log in `count` pairs: first one user of each pair, then the other of each."""
    accounts = make_accounts(server, 2 * count)
    talkers = [Talker(Tally()) for _ in accounts]
    for n, talker in enumerate(talkers):
        await talker.open(server.port)
        await talker.log_in(accounts[n].token)
        talker.address(toid=accounts[n - count].id)
    return talkers


def new_tally(talkers: list[Talker]) -> Tally:
    """Return a new tally that collects all the talkers' results from now on."""
    tally = Tally()
    for talker in talkers:
        talker.tally = tally
    return tally
