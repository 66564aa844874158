"""Readers that check and convert replies of Redis. A wrong reply is Redis's fault, not the caller's.

A reader raises an error of any kind for a wrong reply. `Link.call` turns it into Unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def anything(reply: Any) -> Any:
    return reply


def number(reply: Any) -> int:
    if type(reply) is not int:
        raise TypeError
    return reply


def text(reply: Any) -> bytes | None:
    if reply is not None and type(reply) is not bytes:
        raise TypeError
    return reply


def texts(reply: Any, count: int) -> list[bytes | None]:
    """Read the values of `count` keys."""
    if type(reply) is not list or len(reply) != count:
        raise TypeError
    return [text(each) for each in reply]


def members(reply: Any) -> list[bytes]:
    """Read the members of a set."""
    if not isinstance(reply, list | set) or not all(type(each) is bytes for each in reply):
        raise TypeError
    return list(reply)


def seconds(reply: Any) -> int:
    """Read the seconds of TIME's reply, without the microseconds."""
    whole, _ = reply
    return int(whole)


#: The reader of each command's reply, except for EVAL: the callers of scripts name the reader.
READS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("DEL", "EXISTS", "EXPIRE", "PUBLISH", "SADD", "SREM", "ZREM"), number),
    **dict.fromkeys(("SMEMBERS", "SRANDMEMBER"), members),
    "GET": text,
    "TIME": seconds,
}
