"""The registry of logged-in users. Sessions are claimed and released by compare-and-set on a random token."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from forkchat.bus import keys
from forkchat.bus.lease import Lease
from forkchat.bus.link import Link
from forkchat.bus.replies import number, text, texts
from forkchat.errors import AlreadyOnline, Unavailable
from forkchat.runtime import Future, gather

#: Attempts of one claim. An attempt fails if another claim changes the session in between.
_CLAIM_TRIES = 5
#: Seconds after which every live session is registered in a new run of Redis. Sessions that are registered
#: again in the first `_EARLY` seconds need no announcement, because `Roster.resynchronize` reports all
#: friends to all.
_SETTLING, _EARLY = 5, 3
#: Channels to which one script call publishes.
_CHUNK = 500

# `is_valid` tells whether a session's value belongs to this run. `age` returns the seconds for which this run
# has had data, below 0 if its clock was set back. ARGV: run.
_RUN = """
local function is_valid(held) return held and string.match(held, '%S+$') == ARGV[1] end
local function age(born)
  if not born or string.match(born, '^%S+') ~= ARGV[1] then return 0 end
  return redis.call('TIME')[1] - string.match(born, '%S+$')
end
"""

# Claim the session unless another session holds it. Return {1, was here} or {0, holder}. "Was here" is 0 if
# an announced user was briefly not here, because a friend may have seen that. `told` is deleted then, so that
# a repeated claim returns the same. KEYS: session, left, told, born. ARGV:
#     1. run
#     2. seconds in which a value of an earlier run may belong to a session that will soon be registered again
#     3. token
#     4. value
#     5. the value that may be replaced, or ""
#     6. 1 if the session is new, else 0
#     7. seconds of a run in which a session that is not new needs no announcement
#     8. the user's channel
#     9. the payload for that channel if a session is replaced
_CLAIM = (
    _RUN
    + """
local held = redis.call('GET', KEYS[1])
local since = age(redis.call('GET', KEYS[4]))
local counts = is_valid(held) or (held and ARGV[6] == '1' and since < tonumber(ARGV[2]))
if counts and string.match(held, '^%S+') ~= ARGV[3] then
  if held ~= ARGV[5] then return {0, held} end
  redis.call('PUBLISH', ARGV[8], ARGV[9])
end
local was = (is_valid(held) or redis.call('EXISTS', KEYS[2]) == 1) and redis.call('EXISTS', KEYS[3]) == 1
local is_early = ARGV[6] == '0' and since >= 0 and since < tonumber(ARGV[7])
redis.call('SET', KEYS[1], ARGV[4])
redis.call('DEL', KEYS[2])
if was or is_early then
  redis.call('SET', KEYS[3], '')
  return {1, 1}
end
redis.call('DEL', KEYS[3])
return {1, 0}
"""
)

# Release the session if it is still ours. Return 0 if another session has replaced it, else 1.
# KEYS: session, left. ARGV: token, TTL of `left` in seconds.
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if not held then return 1 end
if string.match(held, '^%S+') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
return 1
"""

# Publish that a user is here or gone, unless that is no longer true. KEYS: session, left, told. ARGV: run,
# 1 for here or 0 for gone, 1 to update `told`, payload, channels.
_ANNOUNCE = (
    _RUN
    + """
local is_here = is_valid(redis.call('GET', KEYS[1])) or redis.call('EXISTS', KEYS[2]) == 1
if is_here ~= (ARGV[2] == '1') then return end
for at = 5, #ARGV do redis.call('PUBLISH', ARGV[at], ARGV[4]) end
if ARGV[3] == '1' then
  if is_here then redis.call('SET', KEYS[3], '') else redis.call('DEL', KEYS[3]) end
end
"""
)


class NotSettled(AlreadyOnline):
    """The other session is of an earlier run of Redis, and may be registered again in a moment.

    Redis failed over or came back with a snapshot. That session's worker may still be at the other Redis.
    """

    may_be_orphaned = False


class Claim(NamedTuple):
    """A session that this worker has claimed.

    `was_here` means that no announcement is needed now. The user's friends know that the user is online, or
    will soon be told about all their friends.
    """

    user: int
    token: str
    was_here: bool


def _claimed(reply: Any) -> tuple[bool, str]:
    """Convert a claim's reply to `(was here, "")` if it succeeded, else to `(False, value of the holder)`."""
    is_ours, what = reply
    if number(is_ours):
        return bool(number(what)), ""
    _token, _lease, _run = what.split(b" ")
    return False, what.decode()


def _born(reply: Any) -> tuple[str, float]:
    """Return the run whose data this Redis has, and the time since which; ("", 0.0) if it has no data."""
    if text(reply) is None:
        return "", 0.0
    run, since = reply.decode().split(" ")
    return run, float(since)


def token_of(value: str) -> str:
    return value.split(" ", maxsplit=1)[0]


def lease_of(value: str) -> str:
    """Return the lease that a session's value names."""
    return value.split(" ")[1]


