"""One MySQL connection on a thread of its own: transactions with their retries, batched reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import MySQLdb

from forkchat.errors import Refused, Unavailable
from forkchat.jobs import report, retrying
from forkchat.runtime import Future, Lane, Loop, spawn
from forkchat.store.connection import (
    close,
    connect,
    is_deadlock,
    is_known,
    is_lock_timeout,
    is_read_only,
    keeps_connection,
    translate,
)
from forkchat.store.marks import Mark, put

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
Cursor = Any  # MySQLdb has no types

#: Attempts at what is rolled back. On Galera any message of another node to the same group may do that, at
#: full speed to more than half of them.
_TRIES = 20
#: After a connection could not be made, calls fail at once for so long and do not pile up.
_RECONNECT_PAUSE = 0.2
#: Seconds without a call after which a connection is replaced: the server may have closed it.
_IDLE = 5.0
#: A connection that was seen to lead to the primary may be read from for so many seconds: a failover that
#: keeps it open takes longer, so that nothing is read that is older than what was acknowledged.
_TRUSTED = 0.02
#: Seconds between attempts to find the primary while the URL leads to a read-only server.
_SEARCH = 1.0
#: How many arguments one batched call takes.
_MAX_BATCH = 100


class Primary:
    """Which of the servers that the URL has led to is meant, as all connections of a worker know it.

    When a connection fails that has served before, the name may lead to another server by now. All
    connections of its generation are then replaced before their next use, and `on_moved` is called on the
    failing thread. Some of the new ones may be led to the old server once more, which is read-only: they are
    replaced, too, as soon as one is led to another.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._is_read_only = False  # a server to which one of this generation was led
        self.on_moved: Callable[[], object] = lambda: None

    def doubt(self, generation: int) -> None:
        """A connection of `generation` that has served fails, or its server has become read-only."""
        if generation == self.generation:
            self.generation = generation + 1
            self._is_read_only = False
            self.on_moved()

    def led_to(self, generation: int, is_read_only: bool) -> int:
        """A connection of `generation` leads to such a server; returns the generation that it is of."""
        if is_read_only:
            self._is_read_only |= generation == self.generation
        elif self._is_read_only:
            self.doubt(generation)
            return self.generation
        return generation


class Uncertain(Unavailable):
    """The answer to a commit was lost. `mark` says whether it happened; `result` is the transaction's."""

    def __init__(self, why: Unavailable, mark: Mark, result: Any):
        super().__init__(why.errmsg)
        self.mark = mark
        self.result = result


class Database:
    """Runs functions of `(cursor, …)` on its lane's thread, and nowhere else.

    They raise the Refused they mean to, or `Unavailable` for whatever keeps MySQL from serving. Only after
    `Uncertain` a transaction may have happened all the same.
    """

    def __init__(self, url: str, lane: Lane, primary: Primary | None = None):
        self._url = url
        self._lane = lane
        self._primary = primary or Primary()
        self._connection: Any = None
        self._mark = Mark.of_new_lane()  # the last transaction's
        self._generation = 0
        self._has_served = self._is_read_only = False  # this connection, and its server when it was made
        self._used_at = self._seen_at = self._no_try_before = 0.0

    @property
    def backlog(self) -> int:
        return self._lane.backlog

    def run(self, fn: Callable[..., R], args: tuple[Any, ...], is_transaction: bool) -> Future[R]:
        return self._lane.run(self._run, fn, args, is_transaction)

    def close(self) -> None:
        self._lane.run(self._drop)
        self._lane.close()

    def _run(self, fn: Callable[..., R], args: tuple[Any, ...], is_transaction: bool) -> R:
        """Once; again after a deadlock; once more on a new connection, but not after `Uncertain`.

        A lock that was waited for in vain is not waited for again: others wait for this thread.
        """
        attempt = self._transact if is_transaction else self._read
        is_first = True
        for left in range(_TRIES - 1, -1, -1):
            try:
                result = attempt(fn, args)
                self._has_served = True
                return result
            except MySQLdb.Error as failed:
                error, may_repeat = failed, is_first and not is_lock_timeout(failed)
            except Refused:
                raise
            except BaseException:  # nobody knows what the connection is in the middle of
                self._drop()
                raise
            if is_deadlock(error):
                may_repeat = True  # rolled back, whatever it was doing
            else:
                is_first = False
                if not keeps_connection(error):
                    self._give_up()
            if not left or not may_repeat:
                raise self._explain(fn, error) from error
        raise AssertionError("unreachable")

    def _explain(self, fn: Callable[..., object], error: MySQLdb.Error) -> Unavailable:
        unavailable = translate(error)
        what = f"{fn.__module__.removeprefix('forkchat.')}.{fn.__name__}"
        report(what, unavailable if is_known(error) else error)
        return unavailable

    def _read(self, fn: Callable[..., R], args: tuple[Any, ...]) -> R:
        with self._connected().cursor() as cursor:
            return fn(cursor, *args)

    def _transact(self, fn: Callable[..., R], args: tuple[Any, ...]) -> R:
        connection = self._connected()
        self._mark = mark = self._mark.next()
        connection.begin()
        with connection.cursor() as cursor:
            try:
                put(cursor, mark)
                result = fn(cursor, *args)
            except BaseException:
                self._rollback()
                raise
        try:
            connection.commit()
        except MySQLdb.Error as error:
            if keeps_connection(error):  # it was rolled back
                self._rollback()
                raise
            self._mark = Mark.of_new_lane()  # the row of the old one stays as it is until it was looked at
            self._give_up()
            raise Uncertain(self._explain(fn, error), mark, result) from error
        return result

    def _rollback(self) -> None:
        try:
            self._connection.rollback()
        except MySQLdb.Error:
            self._drop()

    def _connected(self) -> Any:
        """The connection to the server that the URL leads to now. Raises MySQLdb.Error, Unavailable."""
        now = time.monotonic()
        if self._generation != self._primary.generation or now - self._used_at > _IDLE:
            self._drop()
        if self._connection is not None and now - self._seen_at > (
            _SEARCH if self._is_read_only else _TRUSTED
        ):
            self._seen_at = now
            if self._is_read_only:
                self._drop()
            elif is_read_only(self._connection):
                self._give_up()
        if self._connection is None:
            self._connect(now)
        self._used_at = now
        return self._connection

    def _connect(self, now: float) -> None:
        if now < self._no_try_before:
            raise Unavailable("MySQL cannot be reached")
        self._generation = self._primary.generation
        self._has_served = False
        try:
            self._connection = connect(self._url)
            self._is_read_only = is_read_only(self._connection)
            self._generation = self._primary.led_to(self._generation, self._is_read_only)
        except MySQLdb.Error as error:
            self._drop()
            self._no_try_before = now + _RECONNECT_PAUSE
            raise self._explain(connect, error) from error
        self._seen_at = now

    def _give_up(self) -> None:
        """The connection failed, or leads to a replica: so may the others."""
        if self._has_served:
            self._primary.doubt(self._generation)
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        close(connection)


