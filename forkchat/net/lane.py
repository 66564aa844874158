"""A thread beside the event loop for blocking calls (MySQL, password hashing). Results are posted back."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from forkchat.runtime import Future, Loop, start_thread

T = TypeVar("T")


class ThreadLane:
    """A thread that runs the calls handed to it one after the other; see `forkchat.runtime.Lane`."""

    def __init__(self, loop: Loop, name: str):
        self._loop = loop
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Future[Any]] | None] = (
            SimpleQueue()
        )
        self._unfinished = 0
        self._thread = start_thread(self._work, name)

    @property
    def backlog(self) -> int:
        return self._unfinished

    def run(self, fn: Callable[..., T], *args: Any) -> Future[T]:
        future: Future[T] = Future()
        self._unfinished += 1
        self._calls.put((fn, args, future))
        return future

    def close(self) -> None:
        """Finish all queued calls, then end the thread. Wait at most 5 seconds for it."""
        self._calls.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            fn, args, future = call
            outcome: tuple[Callable[[Any], None], Any]
            try:
                outcome = (future.set_result, fn(*args))
            except BaseException as error:
                outcome = (future.set_exception, error)
            self._loop.post(self._finish, *outcome)
            del call, fn, args, future, outcome

    def _finish(self, deliver: Callable[[Any], None], outcome: Any) -> None:
        self._unfinished -= 1
        deliver(outcome)
