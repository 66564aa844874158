"""People who talk two by two, each to one other."""

from __future__ import annotations

from tests.bench.accounts import make_accounts
from tests.bench.talker import Talker, Tally
from tests.server import Server


async def make_pairs(server: Server, count: int) -> list[Talker]:
    """Logged in: `count` ones, then those whom they talk to."""
    accounts = make_accounts(server, 2 * count)
    talkers = [Talker(Tally()) for _ in accounts]
    for n, talker in enumerate(talkers):
        await talker.open(server.port)
        await talker.log_in(accounts[n].token)
        talker.address(toid=accounts[n - count].id)
    return talkers


def new_tally(talkers: list[Talker]) -> Tally:
    """What they see from now on goes there."""
    tally = Tally()
    for talker in talkers:
        talker.tally = tally
    return tally
