"""The lease that shows other workers that a worker is alive, and the clean-up of dead workers' leases."""

from __future__ import annotations

from collections.abc import Callable

from forkchat import log
from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.bus.replies import number
from forkchat.jobs import Job
from forkchat.runtime import Future, Loop, gather

#: Users of a dead lease who are taken over in one batch.
_CHUNK = 200

# Register this lease, for the first time or again. A worker that is clearing it up stops, because its `reap`
# key is deleted. Set `born` if this run of Redis is new. KEYS: lease, reap, leases, born.
# ARGV: name, TTL of the lease in seconds, run.
_REGISTER = """
redis.call('SET', KEYS[1], '', 'EX', ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('SADD', KEYS[3], ARGV[1])
local born = redis.call('GET', KEYS[4])
if not born or string.match(born, '^%S+') ~= ARGV[3] then
  redis.call('SET', KEYS[4], ARGV[3] .. ' ' .. redis.call('TIME')[1])
end
"""

# Claim the clean-up of a dead lease, or renew the claim. KEYS: lease, reap. ARGV: the name of our lease, TTL
# of the claim in seconds, 1 to end the lease. The lease ends in the same step as the claim. Otherwise another
# worker could find it dead first, and treat it as a lease that ended long ago.
_REAP = """
local reaper = redis.call('GET', KEYS[2])
if ARGV[3] == '1' then redis.call('DEL', KEYS[1]) end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if reaper == ARGV[1] then return redis.call('EXPIRE', KEYS[2], ARGV[2]) end
return redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) and 1 or 0
"""

# Drop a user's session if the dead lease held it, and track the user's presence from now on. Return 0 if the
# clean-up is no longer ours, because the lease lives again or this worker was stopped meanwhile. KEYS:
# session, left, reap, users of the dead lease, users of our lease. ARGV:
#     1. the dead lease
#     2. TTL of `left` in seconds, 0 to leave it unset
#     3. the name of our lease
#     4. user
#     5. TTL of `reap` in seconds
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

# Finish the clean-up: forget the dead lease. Return 0 if the clean-up is no longer ours. KEYS: reap, leases.
# ARGV: the name of our lease, the dead lease.
_CLEARED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SREM', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
"""


class Lease:
    """A worker's lease, named host:boot:slot:generation. It is refreshed every 2 s and dead after 6 s.

    `run` is the run of Redis in which this worker is registered (see `Link`), "" before `begin`.

    `on_lost()` is called when Redis has forgotten this worker: every session must be registered again. In a
    new run, Redis lost its data, went back to a snapshot or failed over to another server. Otherwise this
    worker was stopped or cut off for too long, and other workers have cleared up its lease.

    `on_cleared(users, since)` gets users of a dead lease that this worker clears up. They have been gone for
    at least `since` seconds, unless they have a session. It may get the same users again.
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
        """Register, and clear up the leases that this lease replaces.

        MUST be done before the worker accepts clients.
        """
        self.run = self._link.run
        await self._register()
        self._is_unsure = False
        for dead in await self._replaced():
            await self._clear(dead, 0.0)
        if not self._has_begun:  # the caller repeats `begin` if a later step of the start fails
            self._has_begun = True
            self._loop.call_later(keys.LEASE_REFRESH, self._refresh_again)

    async def end(self) -> None:
        """Delete the lease, after all sessions are released.

        Only the set of users whose logout is not announced yet is left for other workers.
        """
        await self._link.call("DEL", keys.lease(self.name))

    def _register(self) -> Future[None]:
        name = self.name
        where = [keys.lease(name), keys.reap(name), keys.LEASES, keys.BORN]
        return self._link.call("EVAL", _REGISTER, len(where), *where, name, keys.LEASE_TTL, self.run)

    async def _replaced(self) -> list[str]:
        """Return the leases of this slot's earlier generations and of this host's earlier boots."""
        host, boot, slot, _ = self.name.rsplit(":", 3)
        found = []
        for name in await self._leases():
            other_host, other_boot, other_slot, _ = name.rsplit(":", 3)
            if other_host == host and name != self.name and (other_boot != boot or other_slot == slot):
                found.append(name)
        return found

    async def _leases(self) -> list[str]:
        names: list[bytes] = await self._link.call("SMEMBERS", keys.LEASES)
        return [name.decode() for name in names if name.count(b":") >= 3]  # no worker has other names

    @property
    def is_registered(self) -> bool:
        """True if Redis knows this worker in its present run, as far as can be told."""
        return not (self._is_unsure or self._is_lost)

    def reconnected(self) -> None:
        """Refresh, and doubt the registration until then, because the connection is new.

        The connection may lead to another run of Redis, and this worker was away.
        """
        self._is_unsure = True
        self.refresh()

    def refresh(self) -> None:
        """Check now whether Redis still knows this worker, and look for dead leases.

        Call this when Redis or this worker was away. Before `begin` it does nothing.
        """
        if self._has_begun:
            self._refreshing.want()
            self._clearing.want()  # a separate job: it may take longer than our own lease lives

    def _refresh_again(self) -> None:
        self._loop.call_later(keys.LEASE_REFRESH, self._refresh_again)
        self.refresh()

    async def _refresh(self) -> None:
        if not self._link.is_up:
            return  # `reconnected` refreshes when it is up
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
        if failed is not None:  # the other leases are cleared up; the job retries all
            raise failed

    async def _clear(self, dead: str, since: float) -> None:
        """Take over the users of a lease that has been silent for `since` seconds; 0 ends the lease now.

        The clean-up may be interrupted anywhere, and any worker may repeat it.
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
                self.on_cleared(users, since)  # a retry does not find the users who were dropped
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
