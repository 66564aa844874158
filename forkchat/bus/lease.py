"""The life of a worker as the others see it, and clearing up after those whose life has ended."""

from __future__ import annotations

from collections.abc import Callable

from forkchat import log
from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.errors import Unavailable
from forkchat.runtime import Future, Loop, gather, spawn

_CHUNK = 200

# Drop a session that the dead lease held. KEYS: session, left. ARGV: lease, seconds.
_DROP = """
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, -string.len(ARGV[1]) - 1) == ' ' .. ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
end
"""


class Lease:
    """Refreshed every 2 s, dead after 6. Named host:boot:slot:generation.

    `on_lost()` is called when Redis has forgotten us (it lost its data, or we were stopped for too
    long): every session must be registered again. `on_cleared(users)` gets the users of a dead lease
    that is ours to clear up: they are gone unless they log in again.
    """

    def __init__(self, loop: Loop, link: Link, name: str):
        self._loop = loop
        self._link = link
        self.name = name
        self.on_lost: Callable[[], object] = lambda: None
        self.on_cleared: Callable[[list[int]], object] = lambda users: None

    async def begin(self) -> None:
        """Register, and clear up whom this worker replaces: MUST be done before it accepts anyone."""
        await self._register()
        await gather([self._clear(dead) for dead in await self._replaced()])
        self._loop.call_later(keys.LEASE_REFRESH, self._refresh)

    async def end(self) -> None:
        """All sessions are released: leave nothing but those users who have not been announced."""
        await self._link.call("DEL", keys.lease(self.name))

    async def _register(self) -> None:
        await self._link.call("SADD", keys.LEASES, self.name)
        await self._link.call("SET", keys.lease(self.name), "", "EX", keys.LEASE_TTL)

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
        return [name.decode() for name in await self._link.call("SMEMBERS", keys.LEASES)]

    def _refresh(self) -> None:
        self._loop.call_later(keys.LEASE_REFRESH, self._refresh)
        spawn(self._refresh_once()).add_done_callback(_log_error)

    async def _refresh_once(self) -> None:
        if not self._link.is_up:
            return
        if not await self._link.call("EXPIRE", keys.lease(self.name), keys.LEASE_TTL):
            log.warning("lease.lost", lease=self.name)
            await self._register()
            self.on_lost()
        others = [name for name in await self._leases() if name != self.name]
        alive = await gather([self._link.call("EXISTS", keys.lease(name)) for name in others])
        for name, is_alive in zip(others, alive, strict=True):
            if not is_alive:
                await self._clear(name)

    def _clear(self, dead: str) -> Future[None]:
        return spawn(self._clear_up(dead))

    async def _clear_up(self, dead: str) -> None:
        """Take over the users of a dead lease. May be interrupted anywhere and done again by anyone."""
        if not await self._link.call("SET", keys.reap(dead), self.name, "NX", "EX", keys.REAP_TTL):
            return
        await self._link.call("DEL", keys.lease(dead))
        count = 0
        while users := [int(u) for u in await self._link.call("SRANDMEMBER", keys.users(dead), _CHUNK)]:
            await gather([self._drop(user, dead) for user in users])
            await self._link.call("SADD", keys.users(self.name), *users)
            await self._link.call("SREM", keys.users(dead), *users)
            self.on_cleared(users)
            count += len(users)
        await self._link.call("SREM", keys.LEASES, dead)
        await self._link.call("DEL", keys.reap(dead))
        log.info("lease.cleared", lease=dead, users=count)

    def _drop(self, user: int, dead: str) -> Future[None]:
        return self._link.call("EVAL", _DROP, 2, keys.session(user), keys.left(user), dead, keys.LEFT_TTL)


def _log_error(done: Future[None]) -> None:
    error = done.exception()
    if isinstance(error, Unavailable):
        log.warning("lease.unrefreshed", why=error)
    elif error is not None:
        log.exception("lease.error", error)
