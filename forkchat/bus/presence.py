"""Who is logged in, and where: sessions claimed and released by compare-and-set on a random token."""

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

_CLAIM_TRIES = 5
#: Seconds after which every living session is registered in a new run of Redis; in which those are that
#: nobody need be told of: all will be told how all their friends are (`Roster.resynchronize`).
_SETTLING, _EARLY = 5, 3
#: Channels of one announcement.
_CHUNK = 500

# Whether a session's value is of this run, and the seconds for which this run has known anything (below 0:
# its clock was set back). ARGV: run.
_RUN = """
local function is_valid(held) return held and string.match(held, '%S+$') == ARGV[1] end
local function age(born)
  if not born or string.match(born, '^%S+') ~= ARGV[1] then return 0 end
  return redis.call('TIME')[1] - string.match(born, '%S+$')
end
"""

# Take the session unless another one holds it. KEYS: session, left, told, born. ARGV: run, seconds in which a
# value of an earlier run may be of a session that is about to be registered again, token, value, the value
# that may be replaced (or ""), 1 if the session is new, seconds in which nobody need be told of one that is
# not, the user's channel, what is published there if a session is replaced. Returns {1, was here} or
# {0, holder}. Who was told of and yet not here for a moment may have been seen offline in it, by someone who
# asked: that is not having been here, also when it is asked again.
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

# Give the session up if it is still ours; 0 if it is another's. KEYS: session, left. ARGV: token, seconds.
_RELEASE = """
local held = redis.call('GET', KEYS[1])
if not held then return 1 end
if string.match(held, '^%S+') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '', 'EX', ARGV[2])
return 1
"""

# Tell of a user's coming or going, unless it is no longer true. KEYS: session, left, told. ARGV: run, 1
# for here or 0 for gone, whether this makes it told, payload, channels.
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
    """Redis failed over, or came back with a snapshot: the other session may be registered again in a moment,
    by a worker that is still at the other Redis."""

    may_be_orphaned = False


class Claim(NamedTuple):
    """A session of ours.

    `was_here`: their friends know them to be online, or will be told with all others, so that nobody needs
    to be told now.
    """

    user: int
    token: str
    was_here: bool


def _claimed(reply: Any) -> tuple[bool, str]:
    """Whether the user was here, and "": it is ours; or the value of who holds it."""
    is_ours, what = reply
    if number(is_ours):
        return bool(number(what)), ""
    _token, _lease, _run = what.split(b" ")
    return False, what.decode()


def _born(reply: Any) -> tuple[str, float]:
    """The run that this Redis knows something of, and since when; ("", 0.0): it knows nothing."""
    if text(reply) is None:
        return "", 0.0
    run, since = reply.decode().split(" ")
    return run, float(since)


def token_of(value: str) -> str:
    return value.split(" ", maxsplit=1)[0]


def lease_of(value: str) -> str:
    """The lease that a session's value names."""
    return value.split(" ")[1]


class Presence:
    """Sessions in Redis, on behalf of one lease. Everything here raises Unavailable without Redis.

    A session is known by its random token. A user is *here* as long as nobody was told of their going: from
    their claim until `LEFT_TTL` seconds after its release, or until a dead lease is cleared up.

    `kick(token)` is what a claim publishes on the user's channel when it replaces the session of that token.
    """

    def __init__(self, link: Link, subscriber: Link, lease: Lease):
        self._link = link
        self._subscriber = subscriber
        self._lease = lease
        self.kick: Callable[[str], bytes] = lambda token: b""

    def new_token(self) -> str:
        return secrets.token_hex(8)

    async def age(self) -> float:
        """Seconds for which Redis has known what it knows; 0 if it knows nothing, or that of an earlier
        run."""
        born, now = await gather([self._link.call("GET", keys.BORN, reads=_born), self._link.call("TIME")])
        run, since = born
        return now - since if run == self._lease.run else 0.0

    async def claim(self, user: int, token: str, is_new: bool, takeover: bool = False) -> Claim:
        """A new session; or register one of ours again, or see that it still is.

        The worker of a session that is replaced is told in the same step: no lost answer or connection can
        leave both. Raises AlreadyOnline if another, living one exists and is not to be taken over, NotSettled
        if that is of an earlier run. After Unavailable it may be claimed all the same: `release` it.
        """
        # What a lease holds that is not there is anyone's, and so is a session to which nobody listens.
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
        """Give the session up; False if another has taken its place. True again when it is asked for again:
        the answer may have been lost."""
        where = keys.session(user), keys.left(user)
        return bool(
            await self._link.call("EVAL", _RELEASE, len(where), *where, token, keys.LEFT_TTL, reads=number)
        )

    def may_be_back(self, user: int) -> Future[int]:
        """Tell whether (1 or 0) the user's last session was released within the last `LEFT_TTL` seconds."""
        return self._link.call("EXISTS", keys.left(user))

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
        # One command: nothing is announced in its middle.
        found = await self._subscriber.call("MGET", *where, reads=partial(texts, count=len(where)))
        run = self._lease.run.encode()
        return {
            user
            for user, held, left in zip(users, found[::2], found[1::2], strict=True)
            if left is not None or (held is not None and held.endswith(run))
        }

    async def announce(self, user: int, is_here: bool, channels: list[str], payload: bytes) -> None:
        """Publish that the user has come or gone, unless that is no longer true."""
        # Who comes is told of with the last of many channels, who goes is not any more with the first:
        # whatever is interrupted is then announced again.
        chunks = [channels[at : at + _CHUNK] for at in range(0, len(channels), _CHUNK)] or [[]]
        decisive = len(chunks) - 1 if is_here else 0
        for at, some in enumerate(chunks):
            values = self._lease.run, int(is_here), int(at == decisive), payload
            await self._link.call("EVAL", _ANNOUNCE, 3, *_keys(user), *values, *some)


def _keys(user: int) -> tuple[str, str, str]:
    return keys.session(user), keys.left(user), keys.told(user)
