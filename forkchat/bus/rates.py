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

#: One sharer fills at most 1/`_SHARE` of the places of a shared bucket.
_SHARE = 5

# Take a place in each bucket, or in none. Return 0, or the milliseconds until all buckets have a place again.
# KEYS: buckets, each a sorted set of attempts by their time in milliseconds. ARGV: the attempt, then four
# values per bucket. These are its places, the seconds that a place stays taken, the sharer (or '') and the
# sharer's places.
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

# Start to refill the burst, unless a longer refill is in progress. Return the milliseconds that the last
# refill still needed, more than a whole refill after `owe`. KEYS: burst. ARGV: milliseconds of a whole
# refill.
_BURST = """
local left = math.max(0, redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], '', 'PX', math.max(left, ARGV[1]))
return left
"""

# Prolong the refill, because a debt beyond the burst has to be refilled too. KEYS: burst. ARGV: milliseconds
# until the burst is whole.
_OWE = """
if tonumber(ARGV[1]) > redis.call('PTTL', KEYS[1]) then redis.call('SET', KEYS[1], '', 'PX', ARGV[1]) end
return 0
"""

# Count an action; the first starts the period. Return the seconds to wait, 0 if the action is allowed.
# KEYS: counter. ARGV: seconds of the period, limit.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
if count <= tonumber(ARGV[2]) then return 0 end
return math.max(1, redis.call('TTL', KEYS[1]))
"""
#: Seconds of the period in which actions are counted.
_MINUTE = 60
#: The counted actions, as error texts name them.
_COUNTED = {
    "changes": "groups, friends and passwords are changed",
    "begun": "conversations are begun",
    "logins": "logins of one account are served",
}


class Bucket(NamedTuple):
    key: str
    places: int
    seconds: int  # for which a place stays taken
    sharer: str = ""


class Attempt(NamedTuple):
    name: str
    buckets: list[Bucket]


class Rates:
    def __init__(self, link: Link):
        self._link = link

    def bucket(self, name: str, places: int, seconds: int, sharer: str = "") -> Bucket:
        """Return the bucket `name`, in which at most `places` are taken within `seconds`; 0 means no limit.

        A `sharer` takes up to a fifth of the places. Its further attempts pass uncounted while the bucket has
        places left.
        """
        return Bucket(keys.rate(name), places, seconds, sharer)

    async def take(self, buckets: list[Bucket]) -> Attempt:
        """Take a place in each bucket. Raises RateLimited, and takes no place, if a bucket is full."""
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
        """Free the places of these attempts. Without Redis, they stay taken until their time is over."""
        for attempt in attempts:
            for bucket in attempt.buckets:
                self._link.call("ZREM", bucket.key, f"{bucket.sharer}/{attempt.name}")

    async def count(self, user: int, what: str, limit: int) -> None:
        """Count an action of the user, `what` of `_COUNTED`, even if the action fails later.

        Raises RateLimited if the user exceeds `limit` actions within a minute. A `limit` of 0 means no limit.
        """
        if limit:
            wait = await self._number(_COUNT, [keys.count(user, what)], _MINUTE, limit)
            if wait:
                raise RateLimited(f"at most {limit} {_COUNTED[what]} a minute", retry_after=wait)

    async def burst(self, user: int, limits: Limits) -> int:
        """Return how many messages a new session may send at once: at most what was refilled since the last.

        The number may be negative after `owe`. A client that logs in repeatedly therefore sends at twice the
        rate at most.
        """
        if not limits.message_rate:
            return limits.message_burst
        left = await self._number(_BURST, [keys.burst(user)], _whole(limits))
        return limits.message_burst - left * limits.message_rate // 1000

    async def owe(self, user: int, seconds: float, limits: Limits) -> None:
        """Record the debt of an ended session, which has spent the refill of the next `seconds`."""
        await self._number(_OWE, [keys.burst(user)], _whole(limits) + round(seconds * 1000))

    async def _number(self, script: str, names: list[str], *arguments: str | int) -> int:
        """Run a script and return its number. Raises Unavailable if Redis does not run it."""
        found: int = await self._link.call("EVAL", script, len(names), *names, *arguments, reads=number)
        return found


def _whole(limits: Limits) -> int:
    """Return the milliseconds in which a whole burst is refilled."""
    return max(1, limits.message_burst * 1000 // limits.message_rate)
