"""The messages that clients may send. Their fields and types are checked before a handler sees them."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from forkchat.errors import BadRequest, Unsupported
from forkchat.wire import msgid as m
from forkchat.wire.conversation import MAX_ID, parse_key
from forkchat.wire.names import account_name, group_name

#: Characters of a group's description at most.
MAX_DESC = 200
#: Bytes of a password, of a `cid` and of a `rid` at most.
MAX_PASSWORD = 1024
MAX_CID = 64
MAX_RID = 64
#: The largest number of a message that a client may send: the maximum of a signed 64-bit integer.
MAX_SEQ = 2**63 - 1

_NONE: Mapping[str, Any] = {}

Check = Callable[[Any], Any]
Spec = Mapping[str, Check]


class Request(dict[str, Any]):
    """A checked request: a dictionary of the known keys that were given.

    `msgid` is the notes' msgid. `extra` has the unknown keys, which only chat messages keep.
    """

    __slots__ = ("extra", "msgid", "rid")

    msgid: int
    rid: str | int | None
    extra: Mapping[str, Any]


def decode(frame: bytes, understand: Callable[[dict[str, Any]], object] | None = None) -> dict[str, Any]:
    """Parse the JSON object in `frame`. Raises BadRequest if it is not an object or lacks an integer msgid.

    `understand` gives the fields of a classic peer their real names.
    """
    try:
        # Windows libraries begin a stream with a byte order mark.
        message = orjson.loads(frame.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise BadRequest("not JSON") from error
    if not isinstance(message, dict):
        raise BadRequest("not a JSON object")
    if understand is not None:
        understand(message)
    if type(message.get("msgid")) is not int:
        raise BadRequest("msgid is missing or not an integer")
    return message


def rid_of(message: dict[str, Any]) -> str | int | None:
    """Return the request's `rid`. Raises BadRequest unless it is an integer or a text of at most 64 bytes."""
    rid = message.get("rid")
    if rid is None or type(rid) is int or (type(rid) is str and len(rid.encode()) <= MAX_RID):
        return rid
    raise BadRequest("rid must be a text or an integer of at most 64 bytes")


def check(msgid: int, message: dict[str, Any]) -> Request:
    """Check `message` and return it as a Request. The caller has checked its `rid` with `rid_of`.

    Raises BadRequest, which names the field, if a field is wrong. Raises Unsupported for an unknown msgid.
    """
    spec = _FIELDS.get(msgid)
    if spec is None:
        raise Unsupported("unknown msgid")
    required, checks = spec
    request = Request()
    request.msgid = msgid
    request.rid = message.get("rid")
    request.extra = _NONE
    for name, value in message.items():
        to_value = checks.get(name)
        if to_value is not None and value is not None:
            try:
                request[name] = to_value(value)
            except ValueError as error:
                raise BadRequest(f"{name} {error}") from None
    for name in required:
        if name not in request:
            raise BadRequest(f"{name} is missing")
    if msgid in _RELAYED:
        if not _SET_BY_SERVER.issuperset(message):
            request.extra = {name: message[name] for name in message.keys() - _SET_BY_SERVER}
        if "to" in request:
            request.setdefault("toid", request["to"])
    return request


def _identifier(value: Any) -> int:
    if type(value) is not int or not 0 < value <= MAX_ID:
        raise ValueError("must be an id: an integer from 1 to 4294967295")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SEQ:
        raise ValueError("must be an integer, 0 or more")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("must be a text")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _account_name(value: Any) -> str:
    return account_name(_text(value))


def _group_name(value: Any) -> str:
    return group_name(_text(value))


def _description(value: Any) -> str:
    text = _text(value)
    if len(text) > MAX_DESC:
        raise ValueError(f"must have at most {MAX_DESC} characters")
    return text


def _password(value: Any) -> str:
    text = _text(value)
    if not 1 <= len(text.encode()) <= MAX_PASSWORD:
        raise ValueError(f"must have 1 to {MAX_PASSWORD} bytes")
    return text


def _cid(value: Any) -> str:
    text = _text(value)
    if not 1 <= len(text.encode()) <= MAX_CID:
        raise ValueError(f"must have 1 to {MAX_CID} bytes")
    return text


def _conversation(value: Any) -> str:
    try:
        parse_key(_text(value))
    except BadRequest:
        raise ValueError("names no conversation") from None
    return value


def _cursors(value: Any) -> dict[str, int]:
    if type(value) is not dict:
        raise ValueError("must be an object of conversations and numbers")
    return {_conversation(conv): _count(seq) for conv, seq in value.items()}


def _fields(required: Spec, optional: Spec) -> tuple[Spec, Spec]:
    """Return the required fields, and all allowed fields."""
    return required, {**required, **optional}


_CHAT: Spec = {"cid": _cid, "ephemeral": _flag}

_FIELDS: dict[int, tuple[Spec, Spec]] = {
    m.LOGIN: _fields(
        {}, {"id": _identifier, "name": _text, "password": _text, "token": _text, "takeover": _flag}
    ),
    m.REG: _fields({"name": _account_name, "password": _password}, {}),
    m.ONE_CHAT: _fields({"msg": _text}, {"toid": _identifier, "to": _identifier, **_CHAT}),
    m.ADD_FRIEND: _fields({"friendid": _identifier}, {}),
    m.CREATE_GROUP: _fields({"groupname": _group_name}, {"groupdesc": _description}),
    m.ADD_GROUP: _fields({"groupid": _identifier}, {}),
    m.GROUP_CHAT: _fields({"groupid": _identifier, "msg": _text}, _CHAT),
    m.LOGINOUT: ({}, {}),
    m.HELLO: _fields({}, {"ver": _count, "ua": _text}),
    m.PING: ({}, {}),
    m.PONG: ({}, {}),
    m.SYNC: _fields({}, {"after": _conversation}),
    m.FETCH: _fields({"conv": _conversation}, {"after": _count, "before": _count, "limit": _count}),
    m.RECV: _fields({"c": _cursors}, {}),
    m.READ: _fields({"conv": _conversation, "seq": _count}, {}),
    m.TYPING: _fields({"conv": _conversation}, {}),
    m.FRIENDS: _fields({"op": _text}, {"friendid": _identifier, "after": _count}),
    m.GROUPS: _fields({"op": _text}, {"groupid": _identifier, "id": _identifier, "after": _count}),
    m.ACCOUNT: _fields({"op": _text}, {"old": _text, "new": _password}),
    m.LOOKUP: _fields({}, {"name": _text, "id": _identifier}),
}
_RELAYED = frozenset((m.ONE_CHAT, m.GROUP_CHAT))
_SET_BY_SERVER = frozenset(
    "msgid rid cid ephemeral conv seq id name toid to groupid msg time ts dup errno".split()
)