class Pool:
    """The databases of one worker that answer reads and small transactions."""

    def __init__(self, loop: Loop, databases: list[Database]):
        self._loop = loop
        self._databases = databases

    def _idlest(self) -> Database:
        return min(self._databases, key=lambda database: database.backlog)

    def read(self, fn: Callable[Concatenate[Cursor, P], R]) -> Callable[P, Future[R]]:
        """`fn` without its cursor, answering with a Future; each of its statements sees what is committed."""

        def call(*args: P.args, **_: P.kwargs) -> Future[R]:
            return self._idlest().run(fn, args, False)

        return call

    def transaction(self, fn: Callable[Concatenate[Cursor, P], R]) -> Callable[P, Future[R]]:
        """The same in one transaction, repeated as a whole after a deadlock.

        When the answer to its commit is lost, the Future is done when it is known what became of it: after
        `Unavailable` it has not happened.
        """

        def call(*args: P.args, **_: P.kwargs) -> Future[R]:
            return spawn(self._transact(fn, args))

        return call

    async def _transact(self, fn: Callable[..., R], args: tuple[Any, ...]) -> R:
        try:
            return await self._idlest().run(fn, args, True)
        except Uncertain as lost:
            if await retrying(self._loop, partial(self._transact, put, (lost.mark,)), "store.settle"):
                raise Unavailable(lost.errmsg) from lost
            result: R = lost.result
            return result

    def batch(self, fn: Callable[[Cursor, list[A]], list[R]]) -> Callable[[A], Future[R]]:
        """A read of many at once, called for one: what is asked while it runs goes out together next."""
        return _Batch(self, fn)

    def close(self) -> None:
        for database in self._databases:
            database.close()


class _Batch(Generic[A, R]):
    def __init__(self, pool: Pool, fn: Callable[[Cursor, list[A]], list[R]]):
        self._run = pool.read(fn)
        self._waiting: list[tuple[A, Future[R]]] = []
        self._is_running = False

    def __call__(self, argument: A) -> Future[R]:
        future: Future[R] = Future()
        self._waiting.append((argument, future))
        self._go_on()
        return future

    def _go_on(self) -> None:
        if self._is_running or not self._waiting:
            return
        batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        self._is_running = True
        running = self._run([argument for argument, _ in batch])
        running.add_done_callback(lambda done: self._finish(batch, done))

    def _finish(self, batch: list[tuple[A, Future[R]]], done: Future[list[R]]) -> None:
        self._is_running = False
        error = done.exception()
        for at, (_, future) in enumerate(batch):
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done.result()[at])
        self._go_on()


def values(rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> str:
    """A table of `rows` placeholders to join against; flatten the rows for the arguments.

    `(a, b) IN ((1, 2), …)` scans the table for short lists (measured on MariaDB); a join does not.
    """
    first = "SELECT " + ", ".join(f"%s AS {name}" for name in names)
    other = " UNION ALL SELECT " + ", ".join("%s" for _ in names)
    return first + other * (len(rows) - 1)


def flat(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]
