"""Pub/sub loses, MySQL does not: what was sent to the users here is held against what is stored."""

from __future__ import annotations

from forkchat import log
from forkchat.errors import Unavailable
from forkchat.runtime import Future
from forkchat.service.background import background
from forkchat.service.context import Context

#: Seconds between looks at what was touched lately; how far each reaches back before the last one.
_TAIL, _OVERLAP = 2.0, 10
#: Users of one query, and its pause after a failure.
_CHUNK, _RETRY = 200, 1.0


class Reconciler:
    """In full after whatever may have cost messages, and always at the tail of what was touched lately."""

    def __init__(self, context: Context):
        self._context = context
        self._is_running = False
        self._is_wanted = False
        self._since: str | None = None

    def start(self) -> None:
        self._context.loop.call_later(_TAIL, self._look)

    def everything(self) -> None:
        """Reconcile all users here, in chunks."""
        self._is_wanted = True
        if not self._is_running:
            self._is_running = True
            background(self._run(), "reconcile.full").add_done_callback(self._ran)

    async def _run(self) -> None:
        context = self._context
        while self._is_wanted:
            self._is_wanted = False
            users = list(context.delivery.sessions)
            for at in range(0, len(users), _CHUNK):
                standings = await context.store.conversations.unconfirmed(users[at : at + _CHUNK])
                await context.delivery.reconcile(standings)
            if users:
                log.info("reconcile.full", users=len(users))

    def _ran(self, done: Future[None]) -> None:
        self._is_running = False
        if isinstance(done.exception(), Unavailable):
            self._context.loop.call_later(_RETRY, self.everything)

    def _look(self) -> None:
        background(self._look_at_tail(), "reconcile.tail").add_done_callback(self._looked)

    async def _look_at_tail(self) -> None:
        context, delivery = self._context, self._context.delivery
        before = {conv: stream.last for conv, stream in delivery.streams.items()}
        self._since, touched = await context.store.conversations.touched_since(self._since, _OVERLAP)
        for conv, last in touched:
            if last < before.get(conv, 0):
                delivery.on_regress(conv)
            elif delivery.is_local(conv):
                delivery.note(conv, last)

    def _looked(self, _done: Future[None]) -> None:
        self._context.loop.call_later(_TAIL, self._look)
