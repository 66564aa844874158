"""Group commit against a real MariaDB: sequence numbers, resends, and locks held by others."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import chain, count
from typing import Any
from unittest.mock import ANY

import pytest

from forkchat.errors import Conflict, NotFound, NotMember, Refused, Unavailable
from forkchat.net.lane import ThreadLane
from forkchat.net.loop import EventLoop
from forkchat.store import Decided, Store
from forkchat.store.append import Outcome
from forkchat.store.connection import connect
from tests.server import Server, children, until

_BODY = b'{"name":"a","msg":"hi"}'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server("-w", "1") as server:
        titles = " ".join(children(server.pid).values())
        match = re.search(r"--socket=(\S+)", titles)
        assert match
        yield f"mysql://root@/forkchat?unix_socket={match[1]}"


class Worker:
    """A store on a loop of its own, driven call by call."""

    def __init__(self, url: str):
        self._loop = EventLoop()
        self.store = Store(self._loop, lambda name: ThreadLane(self._loop, name), url, 1, 10_000)
        self.store.writer.on_decided = self._decided
        self.outcomes: dict[int, Outcome | Refused] = {}
        self._tickets = count()
        self._awaited: list[int] = []

    def close(self) -> None:
        self.store.close()
        self._loop.close()

    def post(self, what: Callable[[], object]) -> None:
        """Run `what` on the loop. Call this from another thread."""
        self._loop.post(what)

    def get(self, future: Any) -> Any:
        future.add_done_callback(lambda _: self._loop.stop())
        if not future.done():
            self._loop.run()
        return future.result()

    def append(self, sends: list[tuple[str, int, bytes]], body: bytes = _BODY) -> list[Outcome | Refused]:
        """Append messages `(conversation, sender, cid)` in one turn. Return their outcomes."""
        self._loop.post(lambda: self._awaited.extend(self.give(sends, body)))
        self._awaited.clear()
        self._loop.run()
        return [self.outcomes[ticket] for ticket in self._awaited]

    def give(self, sends: list[tuple[str, int, bytes]], body: bytes = _BODY) -> list[int]:
        """Append messages without waiting. Return the tickets under which `outcomes` will have them."""
        tickets = []
        for conv, sender, cid in sends:
            users = tuple(map(int, conv[1:].split("-"))) if conv[0] == "d" else ()
            tickets.append(next(self._tickets))
            self.store.writer.append(conv, users, sender, cid, body, tickets[-1])
        return tickets

    def _decided(self, decided: Decided) -> None:
        self.outcomes.update({draft.ticket: outcome for draft, outcome in decided})
        if self.outcomes.keys() >= set(self._awaited):
            self._loop.stop()


@pytest.fixture
def worker(url: str) -> Iterator[Worker]:
    with closing(Worker(url)) as worker:
        yield worker


@pytest.fixture
def pair(worker: Worker, request: pytest.FixtureRequest) -> tuple[int, int]:
    name = request.node.name[:40]
    a, b = (worker.get(worker.store.users.create(f"{name}{n}", "")) for n in "ab")
    return a, b


def kill_others(cursor: Any) -> None:
    cursor.execute("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()")
    for (connection,) in cursor.fetchall():
        cursor.execute("KILL %s", (connection,))


def seqs(outcomes: list[Outcome | Refused]) -> list[int]:
    return [outcome.seq for outcome in outcomes if isinstance(outcome, Outcome)]


def test_numbers_are_dense_and_in_order(worker: Worker, pair: tuple[int, int]) -> None:
    a, b = pair
    conv = f"d{a}-{b}"
    assert seqs(worker.append([(conv, a, b"%d" % n) for n in range(600)])) == list(range(1, 601))
    assert seqs(worker.append([(conv, b, b"x")])) == [601]


def test_a_resend_is_stored_once(worker: Worker, pair: tuple[int, int]) -> None:
    a, b = pair
    conv = f"d{a}-{b}"
    first, double = worker.append([(conv, a, b"c"), (conv, a, b"c")])
    assert first == Outcome(1, ANY, 1, False)
    assert double == first._replace(is_dup=True)
    assert worker.append([(conv, a, b"c"), (conv, b, b"c")]) == [double, Outcome(2, ANY, 1, False)]
    (conflict,) = worker.append([(conv, a, b"c")], body=b'{"name":"a","msg":"other"}')
    assert isinstance(conflict, Conflict)


def test_refusals(worker: Worker, pair: tuple[int, int]) -> None:
    a, b = pair
    group = worker.get(worker.store.groups.create(a, "group", "", 0))
    unknown, foreign, absent, fine = worker.append(
        [(f"d{a}-4000000", a, b"1"), (f"g{group}", b, b"2"), ("g4000000", a, b"3"), (f"g{group}", a, b"4")]
    )
    assert isinstance(unknown, NotFound)
    assert isinstance(foreign, NotMember)
    assert isinstance(absent, NotFound)
    assert seqs([fine]) == [1]


def test_a_transaction_outlives_an_idle_connection_that_was_lost(url: str, worker: Worker) -> None:
    worker.get(worker.store.users.create("before", ""))
    with closing(connect(url)) as other, other.cursor() as cursor:
        kill_others(cursor)
    assert worker.get(worker.store.users.create("after", ""))


def test_a_connection_that_something_failed_on_is_not_used_again(url: str, worker: Worker) -> None:
    """Any failure closes the connection, which gives up everything that it holds."""

    def fails(cursor: Any) -> None:
        cursor.execute("SELECT GET_LOCK('half-way', 0)")
        raise KeyError("a row of another shape")

    with pytest.raises(KeyError):
        worker.get(worker.store._pool.read(fails)())
    with closing(connect(url)) as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('half-way', 5)")
        assert cursor.fetchone() == (1,)


def test_a_password_changed_meanwhile_is_not_undone_by_a_rehash(worker: Worker) -> None:
    users = worker.store.users
    user = worker.get(users.create("li", "old"))
    worker.get(worker.store.tokens.begin_anew(user, "new", bytes(32), 60))
    worker.get(users.rehash(user, "old", "old, hashed anew"))
    assert worker.get(users.find(user)).password == "new"
    worker.get(users.rehash(user, "new", "new, hashed anew"))
    assert worker.get(users.find(user)).password == "new, hashed anew"


def test_many_workers_one_conversation(url: str, worker: Worker, pair: tuple[int, int]) -> None:
    """Four writers on one row give dense, unique numbers, in order for each writer."""
    a, b = pair
    conv = f"d{a}-{b}"

    def write(n: int) -> list[int]:
        with closing(Worker(url)) as other:
            found = []
            for batch in range(20):
                found += seqs(other.append([(conv, a, b"%d-%d-%d" % (n, batch, k)) for k in range(5)]))
            return found

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(write, range(4)))
    assert sorted(chain(*results)) == list(range(1, 401))
    assert all(result == sorted(result) for result in results)


def test_a_held_lock_holds_up_no_other_conversation(url: str, worker: Worker, pair: tuple[int, int]) -> None:
    """While a stopped worker holds a row, messages of other conversations are stored.

    Messages of the locked conversation are stored after the release.
    """
    a, b = pair
    c = worker.get(worker.store.users.create(f"third{a}", ""))
    held, free = f"d{a}-{b}", f"d{a}-{c}"
    worker.append([(held, a, b"0"), (free, a, b"0f")])
    with closing(connect(url)) as holder:
        holder.begin()
        holder.cursor().execute("SELECT 1 FROM conversation WHERE conv = %s FOR UPDATE", (held.encode(),))
        waiting = worker.give([(held, a, b"h%d" % n) for n in range(3)])
        for n in range(10):
            assert seqs(worker.append([(free, a, b"f%d" % n)])) == [2 + n]
        assert not worker.outcomes.keys() & set(waiting)
        holder.rollback()
    assert seqs(worker.append([(held, a, b"last")])) == [5]
    assert seqs([worker.outcomes[ticket] for ticket in waiting]) == [2, 3, 4]


def test_message_that_mysql_cannot_take_holds_up_no_other(url: str, pair: tuple[int, int]) -> None:
    """A message that MySQL refuses fails in any batch. Others of its batch are stored at once, in order."""
    a, b = pair
    with closing(connect(url)) as root, root.cursor() as cursor:
        cursor.execute("SELECT @@global.max_allowed_packet")
        (usual,) = cursor.fetchone()
        cursor.execute("SET GLOBAL max_allowed_packet = 65536")
        try:
            with closing(Worker(url)) as worker:
                c = worker.get(worker.store.users.create(f"cramped{a}", ""))
                bad, good = f"d{a}-{b}", f"d{a}-{c}"
                worker.append([(bad, a, b"0"), (good, a, b"0g")])
                (large,) = worker.give([(bad, a, b"large")], body=b'{"msg":"' + b"x" * 200_000 + b'"}')
                small = worker.append([(good, a, b"g%d" % n) for n in range(20)])
                assert seqs(small) == list(range(2, 22))
                assert large not in worker.outcomes
                assert seqs(worker.append([(bad, a, b"1")])) == [2]
                assert isinstance(worker.outcomes[large], Unavailable)
        finally:
            cursor.execute("SET GLOBAL max_allowed_packet = %s", (usual,))


def test_what_another_database_has_stored_is_not_told(
    worker: Worker, pair: tuple[int, int], url: str
) -> None:
    """A message counts as not stored if a new epoch begins while MySQL stores it.

    The old primary's answer says nothing about the new one.
    """
    a, b = pair
    conv, is_forgotten = f"d{a}-{b}", threading.Event()
    worker.append([(conv, a, b"0")])
    missing: list[tuple[str, int, int]] = []
    worker.store.writer.on_missing = lambda *message: missing.append(message)

    def forget() -> None:
        worker.store.writer.forget()
        is_forgotten.set()

    with closing(connect(url)) as other, other.cursor() as cursor, ThreadPoolExecutor(1) as threads:
        cursor.execute("LOCK TABLES message WRITE")

        def is_waited() -> bool:
            cursor.execute("SELECT 1 FROM information_schema.processlist WHERE state LIKE '%metadata lock%'")
            return bool(cursor.fetchall())

        def go_on() -> None:
            until(is_waited, "the writer waits for the table")
            worker.post(forget)
            assert is_forgotten.wait(10)
            cursor.execute("UNLOCK TABLES")

        done = threads.submit(go_on)
        (outcome,) = worker.append([(conv, a, b"1")])
        done.result()
        assert isinstance(outcome, Unavailable)
        cursor.execute("DELETE FROM message WHERE conv = %s AND seq = 2", (conv.encode(),))
        kill_others(cursor)
    assert seqs(worker.append([(conv, a, b"2")]))
    assert not missing
