"""Who is logged in, and where: sessions claimed and released by compare-and-set on a random token."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.errors import AlreadyOnline
from forkchat.runtime import Future, gather

_CLAIM_TRIES = 5
#: Channels of one announcement.
_CHUNK = 500

# Take the session unless another one holds it. KEYS: session, left, told. ARGV: ours, the one that may
# be replaced (or ""). Returns {1, was here} or {0, holder}. Who was told of and yet not here for a moment
# may have been seen offline in it, by someone who asked: that is not having been here.
_CLAIM = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[2] then return {0, held} end
local was = (held or redis.call('EXISTS', KEYS[2]) == 1) and redis.call('EXISTS', KEYS[3]) or 0
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return {1, was}
"""

# Give the session up if it is still ours. KEYS: session, left. ARGV: ours, seconds.
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
return 1
"""


# Tell of a user's coming or going, unless it is no longer true. KEYS: session, left, told. ARGV: 1 for
# here or 0 for gone, whether this makes it told, payload, channels.
_ANNOUNCE = """
if math.min(redis.call('EXISTS', KEYS[1], KEYS[2]), 1) ~= tonumber(ARGV[1]) then return end
for at = 4, #ARGV do redis.call('PUBLISH', ARGV[at], ARGV[3]) end
if ARGV[2] == '1' then
  if ARGV[1] == '1' then redis.call('SET', KEYS[3], '') else redis.call('DEL', KEYS[3]) end
end
"""


class Claim(NamedTuple):
    """A session of ours: `value` is what its key holds, `replaced` what it held before (or "").

    `was_here`: their friends know them to be online, so that nobody needs to be told.
    """

    user: int
    value: str
    replaced: str
    was_here: bool


def lease_of(value: str) -> str:
    """The lease that a session's value names."""
    return value.partition(" ")[2]


class Presence:
    """Sessions in Redis, on behalf of one lease. Everything here raises Unavailable without Redis.

    A user is *here* as long as nobody was told of their going: from their claim until `LEFT_TTL` seconds
    after its release, or until a dead lease is cleared up.
    """

    def __init__(self, link: Link, subscriber: Link, lease: str):
        self._link = link
        self._subscriber = subscriber
        self._lease = lease

    def new_value(self) -> str:
        """What a new session's key will hold."""
        return f"{secrets.token_hex(8)} {self._lease}"

    async def age(self) -> float:
        """Seconds for which Redis has known what it knows; 0 if it knows nothing."""
        born, (now, _) = await gather([self._link.call("GET", keys.BORN), self._link.call("TIME")])
        return float(now) - float(born or now)

    async def claim(self, user: int, value: str, takeover: bool = False) -> Claim:
        """A new session; or register one of ours again, or see that it still is.

        Raises AlreadyOnline if another, living one exists and is not to be taken over. After Unavailable it
        may be claimed all the same: `release` it.
        """
        self._answer_for(user)
        replaced = ""
        for _ in range(_CLAIM_TRIES):
            is_ours, reply = await self._link.call("EVAL", _CLAIM, 3, *_keys(user), value, replaced)
            if is_ours:
                return Claim(user, value, replaced, bool(reply))
            held = reply.decode()
            if not takeover and await self._link.call("EXISTS", keys.lease(lease_of(held))):
                raise AlreadyOnline("this account is already online")
            replaced = held
        raise AlreadyOnline("this account is logging in elsewhere")

    def _answer_for(self, user: int) -> None:
        """If this worker dies, whoever clears up its lease sees to the user's presence."""
        self._link.call("SADD", keys.users(self._lease), user)

    async def is_held(self, user: int, value: str) -> bool:
        """Whether the session, which is known to this worker by now, is still this one."""
        self._answer_for(user)  # the logout before may have been announced, and forgotten, after the claim
        return await self._link.call("GET", keys.session(user)) == value.encode()

    async def holder(self, user: int) -> str:
        """The session's value, "" if there is none."""
        held = await self._link.call("GET", keys.session(user))
        return held.decode() if held else ""

    async def release(self, user: int, value: str) -> bool:
        """Give the session up; False if it was no longer ours."""
        return bool(
            await self._link.call(
                "EVAL", _RELEASE, 2, keys.session(user), keys.left(user), value, keys.LEFT_TTL
            )
        )

    def forget(self, user: int) -> Future[int]:
        """This lease answers for the user's presence no more: it has been told to whom it concerns."""
        return self._link.call("SREM", keys.users(self._lease), user)

    async def here(self, users: list[int]) -> set[int]:
        """Those of `users` who are here.

        Asked where announcements come in: what is announced later is later than this answer.
        """
        if not users:
            return set()
        where = [key for user in users for key in (keys.session(user), keys.left(user))]
        found = await self._subscriber.call("MGET", *where)  # one command: nothing is announced in its middle
        signs = zip(found[::2], found[1::2], strict=True)
        return {user for user, some in zip(users, signs, strict=True) if some != (None, None)}

    def mark_told(self, user: int) -> None:
        """The user's friends will be told that they are here, by who tells them of all their friends."""
        self._link.call("SET", keys.told(user), "")

    async def announce(self, user: int, is_here: bool, channels: list[str], payload: bytes) -> None:
        """Publish that the user has come or gone, unless that is no longer true."""
        # Who comes is told of with the last of many channels, who goes is not any more with the first:
        # whatever is interrupted is then announced again.
        chunks = [channels[at : at + _CHUNK] for at in range(0, len(channels), _CHUNK)] or [[]]
        decisive = len(chunks) - 1 if is_here else 0
        for at, some in enumerate(chunks):
            flags = int(is_here), int(at == decisive)
            await self._link.call("EVAL", _ANNOUNCE, 3, *_keys(user), *flags, payload, *some)


def _keys(user: int) -> tuple[str, str, str]:
    return keys.session(user), keys.left(user), keys.told(user)
