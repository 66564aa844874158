"""MySQL connections, each on its own thread: transactions with retries, batched reads."""

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

#: Attempts at a transaction that is rolled back. On Galera any message that another node stores in the same
#: group may cause a rollback. At full speed, more than half of the attempts are rolled back.
_TRIES = 20
#: Seconds after a failed connect during which calls fail at once, so that they do not pile up.
_RECONNECT_PAUSE = 0.2
#: Seconds without a call after which a connection is replaced, because the server may have closed it.
_IDLE = 5.0
#: Seconds for which a connection is read from after a check that its server is the primary.
#: A failover that keeps the connection open takes longer, so no read misses acknowledged messages.
_TRUSTED = 0.02
#: Seconds between attempts to find the primary while the URL leads to a read-only server.
_SEARCH = 1.0
#: Arguments of one batched call, at most.
_MAX_BATCH = 100


class Primary:
    """The view that all connections of a worker share of the server to which the URL leads.

    When a connection that has served fails, the name may lead to another server by now. All connections of
    its generation are then replaced before their next use. `on_moved` is called on the thread of the failed
    connection. Some of the new connections may reach the old server again, which is then read-only. They are
    replaced as soon as a connection reaches a server that is not read-only.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._is_read_only = False  # whether a connection of this generation reached a read-only server
        self.on_moved: Callable[[], object] = lambda: None

    def doubt(self, generation: int) -> None:
        """Begin a new generation, unless that has been done since `generation`.

        Called when a connection that has served fails, or its server has become read-only.
        """
        if generation == self.generation:
            self.generation = generation + 1
            self._is_read_only = False
            self.on_moved()

    def led_to(self, generation: int, is_read_only: bool) -> int:
        """Note the server of a new connection. Return the generation to which the connection now belongs."""
        if is_read_only:
            self._is_read_only |= generation == self.generation
        elif self._is_read_only:
            self.doubt(generation)
            return self.generation
        return generation


class Uncertain(Unavailable):
    """A lost answer to a commit, which may or may not have happened.

    `mark` serves to find out whether it did. `result` is the result of the transaction's function.
    """

    def __init__(self, why: Unavailable, mark: Mark, result: Any):
        super().__init__(why.errmsg)
        self.mark = mark
        self.result = result


class Database:
    """A MySQL connection that runs functions of `(cursor, …)`, only on its lane's thread.

    A Refused raised by the function reaches the caller. Any failure of MySQL becomes `Unavailable`.
    A transaction that raises has not happened, except perhaps after `Uncertain`.
    """

    def __init__(self, url: str, lane: Lane, primary: Primary | None = None):
        self._url = url
        self._lane = lane
        self._primary = primary or Primary()
        self._connection: Any = None
        self._mark = Mark.of_new_lane()  # the mark of the last transaction
        self._generation = 0
        self._has_served = self._is_read_only = False  # of this connection; of its server at connect
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
        """Run `fn`. Repeat it after each deadlock, and once after another error of MySQL.

        A broken connection is replaced first. `Uncertain` is not retried. Nor is a lock timeout, because
        other calls wait for this thread.

        Raises Unavailable if MySQL still fails.
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
            except BaseException:  # the state of the connection is unknown
                self._drop()
                raise
            if is_deadlock(error):
                may_repeat = True  # MySQL has rolled everything back
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
            if keeps_connection(error):  # the transaction was rolled back
                self._rollback()
                raise
            self._mark = Mark.of_new_lane()  # keep the old lane's row as it is until it is checked
            self._give_up()
            raise Uncertain(self._explain(fn, error), mark, result) from error
        return result

    def _rollback(self) -> None:
        try:
            self._connection.rollback()
        except MySQLdb.Error:
            self._drop()

    def _connected(self) -> Any:
        """Return a connection to the server that the URL leads to now.

        Raises Unavailable if it cannot connect, MySQLdb.Error if an existing connection fails.
        """
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
        """Drop a connection that failed or leads to a replica. If it has served, replace the others too."""
        if self._has_served:
            self._primary.doubt(self._generation)
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        close(connection)


class Pool:
    """The databases of one worker for reads and small transactions."""

    def __init__(self, loop: Loop, databases: list[Database]):
        self._loop = loop
        self._databases = databases

    def _idlest(self) -> Database:
        return min(self._databases, key=lambda database: database.backlog)

    def read(self, fn: Callable[Concatenate[Cursor, P], R]) -> Callable[P, Future[R]]:
        """Wrap `fn`, which reads: the result takes no cursor and returns a Future.

        Each statement of `fn` sees what is committed when the statement begins.
        """

        def call(*args: P.args, **_: P.kwargs) -> Future[R]:
            return self._idlest().run(fn, args, False)

        return call

    def transaction(self, fn: Callable[Concatenate[Cursor, P], R]) -> Callable[P, Future[R]]:
        """Wrap `fn` as `read` does, in one transaction, which is repeated as a whole after a deadlock.

        If the answer to the commit is lost, the Future is done only when the outcome is known.
        After `Unavailable` the transaction has not happened.
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
        """Wrap `fn`, which reads for many arguments at once, so that it is called with one argument.

        Calls that come while a batch runs form the next batch.
        """
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
    """Return SQL for a table of placeholders for `rows`, to join with. Its arguments are `flat(rows)`.

    For short lists, `(a, b) IN ((1, 2), …)` scans the whole table (measured on MariaDB). A join does not.
    """
    first = "SELECT " + ", ".join(f"%s AS {name}" for name in names)
    other = " UNION ALL SELECT " + ", ".join("%s" for _ in names)
    return first + other * (len(rows) - 1)


def flat(rows: list[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]
