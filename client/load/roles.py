"""The roles of a load's connections: pairs that talk to and fro, or members of one group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from client.load.speaker import Address, Role
from forkchat.wire import msgid as m
from forkchat.wire.frames import line

_TEXT = "hello, how are you today?"


class Account(NamedTuple):
    id: int
    token: str


def opening(account: Account) -> bytes:
    """Return the frames that log in. The server sends two answers to them."""
    return line({"msgid": m.HELLO}) + line({"msgid": m.LOGIN, "token": account.token, "takeover": True})


def pairs(
    accounts: Sequence[Account], addresses: Sequence[Address], is_ephemeral: bool = False
) -> list[Role]:
    """Return the roles of neighbouring accounts that talk in pairs. One of each pair begins.

    The roles take the addresses in turns.
    """
    return [
        Role(
            addresses[at % len(addresses)],
            opening(account),
            2,
            _frame(m.ONE_CHAT, f'"toid":{accounts[at ^ 1].id}', is_ephemeral),
            b'"id":%d,"toid":' % accounts[at ^ 1].id,  # not its own messages, which come when a gap is filled
            (at ^ 1,),
            begins=at % 2 == 0,
        )
        for at, account in enumerate(accounts)
    ]


def group(accounts: Sequence[Account], addresses: Sequence[Address], number: int) -> list[Role]:
    """Return the roles of the members of group `number`, who all talk to all others."""
    everyone = range(len(accounts))
    return [
        Role(
            addresses[at % len(addresses)],
            opening(account),
            2,
            _frame(m.GROUP_CHAT, f'"groupid":{number}', False),
            b'{"msgid":%d,' % m.GROUP_CHAT,
            tuple(other for other in everyone if other != at),
        )
        for at, account in enumerate(accounts)
    ]


def _frame(msgid: int, target: str, is_ephemeral: bool) -> bytes:
    """Return a chat frame as bytes.

    An ephemeral message wants no answer. Any other has a `cid` and is acknowledged.
    """
    kind = '"ephemeral":true' if is_ephemeral else '"rid":%d,"cid":"%d"'
    return f'{{"msgid":{msgid},{kind},{target},"msg":"{_TEXT}"}}\n'.encode()
