"""Friends see each other come and go: announced when it happens, and not when one is back in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkchat.errors import Unavailable
from forkchat.runtime import Future, Loop
from forkchat.service import payload
from forkchat.service.background import background
from forkchat.service.channels import user_channel
from forkchat.service.delivery import Delivery
from forkchat.wire import msgid as m
from forkchat.wire.frames import line

if TYPE_CHECKING:
    from forkchat.bus.presence import Claim, Presence
    from forkchat.bus.router import Router
    from forkchat.store import Store

#: Seconds after which someone who left counts as gone: a little more than Redis remembers they left.
_GONE = 5.2
_RETRY = 2.0


class Roster:
    """Tells those who have added a user. One query at each login and logout, no map of watchers."""

    def __init__(self, loop: Loop, store: Store, presence: Presence, router: Router, delivery: Delivery):
        self._loop = loop
        self._store = store
        self._presence = presence
        self._router = router
        self._delivery = delivery

    def arrived(self, claim: Claim, name: str) -> None:
        if not claim.was_here:
            background(self._announce(claim.user, name, "online"), "roster.arrived")

    def departed(self, users: list[int], since: float = 0.0) -> None:
        """These have had no session for `since` seconds; they may be back in a moment."""
        self._loop.call_later(max(0.0, _GONE - since), self._check, users)

    def _check(self, users: list[int]) -> None:
        def finished(done: Future[None]) -> None:
            if isinstance(done.exception(), Unavailable):
                self._loop.call_later(_RETRY, self._check, users)

        background(self._announce_gone(users), "roster.departed").add_done_callback(finished)

    async def _announce_gone(self, users: list[int]) -> None:
        online = await self._presence.online(users)
        for user in users:
            if user not in online:
                account = await self._store.users.find(user)
                if account is not None:
                    await self._announce(user, account.name, "offline")
            if user not in self._delivery.sessions:
                await self._presence.forget(user)

    async def _announce(self, user: int, name: str, state: str) -> None:
        frame = line({"msgid": m.PRESENCE, "id": user, "name": name, "state": state})
        for watcher in await self._store.friends.watchers(user):
            self._router.publish(user_channel(watcher), payload.event(frame))
