"""Passwords and tokens: argon2id on one thread, so that a flood of logins cannot stop the chat.

A password is hashed as it was typed, byte for byte. RFC 8265 (OpaqueString) would normalise it, but existing
hashes cannot be normalised. Trying a second form would double the cost of a wrong password.
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

#: Hashes that may wait. Each takes about 20 ms, so that the last one waits for 1 s.
_MAX_WAITING = 50
#: Guesses that a patient attacker can make. A password that falls to fewer is too common.
_COMMON = 100_000
#: Characters of a password that are rated. Rating blocks the loop, because zxcvbn holds the GIL.
_MAX_RATED = 20
#: Groups of signs that zxcvbn reads as the same letter. It tries all ways to read a text.
#: A text of 20 characters can have 576 readings, which take 45 ms.
_READ_ALIKE = "4@", "({[<", "69", "1!|", "1|7", "$5", "+7"
#: Most readings of a text that are tried, which take at worst 1.4 ms together.
#: If a text has more, its signs are replaced by others that are not read as letters.
_MAX_READINGS = 8
_SIGNS = str.maketrans("@({[<!|$+", "_=:;,.~^&")


class TooCommon(BadRequest):
    """Refusal of a password that was rated and is among the likeliest."""


class Verdict(NamedTuple):
    is_right: bool
    rehashed: str | None = None  # with the present parameters, if the stored hash has others


class Enrolled(NamedTuple):
    password: str  # a hash
    skeletons: list[bytes]  # of the name


def digest(token: str) -> bytes:
    """Return the digest that is stored for a token. A plain hash is safe because a token is random."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def enrol(lane: Lane, settings: Passwords, name: str, password: str) -> Future[Enrolled]:
    """Check and hash the new password of the account `name`, and compute the name's skeletons.

    Raises BadRequest if the password is too short, and TooCommon if it is too common. Raises Unavailable if
    the hash queue is full or memory is short.
    """
    _check_room(lane)
    return lane.run(_enrol, settings, name, password)


def verify(lane: Lane, peer: Peer, settings: Passwords, stored: str | None, password: str) -> Future[Verdict]:
    """Check whether `stored` was made from `password`.

    A `stored` that is None or no hash never matches, and takes the same time. Raises Unavailable if the hash
    queue is full, memory is short, or the peer has gone meanwhile.
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
    if peer.is_closed:  # nobody waits for the answer: skip the hash, so that the next check runs sooner
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
        # Either the password was disabled in the database, or memory is short.
        # The dummy check takes the usual time, and raises Unavailable if memory is short.
        return _verify(peer, settings, None, password)
    return Verdict(True, _hash(settings, password) if present.check_needs_rehash(stored) else None)


def _hash(settings: Passwords, password: str) -> str | None:
    """Hash the password. Return None if there is not enough memory."""
    try:
        return hasher(settings).hash(password)
    except HashingError:
        return None


def is_common(password: str, name: str) -> bool:
    """Return whether the password is among the first guesses of an attacker.

    The first call loads lists of 8 MiB.
    """
    rated = password[:_MAX_RATED]
    if math.prod(len(set(signs) & set(rated)) or 1 for signs in _READ_ALIKE) > _MAX_READINGS:
        rated = rated.translate(_SIGNS)
    return zxcvbn(rated, [name]).guesses < _COMMON


@lru_cache(maxsize=4)
def _hasher(time: int, memory: int, lanes: int) -> PasswordHasher:
    return PasswordHasher(time_cost=time, memory_cost=memory, parallelism=lanes)


def _nobody(settings: Passwords) -> str:
    """Return a hash that no password matches. Checking it takes as long as checking a new hash."""
    parameters = f"m={settings.memory},t={settings.time},p={settings.lanes}"
    return f"$argon2id$v=19${parameters}$c2FsdHNhbHRzYWx0c2FsdA${'A' * 43}"


def _check_room(lane: Lane) -> None:
    if lane.backlog >= _MAX_WAITING:
        raise Unavailable("too many logins at once", retry_after=5.0)
