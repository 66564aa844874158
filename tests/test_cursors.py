"""How far a member has read, as it is gathered and then written, against a real MariaDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forkchat.net.lane import ThreadLane
from forkchat.net.loop import EventLoop
from forkchat.runtime import spawn
from forkchat.store.connection import connect
from forkchat.store.cursors import Cursors
from forkchat.store.database import Database
from tests.server import Server, children

_USER, _CONV, _LAST = 7, "g1", 12

#: What may happen: the client confirms or reads up to a number, its own message of the next number is
#: acknowledged (or that of someone else is), all is written.
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("confirm"), st.integers(1, _LAST + 3)),
        st.tuples(st.just("read"), st.integers(1, _LAST + 3)),
        st.tuples(st.sampled_from(["own", "other", "flush"]), st.just(0)),
    ),
    max_size=30,
)


class Row:
    """One membership in a conversation of `_LAST` messages."""

    def __init__(self, url: str):
        self._loop = EventLoop()
        self._database = Database(url, ThreadLane(self._loop, "cursors"))
        self._connection = connect(url)

    def close(self) -> None:
        self._database.close()
        self._connection.close()
        self._loop.close()

    def reset(self) -> None:
        """Nothing is confirmed, nor gathered."""
        self.cursors = Cursors(self._loop, self._database)
        conversation = "REPLACE INTO conversation (conv, last_seq, touched) VALUES (%s, %s, UTC_TIMESTAMP())"
        self._execute(conversation, (_CONV, _LAST))
        self._execute("REPLACE INTO member (user, conv) VALUES (%s, %s)", (_USER, _CONV))

    def flush(self) -> tuple[int, int]:
        """Write; what is there then: confirmed, read."""
        done = spawn(self.cursors.flush())
        done.add_done_callback(lambda _: self._loop.stop())
        if not done.done():
            self._loop.run()
        done.result()
        query = "SELECT recv_seq, read_seq FROM member WHERE user = %s AND conv = %s"
        return self._execute(query, (_USER, _CONV))[0]

    def _execute(self, statement: str, args: tuple[Any, ...]) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, args)
            return list(cursor)


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
    """Cursors never go back, nor beyond the last message, nor past what is neither confirmed nor one's own;
    and they get where they were told to go."""
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
