"""Background deletion of old messages, if the configuration asks for it."""

from __future__ import annotations

from forkchat.jobs import background
from forkchat.runtime import Future
from forkchat.service.context import Context

#: Seconds between two steps of a pass.
#: Seconds between checks whether a pass is due.
_STEP, _LOOK = 0.2, 5.0


class Retention:
    """Deletion job of a worker. All workers run it; the store lets only one of them delete at a time."""

    def __init__(self, context: Context):
        self._context = context

    def start(self) -> None:
        self._context.loop.call_later(_STEP, self._look)

    def _look(self) -> None:
        limits = self._context.config.retention
        if limits.days or limits.messages:
            background(self._prune(limits.days, limits.messages), "retention").add_done_callback(self._looked)
        else:
            self._context.loop.call_later(_LOOK, self._look)

    async def _prune(self, days: int, newest: int) -> bool:
        return await self._context.store.retention.prune(days, newest)

    def _looked(self, done: Future[bool]) -> None:
        has_more = done.exception() is None and done.result()
        self._context.loop.call_later(_STEP if has_more else _LOOK, self._look)
