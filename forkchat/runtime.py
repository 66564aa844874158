"""Parts of the event loop that every layer shares: futures, coroutines on them, and the loop's interface.

The loop itself is `forkchat.net.loop`. Store, bus and service are passed a loop, and know only this
interface. So none of them imports the net layer.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from forkchat import log
from forkchat.errors import Refused, StartError

T = TypeVar("T")

#: Stages of the end of a turn, in the order in which they run. A message is handed to the writer, then
#: published, then acknowledged. The delivery promise needs this order (HACKING.md).
STAGE_STORE, STAGE_BUS, STAGE_PEERS = range(3)


class Future(Generic[T]):
    """A result that the loop's thread will have later. Callbacks run at once when it is set.

    A callback that raises is logged, and the other callbacks still run. An error that was never read is
    logged with its trace when the future is dropped. A `Refused` is not logged, because it is an answer.

    Futures are not thread-safe: other threads hand results over with `Loop.post`.
    """

    __slots__ = ("_callbacks", "_done", "_error", "_is_seen", "_result")

    def __init__(self) -> None:
        self._done = False
        self._result: T | None = None
        self._error: BaseException | None = None
        self._is_seen = True
        self._callbacks: list[Callable[[Future[T]], object]] = []

    def done(self) -> bool:
        return self._done

    def result(self) -> T:
        """Return the result, or raise the stored exception. The future MUST be done."""
        self._is_seen = True
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def exception(self) -> BaseException | None:
        self._is_seen = True
        return self._error

    def set_result(self, result: T) -> None:
        """Set the result. A future that is already done stays as it is."""
        if not self._done:
            self._result = result
            self._finish()

    def set_exception(self, error: BaseException) -> None:
        """Set the exception. A future that is already done stays as it is."""
        if not self._done:
            self._error = error
            self._is_seen = False
            self._finish()

    def add_done_callback(self, callback: Callable[[Future[T]], object]) -> None:
        """Call `callback(self)` when the future is done, at once if it already is."""
        self._callbacks.append(callback)
        if self._done:
            self._call_back()

    def _finish(self) -> None:
        self._done = True
        self._call_back()

    def _call_back(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception as error:
                log.exception(
                    "future.callback_failed", error, call=getattr(callback, "__qualname__", callback)
                )

    def __del__(self) -> None:
        if not self._is_seen and not isinstance(self._error, Refused):
            log.exception("future.error_unseen", self._error)  # type: ignore[arg-type]

    def __await__(self) -> Generator[Future[T], None, T]:
        if not self._done:
            yield self
        return self.result()


def spawn(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine that awaits only Futures. Its first step runs before this returns.

    Its error is set on the returned future.
    """
    task: Future[T] = Future()

    def step(awaited: Future[Any] | None) -> None:
        while True:
            try:
                awaited = coroutine.send(None)
            except StopIteration as stop:
                task.set_result(stop.value)
                return
            except BaseException as error:
                task.set_exception(error)
                return
            if not awaited.done():
                awaited.add_done_callback(step)
                return

    step(None)
    return task


async def gather(futures: Iterable[Future[T]]) -> list[T]:
    """Return the results of all futures, in their order.

    Raises the first error in that order, once all futures before it are done.
    """
    return [await future for future in list(futures)]


class Timer(Protocol):
    def cancel(self) -> None: ...


class Loop(Protocol):
    """The event loop of one worker, as seen by the layers that do not import it."""

    def time(self) -> float:
        """Return monotonic seconds, as of the start of this turn."""

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer: ...

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` on the loop's next turn. May be called from any thread."""

    def at_turn_end(self, stage: int, fn: Callable[[], object]) -> None:
        """Run `fn` once at the end of this turn, with the other calls of its stage (STAGE_…)."""

    def register(self, fd: int, events: int, handler: Callable[[int], object], is_peer: bool = False) -> None:
        """Call `handler(events)` when epoll reports any of `events` on `fd`.

        Peers may have to wait for each other. Every other descriptor is checked in each turn.
        """

    def modify(self, fd: int, events: int) -> None: ...

    def unregister(self, fd: int) -> None: ...


class Lane(Protocol):
    """One thread beside the loop that runs blocking calls, in the order of their submission."""

    @property
    def backlog(self) -> int:
        """Calls submitted and not yet finished."""

    def run(self, fn: Callable[..., T], *args: Any) -> Future[T]: ...

    def close(self) -> None:
        """Finish all submitted calls, then end the thread."""


class Turns:
    """Mutual exclusion by key: coroutines that share a key wait for each other, in the order of arrival.

    A coroutine that waited resumes in a turn of its own. A thousand that fail at once therefore do not
    recurse.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._last: dict[object, Future[None]] = {}

    @asynccontextmanager
    async def of(self, key: object) -> AsyncIterator[None]:
        before, mine = self._last.get(key), Future[None]()
        self._last[key] = mine
        if before is not None:
            await before
        try:
            yield
        finally:
            if self._last[key] is mine:
                del self._last[key]
            else:
                self._loop.post(mine.set_result, None)


async def wait(loop: Loop, future: Future[Any], seconds: float) -> bool:
    """Wait for the future, at most `seconds`. Return True if it is done."""
    over: Future[None] = Future()
    timer = loop.call_later(seconds, over.set_result, None)
    future.add_done_callback(lambda _: over.set_result(None))
    await over
    timer.cancel()
    return future.done()


async def sleep(loop: Loop, seconds: float) -> None:
    """Wait `seconds` without blocking the loop."""
    waited: Future[None] = Future()
    loop.call_later(seconds, waited.set_result, None)
    await waited


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a thread that does not keep the process from ending.

    Raises StartError if it cannot start, as at the limit of processes.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise StartError(f"{error}; raise the limit of processes (ulimit -u), or free memory") from error
    return thread
