"""Cursors of a member, gathered in memory and then written, against a real MariaDB."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forkchat.net.lane import ThreadLane
from forkchat.net.loop import EventLoop
from forkchat.runtime import Future, spawn
from forkchat.store import epoch
from forkchat.store.connection import connect
from forkchat.store.cursors import Cursors
from forkchat.store.database import Database
from tests.server import Server, children

_USER, _CONV, _LAST = 7, "g1", 12

#: Steps of a run: the client confirms or reads up to a number, or all cursors are written ("flush").
#: With "own", the client's message of the next number is acknowledged; with "other", another user's.
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("confirm"), st.integers(1, _LAST + 3)),
        st.tuples(st.just("read"), st.integers(1, _LAST + 3)),
        st.tuples(st.sampled_from(["own", "other", "flush"]), st.just(0)),
    ),
    max_size=30,
)


class Row:
    """A membership in a conversation of `_LAST` messages."""

    def __init__(self, url: str):
        self._loop = EventLoop()
        self._database = Database(url, ThreadLane(self._loop, "cursors"))
        self._connection = connect(url)

    def close(self) -> None:
        self._database.close()
        self._connection.close()
        self._loop.close()

    def reset(self) -> None:
        """Begin again with nothing confirmed and nothing gathered."""
        self.cursors = Cursors(self._loop, self._database)
        self.cursors.begin(self.epoch())
        conversation = "REPLACE INTO conversation (conv, last_seq, touched) VALUES (%s, %s, UTC_TIMESTAMP())"
        self._execute(conversation, (_CONV, _LAST))
        self._execute("REPLACE INTO member (user, conv) VALUES (%s, %s)", (_USER, _CONV))

    def flush(self) -> tuple[int, int]:
        """Write the cursors. Return those of the row as `(confirmed, read)`."""
        self._run(self.cursors.flush())
        query = "SELECT recv_seq, read_seq FROM member WHERE user = %s AND conv = %s"
        return self._execute(query, (_USER, _CONV))[0]

    def say(self, *ages: int) -> None:
        """Store messages, from number 1 on, that were sent `ages` seconds ago."""
        now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000"
        for seq, age in enumerate(ages, 1):
            self._execute(
                "REPLACE INTO message (conv, seq, sender, cid, ts, body)"
                f" VALUES (%s, %s, 1, %s, {now} - %s, '{{}}')",
                (_CONV, seq, f"c{seq}", age * 1000),
            )

    def epoch(self) -> str:
        ((value,),) = self._execute("SELECT CAST(value AS CHAR) FROM epoch", ())
        return str(value)

    def renew(self) -> None:
        """Begin a new epoch, as a worker does that has found a loss."""
        self._run(self._database.run(epoch.renew, (self.epoch(),), True))

    def _run(self, work: Awaitable[object]) -> None:
        self.wait(spawn(_wait(work)))

    def wait(self, done: Future[None]) -> None:
        """Run the loop until `done` is done. Raises AssertionError after 10 s."""
        done.add_done_callback(lambda _: self._loop.stop())
        late = self._loop.call_later(10.0, self._loop.stop)
        if not done.done():
            self._loop.run()
        late.cancel()
        assert done.done(), "never done"
        done.result()

    def _execute(self, statement: str, args: tuple[Any, ...]) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, args)
            return list(cursor)


async def _wait(work: Awaitable[object]) -> None:
    await work


@pytest.fixture(scope="module")
def row() -> Iterator[Row]:
    with Server("-w", "1") as server:
        match = re.search(r"--socket=(\S+)", " ".join(children(server.pid).values()))
        assert match
        with closing(Row(f"mysql://root@/forkchat?unix_socket={match[1]}")) as row:
            yield row


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=_steps)
def test_law(row: Row, steps: list[tuple[str, int]]) -> None:
    """Cursors get where they are told to go. They never move back or past the last message.

    Beyond that position they pass only the member's own messages.
    """
    row.reset()
    own: set[int] = set()
    stored, recv, read = 0, 0, 0
    was = (0, 0)
    for step, number in [*steps, ("flush", 0)]:
        if step == "confirm":
            recv = max(recv, number)
            row.cursors.confirm(_USER, _CONV, number)
        elif step == "read":
            read = max(read, number)
            row.cursors.read(_USER, _CONV, number)
        elif step in ("own", "other") and stored < _LAST:
            stored += 1
            if step == "own":
                own.add(stored)
                row.cursors.acknowledge(_USER, _CONV, stored)
        elif step == "flush":
            now = row.flush()
            for at, told, before in zip(now, (recv, read), was, strict=True):
                assert max(before, min(told, _LAST)) <= at <= _LAST
                assert set(range(told + 1, at + 1)) <= own
            was = now


def test_what_was_confirmed_in_one_epoch_is_not_written_in_the_next(row: Row) -> None:
    """No worker writes confirmations of an earlier epoch, whether it has heard of the new epoch or not."""
    row.reset()
    row.cursors.confirm(_USER, _CONV, 5)
    row.renew()
    assert row.flush() == (0, 0)
    row.cursors.confirm(_USER, _CONV, 6)
    row.cursors.begin(row.epoch())
    assert row.flush() == (0, 0)
    row.cursors.confirm(_USER, _CONV, 4)
    assert row.flush() == (4, 0)


def test_a_new_epoch_takes_back_what_was_confirmed_lately(row: Row) -> None:
    """A new epoch moves the cursors back before recent messages.

    A member may have confirmed a lost message whose number another message has now.
    """
    row.reset()
    row.say(*[600] * 9, 20, 10, 0)
    row.cursors.confirm(_USER, _CONV, 11)
    row.cursors.read(_USER, _CONV, 8)
    assert row.flush() == (11, 8)
    row.renew()
    row.cursors.begin(row.epoch())
    assert row.flush() == (9, 8)


def test_a_session_ends_while_all_are_written(row: Row) -> None:
    """Each user's cursors are written by one flush at a time, and no flush waits for ever."""
    row.reset()
    users = range(_USER, _USER + 3)
    for user in users:
        for n in range(1, 251):
            row.cursors.confirm(user, f"g{n}", 1)
    everything = spawn(row.cursors.flush())
    own = [spawn(row.cursors.flush_user(user)) for user in users[1:]]
    for user in users[1:]:
        row.cursors.confirm(user, "g1", 2)
    own += [spawn(row.cursors.flush_user(user)) for user in users[1:]]
    for each in (everything, *own):
        row.wait(each)
    assert row.flush() == (1, 0)
