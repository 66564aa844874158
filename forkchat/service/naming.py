"""Accounts that have no skeletons of their names yet get them in the background."""

from __future__ import annotations

from forkchat.runtime import Future
from forkchat.service.background import background
from forkchat.service.context import Context
from forkchat.wire.names import skeletons

#: Seconds between two steps, and between looks for what hosts with an older program have made.
_STEP, _LOOK = 0.05, 60.0


class Naming:
    """Each worker looks; the store lets one of them at it at a time."""

    def __init__(self, context: Context):
        self._context = context

    def start(self) -> None:
        background(self._index(), "names").add_done_callback(self._indexed)

    async def _index(self) -> bool:
        return await self._context.store.names.index(skeletons)

    def _indexed(self, done: Future[bool]) -> None:
        has_more = done.exception() is None and done.result()
        self._context.loop.call_later(_STEP if has_more else _LOOK, self.start)