class Presence:
    """Sessions in Redis, on behalf of one lease. All requests to Redis raise Unavailable without Redis.

    A session is identified by its random token. A user is *here* while no friend was told of a logout. This
    state lasts from the claim until `LEFT_TTL` seconds after its release, or until a dead lease is cleared
    up.

    `kick(token)` returns the payload for the user's channel when a claim replaces the session of that token.
    """

    def __init__(self, link: Link, subscriber: Link, lease: Lease):
        self._link = link
        self._subscriber = subscriber
        self._lease = lease
        self.kick: Callable[[str], bytes] = lambda token: b""

    def new_token(self) -> str:
        return secrets.token_hex(8)

    async def age(self) -> float:
        """Return the seconds for which Redis has had data of this run.

        Returns 0 if Redis has no data, or only data of an earlier run.
        """
        born, now = await gather([self._link.call("GET", keys.BORN, reads=_born), self._link.call("TIME")])
        run, since = born
        return now - since if run == self._lease.run else 0.0

    async def claim(self, user: int, token: str, is_new: bool, takeover: bool = False) -> Claim:
        """Claim a new session, register our session again, or confirm that it is still registered.

        The same step notifies the worker of a replaced session. A lost answer or connection can therefore not
        leave both sessions. After Unavailable the session may be claimed nevertheless: `release` it.

        Raises AlreadyOnline if another session lives and `takeover` is false, or if other claims keep
        winning. Raises NotSettled, instead of AlreadyOnline, if the living session is of an earlier run.
        """
        # Any worker may replace a session whose lease is not registered. A worker that is subscribed at
        # another Redis would not learn that its session was replaced.
        if not self._lease.is_registered or self._subscriber.run != self._lease.run:
            raise Unavailable("Redis is another one, and does not know this worker yet")
        self._answer_for(user)
        where = *_keys(user), keys.BORN
        replaced = ""
        for _ in range(_CLAIM_TRIES):
            values = self._lease.run, _SETTLING, token, self._value(token), replaced, int(is_new), _EARLY
            kick = keys.user_channel(user), self.kick(token_of(replaced))
            claim = "EVAL", _CLAIM, len(where), *where, *values, *kick
            was_here, held = await self._link.call(*claim, reads=_claimed)
            if not held:
                return Claim(user, token, was_here)
            if not takeover and await self._link.call("EXISTS", keys.lease(lease_of(held))):
                is_settled = held.endswith(self._lease.run)
                raise (AlreadyOnline if is_settled else NotSettled)("this account is already online")
            replaced = held
        raise AlreadyOnline("this account is logging in elsewhere")

    def _value(self, token: str) -> str:
        return f"{token} {self._lease.name} {self._lease.run}"

    def _answer_for(self, user: int) -> None:
        """Track the user under this lease.

        If this worker dies, the worker that clears up the lease handles the user's presence.
        """
        self._link.call("SADD", keys.users(self._lease.name), user)

    async def is_held(self, user: int, token: str) -> bool:
        """Return whether the session still holds its claim in this run.

        Call this after the worker has attached the session.
        """
        self._answer_for(user)  # an earlier logout, announced after the claim, may have called `forget`
        return await self._link.call("GET", keys.session(user)) == self._value(token).encode()

    async def holder(self, user: int) -> str:
        """Return the token of the user's session, "" if there is no session."""
        held = await self._link.call("GET", keys.session(user))
        return token_of(held.decode()) if held else ""

    async def release(self, user: int, token: str) -> bool:
        """Release the session. Return False if another session has replaced it.

        A repeated call returns True again, because the first answer may have been lost.
        """
        where = keys.session(user), keys.left(user)
        return bool(
            await self._link.call("EVAL", _RELEASE, len(where), *where, token, keys.LEFT_TTL, reads=number)
        )

    def may_be_back(self, user: int) -> Future[int]:
        """Return 1 if the user's last session was released within the last `LEFT_TTL` seconds, else 0."""
        return self._link.call("EXISTS", keys.left(user))

    def forget(self, user: int) -> Future[int]:
        """Stop tracking this user under this lease, because their friends have been notified."""
        return self._link.call("SREM", keys.users(self._lease.name), user)

    async def here(self, users: list[int]) -> set[int]:
        """Return the members of `users` who are here.

        The query uses the connection that announcements arrive on. Announcements after the answer are newer
        than the answer.
        """
        if not users:
            return set()
        where = [key for user in users for key in (keys.session(user), keys.left(user))]
        # A single command, so that nothing is announced in its middle.
        found = await self._subscriber.call("MGET", *where, reads=partial(texts, count=len(where)))
        run = self._lease.run.encode()
        return {
            user
            for user, held, left in zip(users, found[::2], found[1::2], strict=True)
            if left is not None or (held is not None and held.endswith(run))
        }

    async def announce(self, user: int, is_here: bool, channels: list[str], payload: bytes) -> None:
        """Publish that the user has come or gone, unless that is no longer true."""
        # A login sets `told` with the last chunk of channels; a logout deletes it with the first chunk. An
        # interrupted announcement is therefore made again.
        chunks = [channels[at : at + _CHUNK] for at in range(0, len(channels), _CHUNK)] or [[]]
        decisive = len(chunks) - 1 if is_here else 0
        for at, some in enumerate(chunks):
            values = self._lease.run, int(is_here), int(at == decisive), payload
            await self._link.call("EVAL", _ANNOUNCE, 3, *_keys(user), *values, *some)


def _keys(user: int) -> tuple[str, str, str]:
    return keys.session(user), keys.left(user), keys.told(user)
