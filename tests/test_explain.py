"""Tests that every statement of the server uses an index. MariaDB says what ran, and how it would run it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from forkchat.wire import msgid as m
from tests.bench.accounts import database, make_accounts
from tests.server import Server, until
from tests.talk import PASSWORD, UNLIMITED, Classic, Modern

#: Users that make an index worth its while, and rows above which a step is a scan.
_CROWD, _FEW = 3000, 300
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\b\d+\b")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config=UNLIMITED) as server:
        yield server


@pytest.fixture
def cursor(server: Server) -> Iterator[Any]:
    with closing(database(server)) as connection:
        yield connection.cursor()


def fill(server: Server, cursor: Any) -> None:
    """Insert a crowd of friends in a ring, with a conversation for each pair and a group for all."""
    ids = [account.id for account in make_accounts(server, _CROWD)]
    ring = list(pairwise(ids))
    keys = [(f"d{a}-{b}".encode(), a, b) for a, b in ring]
    cursor.execute("INSERT INTO chat_group (name, description) VALUES ('all', '')")
    everyone = f"g{cursor.lastrowid}".encode()
    cursor.executemany("INSERT INTO friend (user, friend) VALUES (%s, %s)", ring)
    cursor.executemany(
        "INSERT INTO conversation (conv, last_seq, touched) VALUES (%s, 2, '2020-01-01')",
        [(key,) for key, _, _ in keys] + [(everyone,)],
    )
    cursor.executemany(
        "INSERT INTO member (user, conv) VALUES (%s, %s)",
        [(user, key) for key, a, b in keys for user in (a, b)] + [(user, everyone) for user in ids],
    )
    cursor.executemany(
        "INSERT INTO message (conv, seq, sender, cid, ts, body) VALUES (%s, %s, %s, %s, 0, '{}')",
        [(key, seq, a, b"%b %d" % (key, seq)) for key, a, _ in keys for seq in (1, 2)],
    )
    cursor.execute("ANALYZE TABLE user, token, friend, conversation, member, message, chat_group")
    cursor.fetchall()


def live(port: int) -> None:
    """Send everything that a client can ask for."""
    with Modern(port).join_in() as li, Modern(port).join_in() as bo, Classic(port).join_in() as old:
        li.done(m.ADD_FRIEND, friendid=bo.id)
        group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
        bo.done(m.ADD_GROUP, groupid=group)
        for msgid, to in ((m.ONE_CHAT, {"toid": bo.id}), (m.GROUP_CHAT, {"groupid": group})):
            ack = li.done(msgid, msg="hi", cid=f"c{msgid}", **to)
            assert li.done(msgid, msg="hi", cid=f"c{msgid}", **to)["dup"]
            bo.tell(m.RECV, c={ack["conv"]: ack["seq"]})
            bo.done(m.READ, conv=ack["conv"], seq=ack["seq"])
            bo.done(m.FETCH, conv=ack["conv"], after=0)
            bo.done(m.FETCH, conv=ack["conv"], before=9)
        li.done(m.SYNC)
        li.done(m.SYNC, after=f"g{group}")
        li.done(m.TYPING, conv=f"g{group}")
        li.done(m.LOOKUP, name=bo.name)
        li.done(m.LOOKUP, id=bo.id)
        for msgid, op in ((m.FRIENDS, {"op": "list"}), (m.FRIENDS, {"op": "remove", "friendid": bo.id})):
            li.done(msgid, **op)
        li.done(m.GROUPS, op="list")
        li.done(m.GROUPS, op="members", groupid=group)
        li.done(m.GROUPS, op="remove", groupid=group, id=bo.id)
        li.done(m.GROUPS, op="leave", groupid=group)
        li.done(m.ACCOUNT, op="password", old=PASSWORD, new="another one")
        li.done(m.ONE_CHAT, msg="later", toid=old.id)
        old.hear()
        token = bo.token
        bo.close()
        with Modern(port) as again:
            until(
                lambda: again.login(token=token)["errno"] == 0, "the session of the lost connection is over"
            )


def test_no_statement_scans_a_table(server: Server, cursor: Any) -> None:
    fill(server, cursor)
    cursor.execute("SET GLOBAL log_output = 'TABLE', GLOBAL general_log = ON")
    live(server.port)

    def statements() -> list[str]:
        cursor.execute(
            "SELECT argument FROM mysql.general_log"
            " WHERE command_type = 'Query' AND thread_id <> CONNECTION_ID()"
        )
        packets = [
            row[0] if isinstance(row[0], str) else row[0].decode(errors="replace")
            for row in cursor.fetchall()
        ]
        return [each for packet in packets for each in re.split("; (?=INSERT|COMMIT)", packet)]

    # Wait for the statements that a worker runs by itself every few seconds.
    until(
        lambda: all(
            any(part in each for each in statements()) for part in ("touched >=", "UPDATE member m JOIN")
        ),
        "the tail was read, the cursors written",
    )
    by_shape = {_LITERAL.sub("?", each): each for each in statements()}
    plans = {
        shape: each
        for shape, each in by_shape.items()
        if each.lstrip("(").startswith(("SELECT", "UPDATE", "DELETE"))
    }
    assert len(plans) > 30
    scans = []
    for shape, statement in plans.items():
        cursor.execute("EXPLAIN " + statement)
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            step = dict(zip(names, row, strict=True))
            if int(step["rows"] or 0) > _FEW:
                scans.append((shape, step))
    assert scans == []
