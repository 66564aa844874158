"""Counters per minute that hold across workers and hosts: failed logins, registrations."""

from __future__ import annotations

import time

from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.errors import RateLimited
from forkchat.runtime import gather


class Rates:
    def __init__(self, link: Link):
        self._link = link

    async def check(self, kind: str, whos: list[str], limit: int) -> None:
        """Raises RateLimited if any of `whos` has reached `limit` this minute. 0: no limit."""
        if not limit:
            return
        minute, second = divmod(int(time.time()), 60)
        counts = await gather([self._link.call("GET", keys.rate(kind, who, minute)) for who in whos])
        if any(int(count or 0) >= limit for count in counts):
            raise RateLimited("too many tries; wait a little", retry_after=60 - second)

    async def count(self, kind: str, whos: list[str]) -> None:
        """One more for each of `whos`."""
        minute = int(time.time()) // 60
        for who in whos:
            key = keys.rate(kind, who, minute)
            self._link.call("INCR", key)
            await self._link.call("EXPIRE", key, keys.RATE_TTL)
