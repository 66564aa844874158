"""Confirmations: a client confirms only messages that it was given, in its own conversations.

Confirmations cost other clients nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from forkchat.wire import msgid as m
from tests.bench.resubscribe import resubscribe
from tests.server import Server, pss
from tests.talk import PASSWORD, UNLIMITED, Message, Modern

_HUGE = 10**15


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config=UNLIMITED) as server:
        yield server


def _epoch(server: Server) -> str:
    return str(Modern(server.port, greet=False).done(m.HELLO, ver=1)["epoch"])


def _standing(client: Modern, conv: str) -> Message:
    return next(each for each in client.done(m.SYNC)["convs"] if each["conv"] == conv)


def _come_again(server: Server, client: Modern) -> Modern:
    client.done(m.LOGINOUT)
    again = Modern(server.port)
    assert again.login(name=client.name, password=PASSWORD)["errno"] == 0
    return again


@pytest.mark.parametrize("is_first", [False, True], ids=["in a conversation", "before there is one"])
def test_confirming_more_than_there_is(server: Server, is_first: bool) -> None:
    """The epoch does not change. Later messages are shown, and do not count as confirmed."""
    epoch = _epoch(server)
    li, bo = (Modern(server.port).join_in() for _ in range(2))
    conv = f"d{li.id}-{bo.id}"
    count = 0
    if not is_first:
        count = li.done(m.ONE_CHAT, toid=bo.id, msg="0", cid="0")["seq"]
        bo.push(m.ONE_CHAT)
    for client in (li, bo):
        client.tell(m.RECV, c={conv: _HUGE})
        client.ask(m.READ, conv=conv, seq=_HUGE)
    for n in range(1, 4):
        li.done(m.ONE_CHAT, toid=bo.id, msg=f"{n}", cid=f"{n}")
        assert bo.push(m.ONE_CHAT)["msg"] == f"{n}"
    again = _come_again(server, bo)
    standing = _standing(again, conv)
    assert (standing["last"], standing["recv"], standing["read"]) == (count + 3, count, count)
    assert _epoch(server) == epoch
    assert "store.regressed" not in server.log()


def test_confirming_what_was_given(server: Server) -> None:
    """A client can confirm all messages that came live, by FETCH, or in the login's list."""
    li, bo = (Modern(server.port).join_in() for _ in range(2))
    conv = f"d{li.id}-{bo.id}"
    li.done(m.ONE_CHAT, toid=bo.id, msg="live", cid="1")
    bo.push(m.ONE_CHAT)
    bo.tell(m.RECV, c={conv: 1})
    bo = _come_again(server, bo)
    assert _standing(bo, conv)["recv"] == 1
    bo.done(m.LOGINOUT)
    for n in (2, 3):
        li.done(m.ONE_CHAT, toid=bo.id, msg="missed", cid=f"{n}")
    assert bo.login(name=bo.name, password=PASSWORD)["convs"][0]["last"] == 3
    bo.tell(m.RECV, c={conv: 3})
    bo = _come_again(server, bo)
    assert _standing(bo, conv)["recv"] == 3
    bo.done(m.FETCH, conv=conv, after=0)
    bo.tell(m.RECV, c={conv: 3})
    assert _standing(_come_again(server, bo), conv)["recv"] == 3


def test_confirming_what_is_others(server: Server) -> None:
    """A client confirms thousands of conversations in which it has no part.

    The server keeps nothing of this. The session ends without delay, and other clients are not delayed.
    """
    li, bo, mallory = (Modern(server.port).join_in() for _ in range(3))
    li.done(m.ONE_CHAT, toid=bo.id, msg="hi", cid="1")
    bo.push(m.ONE_CHAT)
    before = sum(map(pss, server.workers().values()))
    for n in range(40):
        strange = {f"d{n + 1}-{1_000_000 + k}": _HUGE for k in range(1500)}
        mallory.tell(m.RECV, c=strange | {f"d{li.id}-{bo.id}": 1, f"g{n + 1}": 7})
    mallory.done(m.PING)
    began = time.monotonic()
    mallory = _come_again(server, mallory)
    assert time.monotonic() - began < 5  # 12 to 21 s when the cursors of others were kept
    assert sum(map(pss, server.workers().values())) - before < 16
    assert _standing(_come_again(server, bo), f"d{li.id}-{bo.id}")["recv"] == 0
    assert mallory.done(m.SYNC)["convs"] == []
    assert "lease.lost" not in server.log()


def test_many_subscriptions_are_taken_up_again() -> None:
    """A worker restores 30,000 subscriptions in time.

    Earlier they never came back, because each confirmation searched all of them.
    """
    assert resubscribe(30_000).seconds < 15
