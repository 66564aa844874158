"""A database that goes back in time under running workers, which then send their clients a BYE."""

from __future__ import annotations

import re
from contextlib import closing

import pytest

from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.server import Server, children, until
from tests.talk import Modern, come_back


def epoch(server: Server) -> str:
    return Modern(server.port, greet=False).done(m.HELLO)["epoch"]


def go_back(server: Server, conv: str) -> None:
    """Cut the conversation back to its first message."""
    match = re.search(r"--socket=(\S+)", " ".join(children(server.pid).values()))
    assert match
    with closing(connect(f"mysql://root@/forkchat?unix_socket={match[1]}")) as connection:
        cursor, key = connection.cursor(), conv.encode()
        cursor.execute("DELETE FROM message WHERE conv = %s AND seq > 1", (key,))
        cursor.execute(
            "UPDATE conversation SET last_seq = 1, touched = UTC_TIMESTAMP(3) WHERE conv = %s", (key,)
        )


@pytest.mark.parametrize("is_followed", [True, False], ids=["by those who are here", "by its numbers alone"])
def test_a_conversation_that_goes_back_ends_the_epoch(is_followed: bool) -> None:
    """Workers notice the loss of messages that they have delivered.

    If all clients have reconnected since, a worker notices that a number is given twice.
    """
    with Server("-w", "2" if is_followed else "1") as server:
        li, bo = (Modern(server.port).join_in() for _ in range(2))
        for n in range(3):
            li.done(m.ONE_CHAT, toid=bo.id, msg=f"{n}")
            bo.push(m.ONE_CHAT)
        before = epoch(server)
        if not is_followed:
            li, bo = (come_back(server.port, client) for client in (li, bo))
        greeted = [Modern(server.port) for _ in range(2)]
        go_back(server, pair_key(li.id, bo.id))
        if not is_followed:
            assert li.done(m.ONE_CHAT, toid=bo.id, msg="again")["seq"] == 2
        for client in (li, bo):
            assert client.push(m.BYE)["reason"] == "draining"
        until(lambda: epoch(server) != before, "the new epoch")
        for client, old in zip(greeted, (li, bo), strict=True):
            client.say(m.LOGIN, token=old.token)
            assert client.push(m.BYE)["reason"] == "draining"
