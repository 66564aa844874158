"""Validation of the server's frames: each becomes a record or raises BadRequest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from client.protocol.events import (
    Event,
    Friend,
    FriendState,
    Group,
    LoggedIn,
    Message,
    Notice,
    Receipt,
    Standing,
    Typing,
)
from forkchat.errors import BadRequest, Refused
from forkchat.wire import msgid as m
from forkchat.wire.conversation import MAX_ID, parse_key
from forkchat.wire.requests import MAX_SEQ

Frame = dict[str, Any]

#: Milliseconds since 1970, in the year 9892. `datetime` ends with the year 9999.
_MAX_TS = 250_000_000_000_000
#: Seconds, at least, before a refused request is retried, so that a server that names less is not overrun.
_LEAST_WAIT = 0.1
_REFUSALS = {refused.errno: refused for refused in Refused.__subclasses__()}


def integer(frame: Frame, key: str, default: int | None = None, most: int = MAX_SEQ) -> int:
    value = frame.get(key, default)
    if type(value) is not int or not 0 <= value <= most:
        raise BadRequest(f"{key} is missing or no number")
    return value


def number(frame: Frame, key: str) -> int:
    """Return the sequence number of a message. Raises BadRequest if it is missing, 0 or invalid."""
    value = integer(frame, key)
    if not value:
        raise BadRequest(f"{key} is 0")
    return value


def flag(frame: Frame, key: str) -> bool:
    value = frame.get(key)
    if type(value) is not bool:
        raise BadRequest(f"{key} is missing or neither true nor false")
    return value


def identifier(frame: Frame, key: str) -> int:
    """Return the id of a user or a group. Raises BadRequest if it is missing, 0 or invalid."""
    value = integer(frame, key, most=MAX_ID)
    if not value:
        raise BadRequest(f"{key} is 0")
    return value


def text(frame: Frame, key: str, default: str | None = None) -> str:
    value = frame.get(key, default)
    if type(value) is not str:
        raise BadRequest(f"{key} is missing or no text")
    return value


def seconds(frame: Frame, key: str) -> float | None:
    """Return a time to wait, at most 60 seconds; None if the frame has no usable one."""
    value = frame.get(key)
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return min(float(value), 60.0)


def objects(frame: Frame, key: str, default: list[Frame] | None = None) -> list[Frame]:
    value = frame.get(key, default)
    if type(value) is not list or not all(type(item) is dict for item in value):
        raise BadRequest(f"{key} is no list of objects")
    return value


def conversation(frame: Frame) -> str:
    conv = text(frame, "conv")
    parse_key(conv)
    return conv


def refusal(frame: Frame) -> Refused | None:
    """Return the error that an answer carries, in the class of its errno; None for errno 0."""
    errno = integer(frame, "errno", 0)
    if errno == 0:
        return None
    kind = _REFUSALS.get(errno, Refused)
    wait = seconds(frame, "retry_after")
    return kind(text(frame, "errmsg", f"error {errno}"), None if wait is None else max(wait, _LEAST_WAIT))


def message(frame: Frame, me: int) -> Message:
    conv = conversation(frame)
    sender = identifier(frame, "id")
    users = parse_key(conv).users
    if users and not {me, sender} <= set(users):
        raise BadRequest(f"{conv} is a conversation of others")
    seq = 0 if frame.get("ephemeral") is True else number(frame, "seq")
    return Message(
        conv,
        seq,
        sender,
        text(frame, "name"),
        text(frame, "msg"),
        integer(frame, "ts", most=_MAX_TS),
        text(frame, "cid", ""),
        is_own=sender == me,
    )


def stored_at(frame: Frame) -> int:
    """Return the time of an acknowledged message, in milliseconds since 1970."""
    return integer(frame, "ts", most=_MAX_TS)


def standing(item: Frame, me: int) -> Standing:
    conv, last = conversation(item), integer(item, "last")
    users = parse_key(conv).users
    if users and me not in users:
        raise BadRequest(f"{conv} is a conversation of others")
    recv, read = integer(item, "recv", most=last), integer(item, "read", 0, most=last)
    return Standing(conv, last, recv, read, integer(item, "first", 1, most=last + 1))


def standings(frame: Frame, me: int) -> list[Standing]:
    return [standing(item, me) for item in objects(frame, "convs")]


def page(frame: Frame, conv: str, after: int, me: int) -> tuple[list[Message], int, int, bool]:
    """Return the messages, the conversation's first and last number, and whether there are more messages.

    The messages are ascending and come after `after`. Raises BadRequest if any message is not of the
    conversation, or is out of order.
    """
    last = integer(frame, "last")
    first = integer(frame, "first", 1, most=last + 1)
    messages = [message(item, me) for item in objects(frame, "msgs")]
    before = max(after, first - 1)
    for each in messages:
        if each.conv != conv or not before < each.seq <= last:
            raise BadRequest("what was fetched is something else")
        before = each.seq
    return messages, first, last, flag(frame, "more")


def friend(item: Frame) -> Friend:
    return Friend(identifier(item, "id"), text(item, "name"), text(item, "state", ""))


def friends(frame: Frame) -> list[Friend]:
    return [friend(item) for item in objects(frame, "friends", [])]


def group(item: Frame) -> Group:
    return Group(identifier(item, "id"), text(item, "groupname"), text(item, "role", ""))


def groups(frame: Frame) -> list[Group]:
    return [group(item) for item in objects(frame, "groups", [])]


def logged_in(frame: Frame, is_resumed: bool) -> LoggedIn:
    me, name = identifier(frame, "id"), text(frame, "name")
    return LoggedIn(me, name, friends(frame), groups(frame), is_resumed)


def limits(frame: Frame) -> dict[str, int]:
    given = frame.get("limits")
    pairs = given.items() if type(given) is dict else ()
    return {key: value for key, value in pairs if type(value) is int and 0 < value <= MAX_SEQ}


def notice(frame: Frame) -> Notice:
    conv = conversation(frame) if "conv" in frame else ""
    return Notice(text(frame, "kind"), identifier(frame, "id"), text(frame, "name"), conv)


def friend_state(frame: Frame) -> FriendState:
    return FriendState(identifier(frame, "id"), text(frame, "name", ""), text(frame, "state"))


def receipt(frame: Frame) -> Receipt:
    return Receipt(conversation(frame), identifier(frame, "id"), integer(frame, "seq"))


def typing(frame: Frame) -> Typing:
    return Typing(conversation(frame), identifier(frame, "id"), text(frame, "name"))


#: Frames that become events without further handling, by msgid.
EVENTS: dict[int, Callable[[Frame], Event]] = {
    m.PRESENCE: friend_state,
    m.RECEIPT: receipt,
    m.TYPING: typing,
}
