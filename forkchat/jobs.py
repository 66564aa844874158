"""Background work. Its errors are logged, and work that must succeed is retried until it does."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from forkchat import log
from forkchat.errors import Unavailable
from forkchat.runtime import Future, Loop, sleep, spawn

T = TypeVar("T")

#: Seconds before the first retry, and at most between retries. A dependency that is back is used within
#: seconds.
_FIRST, _LONGEST = 0.1, 2.0
#: Seconds for which the same error of the same work is not logged again. Thousands of streams may share it.
_QUIET = 10.0
#: Errors remembered for `_QUIET`. One more, and all are forgotten.
_MAX_REMEMBERED = 256

_logged: dict[tuple[str, str], float] = {}


def report(what: str, error: BaseException) -> None:
    """Log why `what` failed: in one line if a dependency is away, otherwise with the trace.

    The same error of the same work is logged only once in `_QUIET` seconds.
    """
    key, now = (what, repr(error)), time.monotonic()
    if now - _logged.get(key, -_QUIET) < _QUIET:
        return
    if len(_logged) >= _MAX_REMEMBERED:
        _logged.clear()
    _logged[key] = now
    if isinstance(error, Unavailable):
        log.warning("job.unavailable", job=what, why=error)
    else:
        log.exception("job.failed", error, job=what)


def background(coroutine: Coroutine[Any, Any, T], what: str) -> Future[T]:
    """Run the coroutine once and log its error."""
    task = spawn(coroutine)

    def finished(done: Future[T]) -> None:
        error = done.exception()
        if error is not None:
            report(what, error)

    task.add_done_callback(finished)
    return task


def each(items: Iterable[T], act: Callable[[T], object], what: str) -> None:
    """Call `act` for each item. A failed call is logged, and the other items are still handled."""
    for item in items:
        try:
            act(item)
        except Exception as error:
            report(what, error)


async def retrying(loop: Loop, attempt: Callable[[], Awaitable[T]], what: str) -> T:
    """Await `attempt()` until it succeeds. Every exception is logged and leads to a retry with backoff."""
    pause = _FIRST
    while True:
        try:
            return await attempt()
        except Exception as error:
            report(what, error)
        await sleep(loop, pause * random.uniform(0.5, 1))
        pause = min(pause * 2, _LONGEST)


class Job:
    """Work that runs once for any number of `want` calls, and never twice at a time.

    A `want` during a run leads to another run. A run that raises any exception is retried with backoff. The
    job therefore always ends with a run that succeeded and that began after the last `want`.
    """

    __slots__ = ("_is_running", "_is_wanted", "_loop", "_what", "_work")

    def __init__(self, loop: Loop, what: str, work: Callable[[], Awaitable[object]]):
        self._loop = loop
        self._what = what
        self._work = work
        self._is_running = False
        self._is_wanted = False

    def want(self) -> None:
        """Request a run of the work from its beginning, now or after the present run."""
        self._is_wanted = True
        if not self._is_running:
            self._is_running = True
            spawn(self._run())

    async def _run(self) -> None:
        try:
            while self._is_wanted:
                await retrying(self._loop, self._attempt, self._what)
        finally:
            self._is_running = False

    def _attempt(self) -> Awaitable[object]:
        self._is_wanted = False
        return self._work()
