"""Reconciliation of what local users were sent with what MySQL has, because pub/sub may lose messages."""

from __future__ import annotations

from collections.abc import Callable

from forkchat import log
from forkchat.jobs import Job, each
from forkchat.service.context import Context

#: Seconds between checks of recently touched conversations.
#: Seconds by which each check reaches back before the previous one. A commit comes after its time stamp.
_TAIL, _OVERLAP = 2.0, 10
#: Users or conversations per query.
_CHUNK = 200


class Reconciler:
    """Full reconciliation after a possible loss of messages, and constant reconciliation of recent changes.

    `epoch_is(epoch)` is called with the epoch in MySQL, because the announcement of a new one may be lost
    too.
    """

    def __init__(self, context: Context, epoch_is: Callable[[str], object]):
        self._context = context
        self._epoch_is = epoch_is
        self._since: str | None = None
        self._full = Job(context.loop, "reconcile.full", self._reconcile)
        self._tail = Job(context.loop, "reconcile.tail", self._look_at_tail)

    def start(self) -> None:
        self._context.loop.call_later(_TAIL, self._look)

    def everything(self) -> None:
        """Reconcile all conversations and users here, in chunks."""
        self._full.want()

    async def _reconcile(self) -> None:
        context, delivery = self._context, self._context.delivery
        before = {conv: stream.last for conv, stream in delivery.streams.items()}
        convs = list(before)
        for at in range(0, len(convs), _CHUNK):
            chunk = convs[at : at + _CHUNK]
            lasts = await context.store.conversations.lasts(chunk)
            delivery.check({conv: lasts.get(conv, 0) for conv in chunk}, before)
        users = list(delivery.sessions)
        for at in range(0, len(users), _CHUNK):
            standings = await context.store.conversations.unconfirmed(users[at : at + _CHUNK])
            await delivery.reconcile(standings)
        if users:
            log.info("reconcile.full", users=len(users))

    def _look(self) -> None:
        self._context.loop.call_later(_TAIL, self._look)
        self._tail.want()

    async def _look_at_tail(self) -> None:
        context, delivery = self._context, self._context.delivery
        before = {conv: stream.last for conv, stream in delivery.streams.items()}
        touched = await context.store.conversations.touched_since(self._since, _OVERLAP)
        self._epoch_is(touched.epoch)
        delivery.check({conv: last for conv, last, _ in touched.conversations}, before)
        each(touched.conversations, lambda touched: delivery.look(*touched), "reconcile.tail")
        self._since = touched.now
