"""Passwords and tokens: argon2id on one thread, so that a flood of logins cannot stop the chat."""

from __future__ import annotations

import hashlib
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from forkchat.errors import Unavailable
from forkchat.runtime import Future, Lane
from forkchat.service.peer import Peer

#: Hashes that wait. Each takes about a tenth of a second: beyond this nobody would wait for theirs.
_MAX_WAITING = 50
# One lane: the thread pool that four would need only takes processors away from the chat.
HASHER = PasswordHasher(parallelism=1)
#: Checked when there is no such user, so that the answer takes as long.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43


def digest(token: str) -> bytes:
    """What is stored of a token: it is random, so that a plain hash cannot be guessed from."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def hash_password(lane: Lane, password: str) -> Future[str]:
    """Raises Unavailable when too many wait."""
    _check_room(lane)
    return lane.run(HASHER.hash, password)


def verify(lane: Lane, peer: Peer, stored: str | None, password: str) -> Future[bool]:
    """Whether `password` is the one that `stored` was made from; None: never, in the same time.

    Raises Unavailable when too many wait, and when the peer that asked has gone meanwhile.
    """
    _check_room(lane)
    return lane.run(_verify, peer, stored, password)


def _verify(peer: Peer, stored: str | None, password: str) -> bool:
    if peer.is_closed:  # nobody's answer: the next in the queue has it sooner
        raise Unavailable("the client has gone")
    try:
        return HASHER.verify(stored or _NOBODY, password) and stored is not None
    except VerificationError:
        return False


def _check_room(lane: Lane) -> None:
    if lane.backlog >= _MAX_WAITING:
        raise Unavailable("too many logins at once", retry_after=5.0)
