"""Coroutines that nobody waits for: what becomes of their errors."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from forkchat import log
from forkchat.errors import Unavailable
from forkchat.runtime import Future, spawn

T = TypeVar("T")


def background(coroutine: Coroutine[Any, Any, T], what: str) -> Future[T]:
    """Run it; a dependency that is away is logged as a warning, any other error with its trace."""
    task = spawn(coroutine)

    def finished(done: Future[T]) -> None:
        error = done.exception()
        if isinstance(error, Unavailable):
            log.warning("service.unavailable", call=what, why=error)
        elif error is not None:
            log.exception("service.error", error, call=what)

    task.add_done_callback(finished)
    return task
