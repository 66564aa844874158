"""One MySQL connection on a thread of its own: transactions with their retries, batched reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import MySQLdb

from forkchat.errors import Unavailable
from forkchat.runtime import Future, Lane
from forkchat.store.connection import connect, is_deadlock, is_lost, translate

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
Cursor = Any  # MySQLdb has no types

_DEADLOCK_TRIES = 5
#: After a connection could not be made, calls fail at once for so long and do not pile up.
_RECONNECT_PAUSE = 0.2
#: How many arguments one batched call takes.
_MAX_BATCH = 100


class Database:
    """Runs functions of `(cursor, …)` on its lane's thread, and nowhere else.

    They raise the Refused they mean to, or `Unavailable` for whatever keeps MySQL from serving.
    """

    def __init__(self, url: str, lane: Lane):
        self._url = url
        self._lane = lane
        self._connection: Any = None
        self._no_try_before = 0.0

    @property
    def backlog(self) -> int:
        return self._lane.backlog

    def run(self, fn: Callable[..., R], args: tuple[Any, ...], is_transaction: bool) -> Future[R]:
        return self._lane.run(self._run, fn, args, is_transaction)

    def close(self) -> None:
        self._lane.run(self._drop)
        self._lane.close()

    def _run(self, fn: Callable[..., R], args: tuple[Any, ...], is_transaction: bool) -> R:
        """Once; again after a deadlock; a read also when its connection turns out to be dead."""
        is_fresh = self._connection is None
        for left in range(_DEADLOCK_TRIES - 1, -1, -1):
            try:
                return self._attempt(fn, args, is_transaction)
            except MySQLdb.Error as error:
                if is_lost(error):
                    self._drop()
                    # A read may simply be repeated; a transaction's outcome may be unknown.
                    may_repeat = not is_fresh and not is_transaction
                    is_fresh = True
                else:
                    may_repeat = is_deadlock(error)
                if not left or not may_repeat:
                    raise translate(error) from error
        raise AssertionError("unreachable")

    def _attempt(self, fn: Callable[..., R], args: tuple[Any, ...], is_transaction: bool) -> R:
        if not is_transaction:
            with self._connected().cursor() as cursor:
                return fn(cursor, *args)
        connection = self._begin()
        with connection.cursor() as cursor:
            try:
                result = fn(cursor, *args)
                connection.commit()
            except BaseException:
                self._rollback()
                raise
            return result

    def _begin(self) -> Any:
        """A connection in a new transaction: where the idle one turns out to be dead, another."""
        if self._connection is not None:
            try:
                self._connection.begin()
                return self._connection
            except MySQLdb.Error:
                self._drop()
        self._connected().begin()
        return self._connection

    def _rollback(self) -> None:
        try:
            self._connection.rollback()
        except MySQLdb.Error:
            self._drop()

    def _connected(self) -> Any:
        if self._connection is None:
            if time.monotonic() < self._no_try_before:
                raise Unavailable("MySQL cannot be reached")
            try:
                self._connection = connect(self._url)
            except MySQLdb.Error as error:
                self._no_try_before = time.monotonic() + _RECONNECT_PAUSE
                raise translate(error) from error
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except MySQLdb.Error:
                return


class Pool:
    """The databases of one worker that answer reads and small transactions."""

    def __init__(self, databases: list[Database]):
        self._databases = databases

    def _idlest(self) -> Database:
        return min(self._databases, key=lambda database: database.backlog)

    def read(self, fn: Callable[Concatenate[Cursor, P], R]) -> Callable[P, Future[R]]:
        """`fn` without its cursor, answering with a Future; each of its statements sees what is committed."""

        def call(*args: P.args, **_: P.kwargs) -> Future[R]:
            return self._idlest().run(fn, args, False)

        return call

    def transaction(self, fn: Callable[Concatenate[Cursor, P], R]) -> Callable[P, Future[R]]:
        """The same in one transaction, repeated as a whole after a deadlock."""

        def call(*args: P.args, **_: P.kwargs) -> Future[R]:
            return self._idlest().run(fn, args, True)

        return call

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
