"""A database that goes back in time under running workers: clients are sent away and told of it."""

from __future__ import annotations

import re
from contextlib import closing

from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.server import Server, children, until
from tests.talk import Modern


def epoch(server: Server) -> str:
    return Modern(server.port, greet=False).done(m.HELLO)["epoch"]


def test_a_conversation_that_goes_back_ends_the_epoch() -> None:
    with Server("-w", "2") as server:
        li, bo = (Modern(server.port).join_in() for _ in range(2))
        for n in range(3):
            li.done(m.ONE_CHAT, toid=bo.id, msg=f"{n}")
            bo.push(m.ONE_CHAT)
        before = epoch(server)
        greeted = [Modern(server.port) for _ in range(2)]
        match = re.search(r"--socket=(\S+)", " ".join(children(server.pid).values()))
        assert match
        with closing(connect(f"mysql://root@/forkchat?unix_socket={match[1]}")) as connection:
            cursor, conv = connection.cursor(), pair_key(li.id, bo.id).encode()
            cursor.execute("DELETE FROM message WHERE conv = %s AND seq > 1", (conv,))
            cursor.execute(
                "UPDATE conversation SET last_seq = 1, touched = UTC_TIMESTAMP(3) WHERE conv = %s", (conv,)
            )
        for client in (li, bo):
            assert client.push(m.BYE)["reason"] == "draining"
        until(lambda: epoch(server) != before, "the new epoch")
        for client, old in zip(greeted, (li, bo), strict=True):
            client.say(m.LOGIN, token=old.token)
            assert client.push(m.BYE)["reason"] == "draining"
