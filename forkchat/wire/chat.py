"""One chat message: its stored form, and the forms in which it is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from forkchat.errors import BadRequest, TooLarge
from forkchat.wire import msgid as m
from forkchat.wire.conversation import parse_key
from forkchat.wire.dialect import Dialect
from forkchat.wire.frames import PADDED_SIZE, padded


class ChatMessage(NamedTuple):
    """A stored message. `body` is JSON of the sender's fields: name, msg, and the extra keys."""

    conv: str
    seq: int
    sender: int
    cid: bytes
    ts: int  # milliseconds since 1970
    body: bytes


def encode_body(name: str, msg: str, extra: Mapping[str, Any], limit: int) -> bytes:
    """Encode the body that is stored.

    Raises TooLarge if text and extra keys exceed `limit` bytes. Raises BadRequest if the keys are nested too
    deeply to be written again.
    """
    said = {"name": name, "msg": msg}
    if extra:
        said |= sorted(extra.items())
    try:
        body = orjson.dumps(said)
        # Text and keys are measured only if the body exceeds the limit, because the body is never shorter.
        if len(body) > limit and len(msg.encode()) + (len(orjson.dumps(extra)) if extra else 0) > limit:
            raise TooLarge(f"a text may have {limit} bytes")
    except orjson.JSONEncodeError:
        raise BadRequest("nested too deeply") from None
    return body


@lru_cache(maxsize=256)
def _clock(second: int) -> bytes:
    """Return `YYYY-MM-DD HH:MM:SS` in the server's time zone, as the original server writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second)).encode()


@lru_cache(maxsize=8192)
def _head(conv: str, sender: int) -> bytes:
    """Return the beginning of all frames of a sender in a conversation: an object that is not closed."""
    parsed = parse_key(conv)
    if parsed.group:
        kind, to = m.GROUP_CHAT, {"groupid": parsed.group}
    else:
        kind, to = m.ONE_CHAT, {"toid": parsed.other(sender)}
    return orjson.dumps({"msgid": kind, "conv": conv, "id": sender, **to})[:-1]


def modern_frame(conv: str, seq: int, sender: int, cid: bytes, ts: int, body: bytes) -> bytes:
    """Return a stored message's frame for modern sessions, with its LF. The body's bytes are not changed."""
    says = _head(conv, sender), seq, orjson.dumps(cid.decode()), _clock(ts // 1000), ts, body[1:]
    return b'%b,"seq":%d,"cid":%b,"time":"%b","ts":%d,%b\n' % says


def ephemeral_frame(conv: str, sender: int, ts: int, body: bytes) -> bytes:
    """Return the frame of a message that is not stored: it has no `seq` and no `cid`."""
    says = _head(conv, sender), _clock(ts // 1000), ts, body[1:]
    return b'%b,"ephemeral":true,"time":"%b","ts":%d,%b\n' % says


#: Keys of a modern frame that the classic form leaves out.
_MODERN_KEYS = ("conv", "seq", "cid", "ts", "ephemeral")


def classic_dict(frame: bytes, dialect: Dialect) -> dict[str, Any]:
    """Return a modern chat frame's content as a classic client knows it, under the fields' real names."""
    message = orjson.loads(frame)
    for key in _MODERN_KEYS:
        message.pop(key, None)
    message["msgid"] = dialect.outbound(message["msgid"])
    return message


def classic_line(frame: bytes, dialect: Dialect) -> bytes:
    """Return the frame for a classic peer that uses LF."""
    return dialect.json(classic_dict(frame, dialect)) + b"\n"


def classic_padded(frame: bytes, dialect: Dialect) -> list[bytes]:
    """Return the frames for a classic peer that uses NUL. A text that exceeds one frame is split.

    Extra keys are left out if they leave the text less than a quarter of a frame.
    """
    message = classic_dict(frame, dialect)
    json = dialect.json(message)
    if len(json) < PADDED_SIZE:
        return [padded(json)]
    text = message["msg"]
    room = _room(message, dialect)
    if room < PADDED_SIZE // 4:
        message = {key: message[key] for key in message.keys() & _CLASSIC_KEYS}
        room = _room(message, dialect)
    return [padded(dialect.json(message | {"msg": part})) for part in _split(text, room)]


def _room(message: dict[str, Any], dialect: Dialect) -> int:
    """Return the bytes that a padded frame has for the text, which it may hold under several names."""
    return (PADDED_SIZE - 1 - len(dialect.json(message | {"msg": ""}))) // dialect.copies("msg")


_CLASSIC_KEYS = frozenset(("msgid", "id", "name", "toid", "groupid", "msg", "time"))


def _split(text: str, room: int) -> list[str]:
    """Split `text` into parts that take at most `room` bytes each inside a JSON string."""
    parts, start, size = [], 0, 0
    for at, character in enumerate(text):
        width = len(orjson.dumps(character)) - 2
        if size + width > room:
            parts.append(text[start:at])
            start, size = at, 0
        size += width
    return [*parts, text[start:]]
