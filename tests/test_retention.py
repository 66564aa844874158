"""Old messages are deleted where the configuration says so, and nothing else is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from forkchat.store.retention import prune
from forkchat.wire import msgid as m
from tests.bench.accounts import database
from tests.server import Server, until
from tests.talk import UNLIMITED, Modern

_DAY = 86_400_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config=UNLIMITED) as server:
        yield server


@pytest.fixture
def cursor(server: Server) -> Iterator[Any]:
    """A cursor of an empty database, on which a pass is due."""
    with closing(database(server)) as connection, connection.cursor() as cursor:
        for table in ("message", "conversation", "member"):
            cursor.execute("DELETE FROM " + table)
        cursor.execute("UPDATE retention SET done = '', due = '2000-01-01'")
        yield cursor


def fill(cursor: Any, conv: str, ages: list[int]) -> None:
    """Store a conversation whose messages have these ages in days."""
    cursor.execute("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000")
    now = cursor.fetchone()[0]
    cursor.execute(
        "INSERT INTO conversation (conv, last_seq, touched) VALUES (%s, %s, '2000-01-01')", (conv, len(ages))
    )
    cursor.executemany(
        "INSERT INTO message (conv, seq, sender, cid, ts, body) VALUES (%s, %s, 1, %s, %s, '{}')",
        [(conv, seq, f"{conv} {seq}", now - age * _DAY - 1) for seq, age in enumerate(ages, 1)],
    )


def kept(cursor: Any, conv: str) -> list[int]:
    """Return the numbers of a conversation's messages. Check that its `first_seq` and `last_seq` match."""
    cursor.execute("SELECT seq FROM message WHERE conv = %s ORDER BY seq", (conv,))
    seqs = [row[0] for row in cursor]
    cursor.execute("SELECT first_seq, last_seq FROM conversation WHERE conv = %s", (conv,))
    first, last = cursor.fetchone()
    assert seqs == list(range(first, last + 1))
    return seqs


def passed(cursor: Any, days: int, newest: int) -> int:
    """Run a whole pass, and return the number of its steps."""
    steps = 1
    while prune(cursor, days, newest):
        steps += 1
    return steps


@pytest.mark.parametrize(
    ("days", "newest", "left"),
    [
        (0, 2, [4, 5]),
        (3, 0, [3, 4, 5]),
        (3, 2, [4, 5]),
        (8, 4, [2, 3, 4, 5]),
        (1, 0, [5]),
        (400, 9, [1, 2, 3, 4, 5]),
    ],
)
def test_what_is_kept(cursor: Any, days: int, newest: int, left: list[int]) -> None:
    fill(cursor, "g1", [9, 4, 2, 1, 0])
    passed(cursor, days, newest)
    assert kept(cursor, "g1") == left


def test_all_may_be_too_old(cursor: Any) -> None:
    fill(cursor, "g1", [9, 8])
    passed(cursor, 1, 0)
    assert kept(cursor, "g1") == []


def test_a_step_is_small_and_a_pass_comes_to_all(cursor: Any) -> None:
    for number in range(150):
        fill(cursor, f"g{number}", [1] * (700 if number % 50 == 7 else 3))
    before = 3 * 700 + 147 * 3
    steps = 0
    while prune(cursor, 0, 2):
        steps += 1
        cursor.execute("SELECT COUNT(*) FROM message")
        left = cursor.fetchone()[0]
        assert before - left <= 500
        before = left
    assert steps > 3
    assert all(len(kept(cursor, f"g{number}")) == 2 for number in range(150))


def test_the_next_pass_comes_later_and_begins_anew(cursor: Any) -> None:
    fill(cursor, "g1", [0] * 5)
    passed(cursor, 0, 4)
    assert not prune(cursor, 0, 1)
    assert kept(cursor, "g1") == [2, 3, 4, 5]
    cursor.execute("UPDATE retention SET due = '2000-01-01'")
    passed(cursor, 0, 1)
    assert kept(cursor, "g1") == [5]


def test_one_worker_at_a_time(server: Server, cursor: Any) -> None:
    fill(cursor, "g1", [0] * 5)
    with closing(database(server)) as other, other.cursor() as busy:
        other.begin()
        busy.execute("SELECT 1 FROM retention WHERE one = 1 FOR UPDATE")
        assert not prune(cursor, 0, 1)
        other.rollback()
    assert kept(cursor, "g1") == [1, 2, 3, 4, 5]


def test_a_server_that_is_told_to() -> None:
    """Retention is switched on while the server runs.

    A client that reads earlier messages begins where the conversation begins.
    """
    with (
        Server("-w", "2", config=UNLIMITED) as server,
        Modern(server.port).join_in() as li,
        Modern(server.port).join_in() as bo,
    ):
        for number in range(1, 11):
            ack = li.done(m.ONE_CHAT, toid=bo.id, msg=f"{number}", cid=f"{number}")
        conv = ack["conv"]
        server.config_path.write_text(UNLIMITED + "[retention]\nmessages = 3\n")
        server.send(signal.SIGHUP)
        until(lambda: bo.done(m.FETCH, conv=conv, after=0)["first"] == 8, "all but three are deleted")
        assert [each["seq"] for each in bo.done(m.FETCH, conv=conv, after=0)["msgs"]] == [8, 9, 10]
        assert li.done(m.ONE_CHAT, toid=bo.id, msg="next")["seq"] == 11
