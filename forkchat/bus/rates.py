"""What holds across workers and hosts: failed logins, registrations, bursts. Redis keeps the time."""

from __future__ import annotations

from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.config import Limits
from forkchat.errors import RateLimited
from forkchat.runtime import gather

# One more; the first begins a minute. KEYS: counter. ARGV: seconds.
_COUNT = """
if redis.call('INCR', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
"""

# When the next burst is due. KEYS: burst. ARGV: milliseconds in which a whole one comes together. Returns
# those that were left of the last.
_BURST = """
local left = math.max(0, redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
return left
"""

# One change more; the first begins a minute. KEYS: counter. ARGV: seconds, the most. Returns the seconds to
# wait, 0: it may be.
_CHANGE = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
if count <= tonumber(ARGV[2]) then return 0 end
return math.max(1, redis.call('TTL', KEYS[1]))
"""
_MINUTE = 60


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

    async def change(self, user: int, limit: int) -> None:
        """Count that the user makes or joins a group, or adds a friend, whatever comes of it.

        Raises RateLimited over `limit` within a minute. 0: no limit.
        """
        if limit:
            wait = await self._link.call("EVAL", _CHANGE, 1, keys.changes(user), _MINUTE, limit)
            if wait:
                raise RateLimited(
                    f"at most {limit} groups and friends are made, joined or added a minute", retry_after=wait
                )

    async def burst(self, user: int, limits: Limits) -> int:
        """How many messages at once a new session begins with: no more than came together since the last.

        So who logs in again and again sends at no more than twice the rate.
        """
        if not limits.message_rate:
            return limits.message_burst
        whole = limits.message_burst * 1000 // limits.message_rate
        left = await self._link.call("EVAL", _BURST, 1, keys.burst(user), max(1, whole))
        return max(0, limits.message_burst - left * limits.message_rate // 1000)
