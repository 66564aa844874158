"""Counters that hold across workers and hosts: failed logins, registrations. Redis keeps the time."""

from __future__ import annotations

from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.errors import RateLimited
from forkchat.runtime import gather

# One more; the first begins a minute. KEYS: counter. ARGV: seconds.
_COUNT = """
if redis.call('INCR', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
"""


class Rates:
    def __init__(self, link: Link):
        self._link = link

    async def check(self, kind: str, whos: list[str], limit: int) -> None:
        """Raises RateLimited if any of `whos` has reached `limit` within a minute. 0: no limit."""
        if not limit:
            return
        names = [keys.rate(kind, who) for who in whos]
        counts = await gather([self._link.call("GET", name) for name in names])
        reached = [name for name, count in zip(names, counts, strict=True) if int(count or 0) >= limit]
        if reached:
            left = await gather([self._link.call("TTL", name) for name in reached])
            raise RateLimited("too many tries; wait a little", retry_after=max(1, *left))

    async def count(self, kind: str, whos: list[str]) -> None:
        """One more for each of `whos`."""
        await gather(
            [self._link.call("EVAL", _COUNT, 1, keys.rate(kind, who), keys.RATE_TTL) for who in whos]
        )
