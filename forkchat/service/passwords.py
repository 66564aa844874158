"""Passwords and tokens: argon2id on one thread, so that a flood of logins cannot stop the chat.

A password is hashed as it was typed, byte for byte. RFC 8265 (OpaqueString) would normalise it, but a hash
from before cannot be, and trying a second form would double what a wrong password costs.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from functools import lru_cache
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError
from zxcvbn_rs_py import zxcvbn

from forkchat.config import Passwords
from forkchat.errors import BadRequest, Unavailable
from forkchat.runtime import Future, Lane
from forkchat.service.peer import Peer
from forkchat.wire.names import skeletons

#: Hashes that wait. Each takes about 20 ms, so that the last of so many waits for 1 s.
_MAX_WAITING = 50
#: A password that is found among so many first guesses counts as common: a patient attacker gets there.
_COMMON = 100_000
#: Characters of a password that are rated. Meanwhile the loop stands still, because zxcvbn holds the
#: interpreter's lock.
_MAX_RATED = 20
#: Signs that zxcvbn reads as one letter. It tries all ways to read a text: 20 characters can have 576, which
#: take 45 ms.
_READ_ALIKE = "4@", "({[<", "69", "1!|", "1|7", "$5", "+7"
#: Ways to read a text that are tried, 1.4 ms at worst together. If there are more, signs are replaced by
#: others that are read as no letter.
_MAX_READINGS = 8
_SIGNS = str.maketrans("@({[<!|$+", "_=:;,.~^&")


class TooCommon(BadRequest):
    """The password was rated, and is among the likeliest."""


class Verdict(NamedTuple):
    is_right: bool
    rehashed: str | None = None  # with the present parameters, where the stored hash has others


class Enrolled(NamedTuple):
    password: str  # a hash
    skeletons: list[bytes]  # of the name


def digest(token: str) -> bytes:
    """The digest that is stored of a token: a token is random, so that a plain hash reveals nothing."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def enrol(lane: Lane, settings: Passwords, name: str, password: str) -> Future[Enrolled]:
    """Check and hash the password that the account `name` is to have, and compute the name's skeletons.

    Raises BadRequest when the password is too short, TooCommon, and Unavailable when too many wait.
    """
    _check_room(lane)
    return lane.run(_enrol, settings, name, password)


def verify(lane: Lane, peer: Peer, settings: Passwords, stored: str | None, password: str) -> Future[Verdict]:
    """Whether `stored` was made from `password`; None, and what is no hash: never, in the same time.

    Raises Unavailable when too many wait, and when the peer that asked has gone meanwhile.
    """
    _check_room(lane)
    return lane.run(_verify, peer, settings, stored, password)


def hasher(settings: Passwords) -> PasswordHasher:
    return _hasher(settings.time, settings.memory, settings.lanes)


def _enrol(settings: Passwords, name: str, password: str) -> Enrolled:
    if len(password) < settings.minimum:
        raise BadRequest(f"the password must have at least {settings.minimum} characters")
    if settings.refuse_common and is_common(password, name):
        raise TooCommon("the password is too common or too easy to guess; choose another one")
    hashed = _hash(settings, password)
    if hashed is None:
        raise Unavailable("there is no memory to hash the password")
    return Enrolled(hashed, skeletons(name))


def _verify(peer: Peer, settings: Passwords, stored: str | None, password: str) -> Verdict:
    if peer.is_closed:  # nobody's answer: the next in the queue has it sooner
        raise Unavailable("the client has gone")
    present = hasher(settings)
    try:
        if not stored:
            present.verify(_nobody(settings), password)
            return Verdict(False)
        present.verify(stored, password)
    except VerifyMismatchError:
        return Verdict(False)
    except (InvalidHashError, VerificationError):
        if not stored:
            raise Unavailable("there is no memory to check the password") from None
        # An account whose password was disabled in the database; or memory is short, which shows again.
        return _verify(peer, settings, None, password)
    return Verdict(True, _hash(settings, password) if present.check_needs_rehash(stored) else None)


def _hash(settings: Passwords, password: str) -> str | None:
    """The hash; None if there is no memory for it."""
    try:
        return hasher(settings).hash(password)
    except HashingError:
        return None


def is_common(password: str, name: str) -> bool:
    """Whether it is among the first guesses. The first call loads lists of 8 MiB."""
    rated = password[:_MAX_RATED]
    if math.prod(len(set(signs) & set(rated)) or 1 for signs in _READ_ALIKE) > _MAX_READINGS:
        rated = rated.translate(_SIGNS)
    return zxcvbn(rated, [name]).guesses < _COMMON


@lru_cache(maxsize=4)
def _hasher(time: int, memory: int, lanes: int) -> PasswordHasher:
    return PasswordHasher(time_cost=time, memory_cost=memory, parallelism=lanes)


def _nobody(settings: Passwords) -> str:
    """A hash of no password, which takes as long to check as one that was made now."""
    parameters = f"m={settings.memory},t={settings.time},p={settings.lanes}"
    return f"$argon2id$v=19${parameters}$c2FsdHNhbHRzYWx0c2FsdA${'A' * 43}"


def _check_room(lane: Lane) -> None:
    if lane.backlog >= _MAX_WAITING:
        raise Unavailable("too many logins at once", retry_after=5.0)
