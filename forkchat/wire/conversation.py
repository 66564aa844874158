"""Conversation keys: `d12-57` for a pair of users (lower id first), `g9` for a group."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from forkchat.errors import BadRequest

#: The largest id: the maximum of MySQL's INT UNSIGNED.
MAX_ID = 2**32 - 1
_KEY = re.compile(r"d([1-9][0-9]{0,9})-([1-9][0-9]{0,9})|g([1-9][0-9]{0,9})")


class Conversation(NamedTuple):
    """A parsed key. `users` is the pair, empty for a group; `group` is the group's id, 0 for a pair."""

    users: tuple[int, ...]
    group: int

    def other(self, user: int) -> int:
        """Return the other user of a pair that contains `user`."""
        return self.users[0] if self.users[1] == user else self.users[1]


def pair_key(a: int, b: int) -> str:
    return f"d{a}-{b}" if a < b else f"d{b}-{a}"


@lru_cache(maxsize=8192)
def pair(a: int, b: int) -> tuple[str, Conversation]:
    """Return the key of two users' conversation, and the parsed key."""
    return pair_key(a, b), Conversation((a, b) if a < b else (b, a), 0)


def group_key(group: int) -> str:
    return f"g{group}"


def parse_key(key: str) -> Conversation:
    """Parse a conversation's key. Raises BadRequest if `key` is not such a key."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise BadRequest("conv names no conversation")
    low, high, group = match.groups()
    if group is not None and int(group) <= MAX_ID:
        return Conversation((), int(group))
    if low is not None and int(low) < int(high) <= MAX_ID:
        return Conversation((int(low), int(high)), 0)
    raise BadRequest("conv names no conversation")
