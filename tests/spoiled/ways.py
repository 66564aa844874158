"""The ways to spoil a frame: as a whole, by its fields, and by a lie."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.spoiled.proxy import Json, Relay, Way

Act = Callable[[Relay, Json], Awaitable[object]]

#: Values of other types than a field has, or out of its range.
_WRONG: tuple[Any, ...] = (None, True, "x", 7, 1.5, -1, 2**63, [], {}, [7])
_REASONS = ("draining", "replaced", "idle", "slow", "kicked", "whatever", 7)
_WAITS: tuple[Any, ...] = (0, 1e-9, -1, 1e9, 2**63, "soon", None)
_ERRNOS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 99, -1)
#: Fields that contain others: their first item is spoiled, too.
_NESTED = ("limits", "convs", "msgs", "friends", "groups", "users")


def _said(make: Callable[[Json], bytes]) -> Act:
    """Send other bytes in place of the frame."""

    async def act(relay: Relay, message: Json) -> None:
        relay.say(make(message))

    return act


def _instead(data: bytes) -> Act:
    return _said(lambda _: data)


def _delayed(seconds: float) -> Act:
    async def act(relay: Relay, message: Json) -> None:
        await asyncio.sleep(seconds)
        relay.tell(message)

    return act


def _cut(share: float) -> Act:
    """Cut the connection after this share of the frame."""

    async def act(relay: Relay, message: Json) -> None:
        frame = line(message)
        relay.say(frame[: int(len(frame) * share)])
        relay.cut()

    return act


async def _half_close(relay: Relay, message: Json) -> None:
    relay.tell(message)
    relay.half_close()


async def _half_close_before(relay: Relay, _message: Json) -> None:
    relay.half_close()


async def _close_server(relay: Relay, message: Json) -> None:
    """Close the server's connection for writing, as if the client had ended."""
    relay.tell(message)
    if relay.upstream:
        relay.upstream.write_eof()


async def _long(relay: Relay, _message: Json) -> None:
    for _ in range(9):
        relay.say(b"x" * (1 << 20))
        await relay.flush()
    relay.say(b"\n")


def _changed(change: Callable[[Json], object]) -> Act:
    async def act(relay: Relay, message: Json) -> None:
        other = deepcopy(message)
        change(other)
        relay.tell(other)

    return act


#: The excuse for a hidden message: the client cannot notice it until another message comes.
_UNSEEN = frozenset({"live"})


#: Excuses for false user ids, because only the server knows who the client and other users are.
_OTHERS = {m.LOOKUP: frozenset({"place"}), m.LOGIN_ACK: frozenset({"live", "lost", "order", "once"})}


def unseen(way: Way, sample: Json) -> Way:
    """Add an excuse to a way that hides a live message, or makes it another message."""
    if sample["msgid"] not in (m.ONE_CHAT, m.GROUP_CHAT):
        return way
    if way.group == "other id":  # perhaps the client's own id
        return replace(way, excuses=way.excuses | {"live", "lost", "order"})
    is_other = way.group == "msgid" or way.name in ("nothing", "seq + -1", "seq + -5")
    is_other |= re.fullmatch(r"msgid = -?\d+", way.name) is not None
    is_other |= way.group == "number" or (way.group == "foreign" and way.name.startswith("conv"))
    return replace(way, excuses=way.excuses | _UNSEEN) if is_other else way


def believed(way: Way, sample: Json) -> Way:
    """Add an excuse to a way that claims again and again that there are no messages."""
    if sample["msgid"] == m.PAGE and way.name in ("msgs = []", "5", "6", "10"):
        return replace(way, excuses=way.excuses | {"live", "lost", "order"})
    return way


def whole(timeout: float) -> Iterator[Way]:
    """Yield the ways that do not look into the frame. `timeout`: the client's longest, in seconds."""
    yield Way("delay", "1 s", _delayed(1.0))
    yield Way("delay", "past the time-out", _delayed(timeout + 1.5))
    for name, share in (("before", 0.0), ("in the middle", 0.5), ("without its end", 0.999), ("after", 1.0)):
        yield Way("cut", name, _cut(share))
    yield Way("cut", "half-close before", _half_close_before)
    yield Way("cut", "half-close after", _half_close)
    yield Way("cut", "half-close towards the server", _close_server)
    yield Way("garbage", "bytes", _instead(b"\x00\x01\x7f{]}garbage\n"))
    yield Way("garbage", "invalid UTF-8", _said(lambda message: line(message)[:-2] + b',"x":"\xff\xfe"}\n'))
    yield Way("garbage", "nothing", _instead(b""))
    yield Way("garbage", "half of it, and the line's end", _said(lambda message: line(message)[:30] + b"\n"))
    yield Way("garbage", "deep", _instead(b"[" * 100_000 + b"\n"))
    yield Way("garbage", "9 MB", _long)
    for value in (b"[]", b"[1]", b"7", b"null", b'"text"', b"{}", b'{"msgid":null}'):
        yield Way("no object", value.decode(), _instead(value + b"\n"))
    for reason in _REASONS:
        bye: Json = {"msgid": m.BYE, "reason": reason}
        yield Way("BYE", f"{reason}", _instead(line(bye)))
    for wait in _WAITS:
        bye = {"msgid": m.BYE, "reason": "draining", "retry_after": wait}
        yield Way("BYE", f"draining for {wait}", _instead(line(bye)), slow=_slow(wait))
    yield Way("twice", "twice", _said(lambda message: line(message) * 2))


