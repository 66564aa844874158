"""Limits that hold across workers and hosts: logins, registrations, bursts. Redis keeps the time."""

from __future__ import annotations

import math
import secrets
from typing import NamedTuple

from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.bus.replies import number
from forkchat.config import Limits
from forkchat.errors import RateLimited

#: One sharer fills no more than this part of a shared bucket.
_SHARE = 5

# Take a place in each bucket, or in none. KEYS: buckets, each a sorted set of attempts by their time in ms.
# ARGV: the attempt, then for each bucket: places, seconds that one stays taken, sharer (or ''), its places.
# Returns 0, or the milliseconds until all have a place again.
_TAKE = """
local time = redis.call('TIME')
local now, wait = time[1] * 1000 + math.floor(time[2] / 1000), 0
for i, key in ipairs(KEYS) do
  local places, span = tonumber(ARGV[4 * i - 2]), ARGV[4 * i - 1] * 1000
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - span)
  local over = redis.call('ZCARD', key) - places
  if over >= 0 then
    local due = redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2] + span - now
    wait = math.max(wait, math.min(due, span))
  end
end
if wait > 0 then return math.ceil(wait) end
for i, key in ipairs(KEYS) do
  local sharer, left = ARGV[4 * i] .. '/', tonumber(ARGV[4 * i + 1])
  if sharer ~= '/' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      if string.sub(member, 1, #sharer) == sharer then left = left - 1 end
    end
  end
  if left > 0 then
    redis.call('ZADD', key, now, sharer .. ARGV[1])
    redis.call('EXPIRE', key, ARGV[4 * i - 1])
  end
end
return 0
"""

# When the next burst is due. KEYS: burst. ARGV: milliseconds in which a whole one comes together. Returns
# those that were left of the last, more than a whole one's after `owe`.
_BURST = """
local left = math.max(0, redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], '', 'PX', math.max(left, ARGV[1]))
return left
"""

# What is owed beyond a burst is waited for as well. KEYS: burst. ARGV: milliseconds until a whole one is
# there.
_OWE = """
if tonumber(ARGV[1]) > redis.call('PTTL', KEYS[1]) then redis.call('SET', KEYS[1], '', 'PX', ARGV[1]) end
return 0
"""

# Count one more; the first begins a minute. KEYS: counter. ARGV: seconds, the most. Returns the seconds to
# wait, 0: it may be.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
if count <= tonumber(ARGV[2]) then return 0 end
return math.max(1, redis.call('TTL', KEYS[1]))
"""
_MINUTE = 60
#: What is counted, in words.
_COUNTED = {
    "changes": "groups, friends and passwords are changed",
    "begun": "conversations are begun",
    "logins": "logins of one account are served",
}


class Bucket(NamedTuple):
    key: str
    places: int
    seconds: int  # that a place stays taken
    sharer: str = ""


class Attempt(NamedTuple):
    name: str
    buckets: list[Bucket]


class Rates:
    def __init__(self, link: Link):
        self._link = link

    def bucket(self, name: str, places: int, seconds: int, sharer: str = "") -> Bucket:
        """The bucket `name`: no more than `places` are taken within `seconds`; 0 places: no limit.

        A `sharer` takes up to a fifth of the places; its further attempts are let through uncounted, while
        there are places left.
        """
        return Bucket(keys.rate(name), places, seconds, sharer)

    async def take(self, buckets: list[Bucket]) -> Attempt:
        """Take a place in each bucket. Raises RateLimited, with none taken, if one is full."""
        attempt = Attempt(secrets.token_hex(8), [bucket for bucket in buckets if bucket.places])
        if not attempt.buckets:
            return attempt
        names, arguments = [bucket.key for bucket in attempt.buckets], [attempt.name]
        for bucket in attempt.buckets:
            share = math.ceil(bucket.places / _SHARE) if bucket.sharer else bucket.places
            arguments += map(str, (bucket.places, bucket.seconds, bucket.sharer, share))
        wait = await self._number(_TAKE, names, *arguments)
        if wait:
            minutes = math.ceil(wait / 60_000)
            when = "wait a little" if minutes == 1 else f"wait {minutes} minutes"
            raise RateLimited(f"too many tries; {when}", retry_after=math.ceil(wait / 1000))
        return attempt

    def give_back(self, *attempts: Attempt) -> None:
        """Free their places. Without Redis they stay taken until their time is over."""
        for attempt in attempts:
            for bucket in attempt.buckets:
                self._link.call("ZREM", bucket.key, f"{bucket.sharer}/{attempt.name}")

    async def count(self, user: int, what: str, limit: int) -> None:
        """Count that the user does something (see `_COUNTED`), whatever comes of it.

        Raises RateLimited over `limit` within a minute. 0: no limit.
        """
        if limit:
            wait = await self._number(_COUNT, [keys.count(user, what)], _MINUTE, limit)
            if wait:
                raise RateLimited(f"at most {limit} {_COUNTED[what]} a minute", retry_after=wait)

    async def burst(self, user: int, limits: Limits) -> int:
        """How many messages at once a new session begins with: no more than came together since the last,
        less than none after `owe`.

        So who logs in again and again sends at no more than twice the rate.
        """
        if not limits.message_rate:
            return limits.message_burst
        left = await self._number(_BURST, [keys.burst(user)], _whole(limits))
        return limits.message_burst - left * limits.message_rate // 1000

    async def owe(self, user: int, seconds: float, limits: Limits) -> None:
        """A session has ended that spent what comes together within so many seconds from now."""
        await self._number(_OWE, [keys.burst(user)], _whole(limits) + round(seconds * 1000))

    async def _number(self, script: str, names: list[str], *arguments: str | int) -> int:
        """What a script returns. Raises Unavailable."""
        found: int = await self._link.call("EVAL", script, len(names), *names, *arguments, reads=number)
        return found


def _whole(limits: Limits) -> int:
    """Milliseconds in which a whole burst comes together."""
    return max(1, limits.message_burst * 1000 // limits.message_rate)
