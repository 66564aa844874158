"""The life of a worker as the others see it, and clearing up after those whose life has ended."""

from __future__ import annotations

from collections.abc import Callable

from forkchat import log
from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.bus.replies import number
from forkchat.jobs import Job
from forkchat.runtime import Future, Loop, gather

_CHUNK = 200

# Begin to live, or go on after all: whoever is clearing us up stops. KEYS: lease, reap, leases, born.
# ARGV: name, seconds, run.
_REGISTER = """
redis.call('SET', KEYS[1], '', 'EX', ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('SADD', KEYS[3], ARGV[1])
local born = redis.call('GET', KEYS[4])
if not born or string.match(born, '^%S+') ~= ARGV[3] then
  redis.call('SET', KEYS[4], ARGV[3] .. ' ' .. redis.call('TIME')[1])
end
"""

# Be the one who clears up a dead lease, or go on with it. KEYS: lease, reap. ARGV: ours, seconds, 1 to end
# the lease: others who find it dead a step before that would clear it up as one that ended long ago.
_REAP = """
local reaper = redis.call('GET', KEYS[2])
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if reaper == ARGV[1] then return redis.call('EXPIRE', KEYS[2], ARGV[2]) end
return redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) and 1 or 0
"""

# Drop a session that the dead lease held, and answer for its user from now on; returns 0 if the lease is not
# ours to clear up any more: it lives again, or we were stopped meanwhile. KEYS: session, left, reap, its
# users, our users. ARGV: lease, seconds, ours, user, seconds.
_DROP = """
if redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
redis.call('EXPIRE', KEYS[3], ARGV[5])
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%S+ (%S+)') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  if ARGV[2] ~= '0' then redis.call('SET', KEYS[2], '', 'EX', ARGV[2]) end
end
redis.call('SADD', KEYS[5], ARGV[4])
redis.call('SREM', KEYS[4], ARGV[4])
return 1
"""

