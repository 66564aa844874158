"""Background job that stores the skeletons of account names that have none yet."""

from __future__ import annotations

from forkchat.jobs import background
from forkchat.runtime import Future
from forkchat.service.context import Context
from forkchat.wire.names import skeletons

#: Seconds after a step, if more accounts remain.
#: Seconds after a failed step.
#: Seconds between checks for accounts that hosts with an older program have created.
_STEP, _RETRY, _LOOK = 0.05, 1.0, 60.0


class Naming:
    """Indexing job of a worker. All workers run it; the store lets only one of them index at a time."""

    def __init__(self, context: Context):
        self._context = context

    def start(self) -> None:
        background(self._index(), "names").add_done_callback(self._indexed)

    async def _index(self) -> bool:
        return await self._context.store.names.index(skeletons)

    def _indexed(self, done: Future[bool]) -> None:
        pause = _RETRY
        if done.exception() is None:
            pause = _STEP if done.result() else _LOOK
        self._context.loop.call_later(pause, self.start)
