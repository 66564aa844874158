"""Benchmark of a group of 1,000 online members: the effect of 50 that do not read on all others."""

from __future__ import annotations

import asyncio

from forkchat.wire import msgid as m
from tests.bench.accounts import make_accounts
from tests.bench.memory import Peak
from tests.bench.pairs import new_tally
from tests.bench.talker import Talker, Tally, milliseconds, pace
from tests.server import Server
from tests.talk import QUIET

_MEMBERS, _DEAF, _SPEAKERS = 1000, 50, 20
#: Messages a second.
#: Bytes of a message. All together are 1.8 MB for each member, more than a connection buffers.
#: Seconds of one measurement.
_RATE, _SIZE, _SPELL = 10.0, 4000, 45.0


def run() -> None:
    with Server("-w", "2", config=QUIET) as server:
        asyncio.run(_measure(server))


async def _measure(server: Server) -> None:
    accounts = make_accounts(server, _MEMBERS)
    members = [Talker(Tally()) for _ in accounts]
    for number, (member, account) in enumerate(zip(members, accounts, strict=True)):
        await member.open(server.port, buffer=4096 if number < _DEAF else 0)
        await member.log_in(account.token)
    group = (await members[-1].ask({"msgid": m.CREATE_GROUP, "groupname": "all"}))["groupid"]
    for member in members[:-1]:
        await member.ask({"msgid": m.ADD_GROUP, "groupid": group})
    for member in members:
        member.address(groupid=group)
    print(f"{_RATE:.0f} messages a second  acked/s  p50 ms  p99 ms  shown/s  shown p50, p99 ms  peak MiB")
    for is_deaf in (False, True):
        tally = new_tally(members[_DEAF:])
        if is_deaf:
            for member in members[:_DEAF]:
                member.transport.pause_reading()
        with Peak(server.workers().values()) as peak:
            await pace(members[-_SPEAKERS:], _RATE, _SPELL, "x" * _SIZE)
            await asyncio.sleep(1)
        print(
            f"{f'{_DEAF} do not read' if is_deaf else 'all read':20} {len(tally.acked) / _SPELL:7.1f}"
            f" {milliseconds(tally.acked, 0.5):7.1f} {milliseconds(tally.acked, 0.99):7.1f}"
            f" {len(tally.shown) / _SPELL:8.0f}  {milliseconds(tally.shown, 0.5):8.1f},"
            f" {milliseconds(tally.shown, 0.99):7.1f}  {peak}",
            flush=True,
        )