# It is cleared up. KEYS: reap, leases. ARGV: ours, lease.
_CLEARED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SREM', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
"""


class Lease:
    """Refreshed every 2 s, dead after 6. Named host:boot:slot:generation.

    `run` is the run of Redis in which this worker is registered (see `Link`); "" before `begin`.
    `on_lost()` is called when Redis has forgotten us: every session must be registered again. Either it lost
    its data, went back to a snapshot or failed over to another server (a new run), or we were stopped or cut
    off for too long and others have cleared us up. `on_cleared(users,
    since)` gets the users of a dead lease that is ours to clear up: they have been gone for `since` seconds
    at least, unless they are here; it may get them again.
    """

    def __init__(self, loop: Loop, link: Link, name: str):
        self._loop = loop
        self._link = link
        self.name = name
        self.run = ""
        self._has_begun = False
        self._is_lost = self._is_unsure = False
        self._refreshing = Job(loop, "lease.refresh", self._refresh)
        self._clearing = Job(loop, "lease.clear", self._clear_dead)
        self.on_lost: Callable[[], object] = lambda: None
        self.on_cleared: Callable[[list[int], float], object] = lambda users, since: None

    async def begin(self) -> None:
        """Register, and clear up whom this worker replaces: MUST be done before it accepts anyone."""
        self.run = self._link.run
        await self._register()
        self._is_unsure = False
        for dead in await self._replaced():
            await self._clear(dead, 0.0)
        if not self._has_begun:  # what comes after it may have failed, and it is tried again
            self._has_begun = True
            self._loop.call_later(keys.LEASE_REFRESH, self._refresh_again)

    async def end(self) -> None:
        """All sessions are released: leave nothing but those users who have not been announced."""
        await self._link.call("DEL", keys.lease(self.name))

    def _register(self) -> Future[None]:
        name = self.name
        where = [keys.lease(name), keys.reap(name), keys.LEASES, keys.BORN]
        return self._link.call("EVAL", _REGISTER, len(where), *where, name, keys.LEASE_TTL, self.run)

    async def _replaced(self) -> list[str]:
        """The leases of this slot's earlier generations and of this host's earlier boots."""
        host, boot, slot, _ = self.name.rsplit(":", 3)
        found = []
        for name in await self._leases():
            other_host, other_boot, other_slot, _ = name.rsplit(":", 3)
            if other_host == host and name != self.name and (other_boot != boot or other_slot == slot):
                found.append(name)
        return found

    async def _leases(self) -> list[str]:
        names: list[bytes] = await self._link.call("SMEMBERS", keys.LEASES)
        return [name.decode() for name in names if name.count(b":") >= 3]  # others are nobody's of ours

    @property
    def is_registered(self) -> bool:
        """Whether Redis knows us in the run that it is in, as far as can be told."""
        return not (self._is_unsure or self._is_lost)

    def reconnected(self) -> None:
        """The connection is a new one: it may lead to another run of Redis, and we were away."""
        self._is_unsure = True
        self.refresh()

    def refresh(self) -> None:
        """See at once whether Redis still knows us: it was away, or we were."""
        if self._has_begun:
            self._refreshing.want()
            self._clearing.want()  # apart: it may take longer than our own lease lives

    def _refresh_again(self) -> None:
        self._loop.call_later(keys.LEASE_REFRESH, self._refresh_again)
        self.refresh()

    async def _refresh(self) -> None:
        if not self._link.is_up:
            return  # `refresh` is called when it is
        if self.run != self._link.run:
            self.run, self._is_lost = self._link.run, True
        if not await self._link.call("EXPIRE", keys.lease(self.name), keys.LEASE_TTL):
            self._is_lost = True
        if self._is_lost:
            await self._register()
        was_lost, self._is_lost, self._is_unsure = self._is_lost, False, False
        if was_lost:
            log.warning("lease.lost", lease=self.name, run=self.run)
            self.on_lost()

    async def _clear_dead(self) -> None:
        if not self._link.is_up:
            return
        others = [name for name in await self._leases() if name != self.name]
        alive = await gather([self._link.call("EXISTS", keys.lease(name)) for name in others])
        failed: Exception | None = None
        for name, is_alive in zip(others, alive, strict=True):
            if not is_alive:
                try:
                    await self._clear(name, keys.LEASE_TTL - keys.LEASE_REFRESH)
                except Exception as error:
                    failed = error
        if failed is not None:  # the others are cleared up; all are tried again
            raise failed

    async def _clear(self, dead: str, since: float) -> None:
        """Take over the users of a lease that has been silent for `since` seconds; 0: it ends now.

        May be interrupted anywhere and done again by anyone.
        """
        lease, reap = keys.lease(dead), keys.reap(dead)
        values = self.name, keys.REAP_TTL, int(not since)
        if not await self._link.call("EVAL", _REAP, 2, lease, reap, *values, reads=number):
            return
        left, count = 0 if since else keys.LEFT_TTL, 0
        while users := [int(u) for u in await self._link.call("SRANDMEMBER", keys.users(dead), _CHUNK)]:
            try:
                dropped = await gather([self._drop(user, dead, left) for user in users])
            except BaseException:
                self.on_cleared(users, since)  # whoever was dropped is not among those that are tried again
                raise
            ours = [user for user, is_ours in zip(users, dropped, strict=True) if is_ours]
            self.on_cleared(ours, since)
            count += len(ours)
            if len(ours) < len(users):
                return
        if await self._link.call("EVAL", _CLEARED, 2, reap, keys.LEASES, self.name, dead, reads=number):
            log.info("lease.cleared", lease=dead, users=count)

    def _drop(self, user: int, dead: str, left: int) -> Future[int]:
        where = keys.session(user), keys.left(user), keys.reap(dead), keys.users(dead), keys.users(self.name)
        values = dead, left, self.name, user, keys.REAP_TTL
        return self._link.call("EVAL", _DROP, len(where), *where, *values, reads=number)
