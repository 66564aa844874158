"""Presence announcements to friends. An absence of a few seconds is not announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forkchat import log
from forkchat.jobs import background, retrying
from forkchat.runtime import Loop, gather
from forkchat.service import payload
from forkchat.service.channels import user_channel
from forkchat.service.delivery import Delivery
from forkchat.wire import msgid as m
from forkchat.wire.frames import line

if TYPE_CHECKING:
    from forkchat.bus.presence import Claim, Presence
    from forkchat.bus.router import Router
    from forkchat.store import Store

#: Seconds after which a user who left counts as gone: slightly longer than Redis remembers the logout.
_GONE = 5.2
#: Seconds between checks of a user who left later than expected.
_LOOK = 1.0
#: Seconds within which every worker registers its sessions again after Redis was unavailable.
_REGISTERED = 5.0
#: Users per query.
_CHUNK = 100


class Roster:
    """Announcements of a user's presence to the users who have added them.

    Each login and logout costs one query. No map of watchers is kept.
    """

    def __init__(self, loop: Loop, store: Store, presence: Presence, router: Router, delivery: Delivery):
        self._loop = loop
        self._store = store
        self._presence = presence
        self._router = router
        self._delivery = delivery
        self._leaving: set[int] = set()  # users who are due for a check
        self._is_due = False
        self._missed_at = 0.0

    def arrived(self, claim: Claim, name: str) -> None:
        """Announce a user's arrival after a claim, unless their friends know it.

        The session is new, or was registered again.
        """
        if not claim.was_here:
            background(self._announce(claim.user, name, is_here=True), "roster.arrived")

    def departed(self, users: list[int], since: float = 0.0) -> None:
        """Announce the departure of the users soon, unless they come back.

        They have had no session for `since` seconds.
        """
        users = [user for user in users if user not in self._leaving]
        self._leaving.update(users)
        self._loop.call_later(max(0.0, _GONE - since), self._are_gone, users)

    def _are_gone(self, users: list[int]) -> None:
        for user in users:
            background(self._announce_gone(user), "roster.departed")

    async def _announce_gone(self, user: int) -> None:
        """Announce that the user has gone, unless they have a session, whose worker tracks their presence.

        A user who may be back is checked again later, because the worker that released their session may have
        stopped.
        """
        self._leaving.discard(user)
        if await retrying(self._loop, lambda: self._presence.may_be_back(user), "roster.departed"):
            self.departed([user], _GONE - _LOOK)
            return
        await self._announce(user, "", is_here=False)
        if user not in self._delivery.sessions and user not in self._leaving:
            await self._presence.forget(user)

    async def _announce(self, user: int, name: str, is_here: bool) -> None:
        """Announce to the user's watchers, and retry as long as Redis or MySQL is unavailable.

        Nothing is announced that is no longer true.
        """
        await retrying(self._loop, lambda: self._announce_now(user, name, is_here), "roster.announce")

    async def _announce_now(self, user: int, name: str, is_here: bool) -> None:
        if not is_here and user in await self._presence.here([user]):
            log.debug("roster.back", user=user)
            return  # already back: a client that logs in and out repeatedly costs no list of watchers
        channels = [user_channel(watcher) for watcher in await self._store.friends.watchers(user)]
        if channels and not name:
            account = await self._store.users.find(user)
            name = account.name if account else ""
        event = payload.event(_frame(user, name, is_here))
        await self._presence.announce(user, is_here, channels, event)
        log.debug("roster.announced", user=user, is_here=is_here, friends=len(channels))

    async def start(self) -> None:
        """Resynchronize if Redis has just lost its data.

        Friends of the users who log in here may not be registered again yet.
        """
        if await self._presence.age() < _REGISTERED:
            self.resynchronize()

    def resynchronize(self) -> None:
        """Tell every user here soon how their friends are, because announcements may have been missed.

        This is done `_REGISTERED` seconds after the first loss, and again after the last one. Further losses
        must not postpone it for ever.
        """
        self._missed_at = self._loop.time()
        if not self._is_due:
            self._tell_in(_REGISTERED)

    def _tell_in(self, seconds: float) -> None:
        self._is_due = True
        self._loop.call_later(seconds, self._tell_again)

    def _tell_again(self) -> None:
        self._is_due = False
        if (left := self._missed_at + _REGISTERED - self._loop.time()) > 0:
            self._tell_in(left)
        background(self._tell_all(), "roster.resynchronize")

    async def _tell_all(self) -> None:
        users = [user for user, session in self._delivery.sessions.items() if session.peer.is_modern]
        try:
            for at in range(0, len(users), _CHUNK):
                await self._tell(users[at : at + _CHUNK])
        except BaseException:
            self.resynchronize()
            raise
        log.info("roster.told", users=len(users))

    async def _tell(self, users: list[int]) -> None:
        friends = await gather([self._store.friends.of(user) for user in users])
        here = await self._presence.here(list({friend for some in friends for friend, _ in some}))
        for user, some in zip(users, friends, strict=True):
            session = self._delivery.sessions.get(user)
            if session is not None:
                for friend, name in some:
                    session.push(_frame(friend, name, friend in here))


def _frame(user: int, name: str, is_here: bool) -> bytes:
    state = "online" if is_here else "offline"
    return line({"msgid": m.PRESENCE, "id": user, "name": name, "state": state})
