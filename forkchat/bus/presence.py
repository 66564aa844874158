"""Who is logged in, and where: sessions claimed and released by compare-and-set on a random token."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from forkchat.bus import keys
from forkchat.bus.lease import Lease
from forkchat.bus.link import Link
from forkchat.errors import AlreadyOnline, Unavailable
from forkchat.runtime import Future, gather

_CLAIM_TRIES = 5
#: Seconds after which every living session is registered in a new run of Redis.
_SETTLING = 5
#: Channels of one announcement.
_CHUNK = 500

# Whether a session's value is of this run, and whether this run is younger than ARGV[2] seconds: then a value
# of an earlier one may be of a session that is about to be registered again. ARGV: run, seconds.
_RUN = """
local function is_valid(held) return held and string.match(held, '%S+$') == ARGV[1] end
local function is_young(born)
  return not born or string.match(born, '^%S+') ~= ARGV[1]
    or redis.call('TIME')[1] - string.match(born, '%S+$') < tonumber(ARGV[2])
end
"""

# Take the session unless another one holds it. KEYS: session, left, told, born. ARGV: run, seconds, token,
# value, the value that may be replaced (or ""), 1 if the session is new. Returns {1, was here} or {0,
# holder}. Who was told of and yet not here for a moment may have been seen offline in it, by someone who
# asked: that is not having been here.
_CLAIM = (
    _RUN
    + """
local held = redis.call('GET', KEYS[1])
local counts = is_valid(held) or (held and ARGV[6] == '1' and is_young(redis.call('GET', KEYS[4])))
if counts and string.match(held, '^%S+') ~= ARGV[3] and held ~= ARGV[5] then return {0, held} end
local was = is_valid(held) or redis.call('EXISTS', KEYS[2]) == 1
redis.call('SET', KEYS[1], ARGV[4])
redis.call('DEL', KEYS[2])
return {1, was and redis.call('EXISTS', KEYS[3]) or 0}
"""
)

# Give the session up if it is still ours. KEYS: session, left. ARGV: token, seconds.
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if not held or string.match(held, '^%S+') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
return 1
"""

# Tell of a user's coming or going, unless it is no longer true. KEYS: session, left, told. ARGV: run, 0, 1
# for here or 0 for gone, whether this makes it told, payload, channels.
_ANNOUNCE = (
    _RUN
    + """
local is_here = is_valid(redis.call('GET', KEYS[1])) or redis.call('EXISTS', KEYS[2]) == 1
if is_here ~= (ARGV[3] == '1') then return end
for at = 6, #ARGV do redis.call('PUBLISH', ARGV[at], ARGV[5]) end
if ARGV[4] == '1' then
  if is_here then redis.call('SET', KEYS[3], '') else redis.call('DEL', KEYS[3]) end
end
"""
)


class NotSettled(AlreadyOnline):
    """Redis failed over, or came back with a snapshot: the other session may be registered again in a moment,
    by a worker that is still at the other Redis."""

    may_be_orphaned = False


class Claim(NamedTuple):
    """A session of ours: its token, and that of the session that it replaced (or "").

    `was_here`: their friends know them to be online, so that nobody needs to be told.
    """

    user: int
    token: str
    replaced: str
    was_here: bool


def token_of(value: str) -> str:
    return value.split(" ", maxsplit=1)[0]


def lease_of(value: str) -> str:
    """The lease that a session's value names."""
    return value.split(" ")[1]


class Presence:
    """Sessions in Redis, on behalf of one lease. Everything here raises Unavailable without Redis.

    A session is known by its random token. A user is *here* as long as nobody was told of their going: from
    their claim until `LEFT_TTL` seconds after its release, or until a dead lease is cleared up.
    """

    def __init__(self, link: Link, subscriber: Link, lease: Lease):
        self._link = link
        self._subscriber = subscriber
        self._lease = lease

    def new_token(self) -> str:
        return secrets.token_hex(8)

    async def age(self) -> float:
        """Seconds for which Redis has known what it knows; 0 if it knows nothing, or that of an earlier
        run."""
        born, (now, _) = await gather([self._link.call("GET", keys.BORN), self._link.call("TIME")])
        run, _, since = born.decode().partition(" ") if born else ("", "", "")
        return float(now) - float(since) if run == self._lease.run else 0.0

    async def claim(self, user: int, token: str, is_new: bool, takeover: bool = False) -> Claim:
        """A new session; or register one of ours again, or see that it still is.

        Raises AlreadyOnline if another, living one exists and is not to be taken over, NotSettled if that is
        of an earlier run. After Unavailable it may be claimed all the same: `release` it.
        """
        # What a lease holds that is not there is anyone's, and so is a session to which nobody listens.
        if not self._lease.is_registered or self._subscriber.run != self._lease.run:
            raise Unavailable("Redis is another one, and does not know this worker yet")
        self._answer_for(user)
        where = *_keys(user), keys.BORN
        replaced = ""
        for _ in range(_CLAIM_TRIES):
            values = self._lease.run, _SETTLING, token, self._value(token), replaced, int(is_new)
            is_ours, reply = await self._link.call("EVAL", _CLAIM, len(where), *where, *values)
            if is_ours:
                return Claim(user, token, token_of(replaced), bool(reply))
            held = reply.decode()
            if not takeover and await self._link.call("EXISTS", keys.lease(lease_of(held))):
                is_settled = held.endswith(self._lease.run)
                raise (AlreadyOnline if is_settled else NotSettled)("this account is already online")
            replaced = held
        raise AlreadyOnline("this account is logging in elsewhere")

    def _value(self, token: str) -> str:
        return f"{token} {self._lease.name} {self._lease.run}"

    def _answer_for(self, user: int) -> None:
        """If this worker dies, whoever clears up its lease sees to the user's presence."""
        self._link.call("SADD", keys.users(self._lease.name), user)

    async def is_held(self, user: int, token: str) -> bool:
        """Whether the session, which is known to this worker by now, is still this one, in this run."""
        self._answer_for(user)  # the logout before may have been announced, and forgotten, after the claim
        return await self._link.call("GET", keys.session(user)) == self._value(token).encode()

    async def holder(self, user: int) -> str:
        """The token of the session that is there, "" if there is none."""
        held = await self._link.call("GET", keys.session(user))
        return token_of(held.decode()) if held else ""

    async def release(self, user: int, token: str) -> bool:
        """Give the session up; False if it was no longer ours."""
        where = keys.session(user), keys.left(user)
        return bool(await self._link.call("EVAL", _RELEASE, len(where), *where, token, keys.LEFT_TTL))

    def forget(self, user: int) -> Future[int]:
        """This lease answers for the user's presence no more: it has been told to whom it concerns."""
        return self._link.call("SREM", keys.users(self._lease.name), user)

    async def here(self, users: list[int]) -> set[int]:
        """Those of `users` who are here.

        Asked where announcements come in: what is announced later is later than this answer.
        """
        if not users:
            return set()
        where = [key for user in users for key in (keys.session(user), keys.left(user))]
        found = await self._subscriber.call("MGET", *where)  # one command: nothing is announced in its middle
        run = self._lease.run.encode()
        return {
            user
            for user, held, left in zip(users, found[::2], found[1::2], strict=True)
            if left is not None or (held is not None and held.endswith(run))
        }

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
            values = self._lease.run, 0, int(is_here), int(at == decisive), payload
            await self._link.call("EVAL", _ANNOUNCE, 3, *_keys(user), *values, *some)


def _keys(user: int) -> tuple[str, str, str]:
    return keys.session(user), keys.left(user), keys.told(user)