def _slow(wait: Any) -> float:
    return 60.0 if isinstance(wait, int | float) and wait > 60 else 0.0


def fields(sample: Json) -> Iterator[Way]:
    """Yield ways that remove each field, and that give it each other type.

    The fields of the first item of a list are spoiled in the same way.
    """
    for place in _places(sample):
        *holder, key = place
        name = ".".join(map(str, place))
        yield Way("removed", name, _changed(partial(_remove, holder, key)))
        is_text = isinstance(_at(sample, place), str)
        for value in _WRONG:
            right = _at(sample, place)
            if type(value) is type(right) and value != -1 and value != 2**63:
                continue
            if key == "ephemeral" or (is_text and value == "x"):
                continue
            yield Way("type", f"{name} = {value!r}", _changed(partial(_set, holder, key, value)))


def _places(sample: Json) -> Iterator[tuple[Any, ...]]:
    for key, value in sample.items():
        yield (key,)
        if key in _NESTED and value:
            first = value[0] if isinstance(value, list) else value
            within = (key, 0) if isinstance(value, list) else (key,)
            for inner in first:
                yield (*within, inner)


def _at(message: Any, place: tuple[Any, ...] | list[Any]) -> Any:
    for key in place:
        message = message[key]
    return message


def _remove(holder: list[Any], key: Any, message: Json) -> None:
    try:
        del _at(message, holder)[key]
    except LookupError:
        message.pop(holder[0], None)


def _set(holder: list[Any], key: Any, value: Any, message: Json) -> None:
    try:
        _at(message, holder)[key] = value
    except LookupError:
        message[holder[0]] = value


def lies(sample: Json) -> Iterator[Way]:
    """Yield lies, which are frames that could be true. The ids next to a user's belong to other users."""
    if "rid" in sample:
        yield Way("rid", "another", _changed(lambda message: message.update(rid="987654")))
        yield Way("rid", "a number", _changed(lambda message: message.update(rid=int(message["rid"]))))
        for errno in _ERRNOS:
            fields = {"errno": errno, "errmsg": "no"}
            excuses = frozenset({"epoch"}) if errno == 0 else frozenset()
            yield Way("errno", f"{errno}", _refused(fields), excuses)
        for errno in (8, 11):
            for wait in _WAITS:
                fields = {"errno": errno, "errmsg": "later", "retry_after": wait}
                yield Way("errno", f"{errno}, again after {wait}", _refused(fields), slow=_slow(wait))
    for msgid in (m.LOGIN_ACK, m.HELLO_ACK, m.ACK, m.ERROR, m.CONVS, m.PAGE, m.PING, m.EVENT, 7777):
        if msgid != sample["msgid"]:
            yield Way("msgid", f"{msgid}", _changed(partial(_set, [], "msgid", msgid)))
    for conv in ("g4294967295", "d4294967294-4294967295"):
        push = {
            "msgid": m.ONE_CHAT,
            "conv": conv,
            "id": 4294967295,
            "seq": 5,
            "name": "x",
            "msg": "x",
            "ts": 1,
        }
        yield Way("foreign", f"a message in {conv} before", _said(partial(_before, push)))
        if "conv" in sample:
            yield Way("foreign", f"conv = {conv}", _changed(partial(_set, [], "conv", conv)))
    for place in _places(sample):
        *holder, key = place
        name = ".".join(map(str, place))
        right = _at(sample, place)
        if key in ("seq", "last", "first", "recv", "read") and type(right) is int:
            for by in (-right, -1, 1, 5, 2**40, 2**62):
                excuses = _excuses(sample, key, by)
                yield Way("number", f"{name} + {by}", _changed(partial(_add, holder, key, by)), excuses)
        if key in ("id", "toid") and type(right) is int:
            for by in (1, -1):
                excuses = _OTHERS.get(sample.get("re") or sample["msgid"], frozenset())
                yield Way("other id", f"{name} + {by}", _changed(partial(_add, holder, key, by)), excuses)
        if key == "epoch":
            act = _changed(partial(_set, holder, key, "another"))
            yield Way("epoch", "another", act, frozenset({"once"}))
        if key == "more":
            yield Way("number", f"{name} = {not right}", _changed(partial(_set, holder, key, not right)))
        if key == "msgs":
            yield Way("number", "msgs = []", _changed(partial(_set, holder, key, [])), _UNSEEN)
        if key == "limits":
            for inner, value in (("frame", 1), ("text", 1), ("page", 1), ("page", 2**63), ("page", 2**40)):
                act = _changed(partial(_set, ["limits"], inner, value))
                yield Way("limits", f"{inner} = {value}", act)


def _excuses(sample: Json, key: str, by: int) -> frozenset[str]:
    """Return excuses for numbers that belong to other messages, and for cursors that claim a delivery."""
    if key == "last" and by < 0:
        return _UNSEEN
    return frozenset({"once", "order", "lost"}) if key in ("recv", "first") or by in (1, -1) else frozenset()


def _refused(fields: Json) -> Act:
    def make(message: Json) -> bytes:
        kept = {key: message[key] for key in ("msgid", "rid", "re") if key in message}
        return line(kept | fields)

    return _said(make)


def _before(push: Json, message: Json) -> bytes:
    return line(push) + line(message)


def _add(holder: list[Any], key: Any, by: int, message: Json) -> None:
    try:
        _at(message, holder)[key] = max(0, _at(message, holder)[key] + by)
    except LookupError:
        message.pop(holder[0], None)
