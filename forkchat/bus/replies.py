"""What replies of Redis are to be read as. One that is something else is Redis's fault, not its caller's.

Each raises an error of any kind for that, which `Link.call` makes Unavailable.
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
    """Of so many keys."""
    if type(reply) is not list or len(reply) != count:
        raise TypeError
    return [text(each) for each in reply]


def members(reply: Any) -> list[bytes]:
    """Of a set."""
    if not isinstance(reply, list | set) or not all(type(each) is bytes for each in reply):
        raise TypeError
    return list(reply)


def seconds(reply: Any) -> int:
    """Of TIME."""
    whole, _ = reply
    return int(whole)


#: What commands reply with, but for EVAL, whose scripts say it where they are called.
READS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("DEL", "EXISTS", "EXPIRE", "PUBLISH", "SADD", "SREM", "ZREM"), number),
    **dict.fromkeys(("SMEMBERS", "SRANDMEMBER"), members),
    "GET": text,
    "TIME": seconds,
}
