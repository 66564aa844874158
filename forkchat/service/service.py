"""The assembly of a worker's service: handlers, delivery, presence, and messages to all workers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from forkchat import log
from forkchat.config import Config
from forkchat.errors import Unavailable
from forkchat.jobs import Job, each, report
from forkchat.runtime import Lane, Loop, sleep
from forkchat.service import payload
from forkchat.service.accounts import Accounts
from forkchat.service.chat import Chat
from forkchat.service.context import Context
from forkchat.service.delivery import Delivery
from forkchat.service.dialects import Dialects
from forkchat.service.friends import Friends
from forkchat.service.gate import Gate
from forkchat.service.groups import Groups
from forkchat.service.history import History
from forkchat.service.login import Login
from forkchat.service.naming import Naming
from forkchat.service.past import Past
from forkchat.service.reconcile import Reconciler
from forkchat.service.registry import Registry
from forkchat.service.retention import Retention
from forkchat.service.roster import Roster
from forkchat.service.session import Session

if TYPE_CHECKING:
    from forkchat.bus import Bus
    from forkchat.store import Store

T = TypeVar("T")

#: Seconds between attempts to start while a dependency is unavailable.
_RETRY = 1.0


class Service:
    def __init__(self, loop: Loop, config: Config, store: Store, bus: Bus, hashing: Lane):
        self._bus = bus
        delivery = Delivery(loop, store, bus.router)
        roster = Roster(loop, store, bus.presence, bus.router, delivery)
        self.context = context = Context(
            loop, config, store, bus.router, bus.presence, bus.rates, hashing, delivery, roster
        )
        self.registry: Registry = {}
        self.gate = Gate(context)
        self._history = History(context, self.registry)
        self._reconciler = Reconciler(context, self._epoch_is)
        self._retention = Retention(context)
        self._naming = Naming(context)
        friends = Friends(context, self.registry)
        groups = Groups(context, self.registry)
        self.dialects = Dialects(context)
        Accounts(context, self.registry, self.dialects)
        Chat(context, self.registry)
        self._past = Past(context, self._renew_epoch)
        self._reading_epoch = Job(loop, "service.read_epoch", self._read_epoch)
        delivery.on_suspect = self._past.suspect
        store.writer.on_missing = self._past.suspect
        store.on_moved = self._reconciler.everything
        Login(context, self.registry, self.gate, friends, groups, self.dialects)
        bus.presence.kick = payload.kick
        bus.router.on_message = self._on_message
        bus.router.on_resubscribed = self._resubscribed
        bus.lease.on_lost = self._hold_on
        bus.lease.on_cleared = roster.departed

    async def start(self) -> None:
        """Begin the lease and read the epoch, as soon as Redis and MySQL answer."""
        await self._bus.start()
        await self._until_available(self._bus.lease.begin)
        await self._until_available(self.context.roster.start)
        self._begin(await self._until_available(self.context.store.epoch.get))
        self._reconciler.start()
        self._retention.start()
        self._naming.start()
        # The worker that had this slot before may have died between a commit and its publish.
        self.context.router.publish(payload.ALL, payload.RECONCILE)

    def drained(self, session: Session) -> None:
        """Let a lagging session catch up, because its peer has taken all queued output."""
        if session.is_lagging:
            if session.catching_up is None:
                work = partial(self._history.catch_up, session)
                session.catching_up = Job(self.context.loop, "history.catch_up", work)
            session.catching_up.want()

    async def _until_available(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Retry `attempt` while a dependency is unavailable.

        Any other error is raised, because the worker cannot start with it.
        """
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                report("service.start", error)
            await sleep(self.context.loop, _RETRY)

    def _on_message(self, channel: str, data: bytes) -> None:
        if channel == payload.ALL:
            if data == payload.RECONCILE:
                self._reconciler.everything()
            elif data == payload.EPOCH:
                self._reading_epoch.want()
        elif data[:1] in (b"K", b"P"):
            ((words, _),) = payload.parts(data)
            self.gate.on_user_message(words[0], int(channel[1:]), b" ".join(words[1:]).decode())
        else:
            self.context.delivery.on_message(channel, data)

    def _resubscribed(self) -> None:
        self._reconciler.everything()
        self._hold_on()

    def _hold_on(self) -> None:
        """Reclaim the sessions and resynchronize presence.

        Redis may have forgotten who is online, and this worker may have missed announcements.
        """
        self.gate.hold_on()
        self.context.roster.resynchronize()

    async def _renew_epoch(self, known: str) -> None:
        """Renew the epoch, because the database went back in time while the epoch was `known`."""
        await self.context.store.epoch.renew(known)
        self.context.router.publish(payload.ALL, payload.EPOCH)
        await self._read_epoch()

    def _epoch_is(self, epoch: str) -> None:
        if epoch != self.context.epoch:
            self._reading_epoch.want()

    async def _read_epoch(self) -> None:
        """Read the epoch. If it is new, end every session, so that its client reconnects and learns of it."""
        epoch = await self.context.store.epoch.get()
        if epoch == self.context.epoch:
            return
        self._begin(epoch)
        log.warning("service.new_epoch", epoch=epoch)
        self._past.forget()
        self.context.store.writer.forget()
        self.context.router.forget()
        each(list(self.context.delivery.sessions.values()), self.gate.send_away, "service.new_epoch")

    def _begin(self, epoch: str) -> None:
        self.context.epoch = epoch
        self.context.store.cursors.begin(epoch)
