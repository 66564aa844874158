"""Requests of clients: JSON objects with an integer msgid, `rid`, and each field's type and bounds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkchat.errors import BadRequest, Refused, Unsupported
from forkchat.wire import msgid as m
from forkchat.wire.conversation import MAX_ID, group_key, pair_key, parse_key
from forkchat.wire.requests import MAX_SEQ, Request, check, decode, rid_of

# Frames.

NOT_AN_OBJECT = {
    "nothing": b"",
    "a word": b"hello",
    "HTTP": b"GET / HTTP/1.1\r",
    "half": b'{"msgid":1',
    "two": b'{"msgid":1}{"msgid":1}',
    "a comma too many": b'{"msgid":1,}',
    "single quotes": b"{'msgid':1}",
    "list": b"[]",
    "list of one": b'[{"msgid":1}]',
    "number": b"7",
    "text": b'"msgid"',
    "null": b"null",
    "NaN": b'{"msgid":1,"x":NaN}',
    "Infinity": b'{"msgid":1,"x":-Infinity}',
    "too large for a double": b'{"msgid":1,"x":1e999}',
    "lone high surrogate": b'{"msgid":1,"x":"\\ud800"}',
    "lone low surrogate": b'{"msgid":1,"x":"\\udc00x"}',
    "surrogate in UTF-8": b'{"msgid":1,"x":"\xed\xa0\x80"}',
    "no UTF-8": b'{"msgid":1,"x":"\xff"}',
    "raw control character": b'{"msgid":1,"x":"\x01"}',
    "deep list": b'{"msgid":1,"x":' + b"[" * 30000 + b"]" * 30000 + b"}",
    "deep object": b'{"msgid":1,"x":' + b'{"a":' * 10000 + b"1" + b"}" * 10000 + b"}",
}


@pytest.mark.parametrize("frame", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT)
def test_no_json_object(frame: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(frame)


@pytest.mark.parametrize(
    "value", [b"null", b'"1"', b"true", b"1.0", b"1e2", b"[1]", b"{}", b"1" + b"0" * 30, b"-1.5"]
)
def test_msgid_is_an_integer(value: bytes) -> None:
    with pytest.raises(BadRequest, match="msgid"):
        decode(b'{"msgid":%b}' % value)


def test_msgid_is_there() -> None:
    with pytest.raises(BadRequest, match="msgid"):
        decode(b"{}")


@given(st.binary())
def test_any_bytes_are_an_object_or_refused(frame: bytes) -> None:
    with suppress(BadRequest):
        assert type(decode(frame)["msgid"]) is int


def test_an_object() -> None:
    assert decode(b' {"msgid":-1,"x":"\\u0000\\ud83d\\ude00"} ') == {"msgid": -1, "x": "\0😀"}


def test_a_byte_order_mark_is_passed_over() -> None:
    assert decode(b'\xef\xbb\xbf{"msgid":1}') == {"msgid": 1}
    with pytest.raises(BadRequest):
        decode(b"\xef\xbb\xbf" * 20_000)


# rid.


@pytest.mark.parametrize("rid", [None, "", "x", "x" * 64, "é" * 32, 0, -1, 2**64 - 1, "\0", "null"])
def test_rid(rid: str | int | None) -> None:
    assert rid_of({"rid": rid}) == rid


@pytest.mark.parametrize("rid", ["x" * 65, "é" * 33, True, False, 1.5, [], {}, ["x"]])
def test_bad_rid(rid: Any) -> None:
    with pytest.raises(BadRequest, match="rid"):
        rid_of({"rid": rid})


# Fields.

NO_ID: list[Any] = [0, -1, True, False, MAX_ID + 1, 2**64, 10**30, 1.0, 0.5, "1", "", [], {}, [1]]
NO_COUNT: list[Any] = [-1, True, MAX_SEQ + 1, 1.0, "1", [], {}]
NO_TEXT: list[Any] = [1, 0, True, 1.5, [], {}, ["a"]]
NO_FLAG: list[Any] = [0, 1, "true", "", []]
NO_CONV: list[Any] = [
    *NO_TEXT,
    *("", "g", "g0", "g01", "g-1", "g4294967296", "x9", "G9", "g9 ", " g9", "g9\n", "d1", "d1-", "d1-1"),
    *("d2-1", "d0-1", "d1-4294967296", "d01-2", "d1-2-3", "g٣", "g" + "9" * 99),
]
NO_NAME: list[Any] = [
    *NO_TEXT,
    *("", "x" * 51, "é" * 51, " x", "x ", " ", "\u3000x", "a\0b", "a\nb", "a\tb", "a\x7fb", "a\x9bb"),
    *("\x1b[31mred", "\x1b]0;title\x07", "a\u200bb", "a\u202eb", "a\u2028b", "\ufeffa"),
]
NAMES = [
    "x",
    "x" * 50,
    "é" * 50,
    "李明",
    "a b",
    "'; DROP TABLE user; --",
    '" OR ""="',
    "%s %d {0}",
    "\\",
]
NO_PASSWORD: list[Any] = [*NO_TEXT, "", "x" * 1025, "é" * 513]
NO_CID: list[Any] = [*NO_TEXT, "", "x" * 65, "é" * 33]

REG = {"name": "li", "password": "pw"}
CHAT = {"toid": 2, "msg": "hi"}
GROUP_CHAT = {"groupid": 2, "msg": "hi"}

#: (msgid, a good request, a field, its good values, its bad values)
FIELDS: list[tuple[int, dict[str, Any], str, list[Any], list[Any]]] = [
    (m.LOGIN, {}, "id", [1, MAX_ID], NO_ID),
    (m.LOGIN, {}, "name", ["", "x", "'", "x" * 999], NO_TEXT),
    (m.LOGIN, {}, "password", ["", "x" * 999], NO_TEXT),
    (m.LOGIN, {}, "token", ["", "x" * 999], NO_TEXT),
    (m.LOGIN, {}, "takeover", [True, False], NO_FLAG),
    (m.REG, REG, "name", NAMES, [*NO_NAME, "😀"]),
    (m.REG, REG, "password", ["x", "\0", "x" * 1024, "é" * 512], NO_PASSWORD),
    (m.ONE_CHAT, CHAT, "toid", [1, MAX_ID], NO_ID),
    (m.ONE_CHAT, CHAT, "to", [1, MAX_ID], NO_ID),
    (m.ONE_CHAT, CHAT, "msg", ["", "\0", "\x1b[2J", "'; DROP TABLE user; --", "x" * 99999], NO_TEXT),
    (m.ONE_CHAT, CHAT, "cid", ["x", "x" * 64, "é" * 32, "\0"], NO_CID),
    (m.ONE_CHAT, CHAT, "ephemeral", [True, False], NO_FLAG),
    (m.GROUP_CHAT, GROUP_CHAT, "groupid", [1, MAX_ID], NO_ID),
    (m.GROUP_CHAT, GROUP_CHAT, "msg", ["", "x"], NO_TEXT),
    (m.GROUP_CHAT, GROUP_CHAT, "cid", ["x"], NO_CID),
    (m.ADD_FRIEND, {"friendid": 2}, "friendid", [1, MAX_ID], NO_ID),
    (m.CREATE_GROUP, {"groupname": "ops"}, "groupname", [*NAMES, "😀" * 50], NO_NAME),
    (m.CREATE_GROUP, {"groupname": "ops"}, "groupdesc", ["", "x" * 200], [*NO_TEXT, "x" * 201]),
    (m.ADD_GROUP, {"groupid": 2}, "groupid", [1, MAX_ID], NO_ID),
    (m.HELLO, {}, "ver", [0, 1, MAX_SEQ], NO_COUNT),
    (m.HELLO, {}, "ua", ["", "x"], NO_TEXT),
    (m.SYNC, {}, "after", ["g9", "d1-2"], NO_CONV),
    (m.FETCH, {"conv": "g9"}, "conv", ["g9", "g4294967295", "d1-2", "d9-10"], NO_CONV),
    (m.FETCH, {"conv": "g9"}, "after", [0, MAX_SEQ], NO_COUNT),
    (m.FETCH, {"conv": "g9"}, "before", [0, MAX_SEQ], NO_COUNT),
    (m.FETCH, {"conv": "g9"}, "limit", [0, MAX_SEQ], NO_COUNT),
    (
        m.RECV,
        {"c": {}},
        "c",
        [{}, {"g9": 0, "d1-2": MAX_SEQ}],
        [*NO_TEXT[:-2], [], {"g9": -1}, {"x": 1}, {"g9": True}],
    ),
    (m.READ, {"conv": "g9", "seq": 1}, "conv", ["g9"], NO_CONV),
    (m.READ, {"conv": "g9", "seq": 1}, "seq", [0, MAX_SEQ], NO_COUNT),
    (m.TYPING, {"conv": "g9"}, "conv", ["g9", "d1-2"], NO_CONV),
    (m.FRIENDS, {"op": "list"}, "op", ["", "list"], NO_TEXT),
    (m.FRIENDS, {"op": "list"}, "friendid", [1], NO_ID),
    (m.GROUPS, {"op": "list"}, "groupid", [1], NO_ID),
    (m.GROUPS, {"op": "list"}, "id", [1], NO_ID),
    (m.ACCOUNT, {"op": "password"}, "old", ["", "x"], NO_TEXT),
    (m.ACCOUNT, {"op": "password"}, "new", ["x"], NO_PASSWORD),
    (m.LOOKUP, {}, "name", ["", "x"], NO_TEXT),
    (m.LOOKUP, {}, "id", [1, MAX_ID], NO_ID),
]
IDS = [f"{msgid}-{field}" for msgid, _, field, _, _ in FIELDS]


@pytest.mark.parametrize(("msgid", "base", "field", "good", "bad"), FIELDS, ids=IDS)
def test_fields(msgid: int, base: dict[str, Any], field: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert check(msgid, base | {field: value})[field] == value
    for value in bad:
        with pytest.raises(BadRequest, match=f"^{field} "):
            print(field, repr(value))
            check(msgid, base | {field: value})


REQUIRED: dict[int, dict[str, Any]] = {
    m.REG: REG,
    m.ONE_CHAT: {"msg": "hi"},
    m.GROUP_CHAT: GROUP_CHAT,
    m.ADD_FRIEND: {"friendid": 2},
    m.CREATE_GROUP: {"groupname": "ops"},
    m.ADD_GROUP: {"groupid": 2},
    m.FETCH: {"conv": "g9"},
    m.RECV: {"c": {}},
    m.READ: {"conv": "g9", "seq": 1},
    m.TYPING: {"conv": "g9"},
    m.FRIENDS: {"op": "list"},
    m.GROUPS: {"op": "list"},
    m.ACCOUNT: {"op": "password"},
}


@pytest.mark.parametrize(
    ("msgid", "field"), [(msgid, field) for msgid, all_ in REQUIRED.items() for field in all_]
)
def test_required(msgid: int, field: str) -> None:
    good = REQUIRED[msgid]
    assert check(msgid, good) == good
    for message in (good | {field: None}, {key: value for key, value in good.items() if key != field}):
        with pytest.raises(BadRequest, match=f"^{field} is missing$"):
            check(msgid, message)


@pytest.mark.parametrize("msgid", [m.LOGINOUT, m.PING, m.PONG, m.HELLO, m.SYNC, m.LOGIN, m.LOOKUP])
def test_nothing_required_and_unknown_fields_ignored(msgid: int) -> None:
    request = check(msgid, {"msgid": msgid, "rid": "7", "who": {"knows": [1]}})
    assert (request.msgid, request.rid, request, request.extra) == (msgid, "7", {}, {})


@pytest.mark.parametrize("msgid", [0, -1, 11, 99, m.LOGIN_ACK, m.ACK, m.BYE, m.PRESENCE, 2**63])
def test_unknown_msgid(msgid: int) -> None:
    with pytest.raises(Unsupported):
        check(msgid, {})


# Chat messages.


def chat(**fields: Any) -> Request:
    return check(m.ONE_CHAT, {"msgid": m.ONE_CHAT, "msg": "hi", **fields})


def test_to_and_toid() -> None:
    """The notes use the name `to`, and the original's code uses `toid`."""
    assert chat(to=7)["toid"] == 7
    assert chat(toid=8)["toid"] == 8
    assert chat(to=7, toid=8)["toid"] == 8


def test_extra_keys_are_kept_but_not_what_the_server_says() -> None:
    claimed = {
        "id": 1,
        "name": "root",
        "time": "never",
        "ts": 1,
        "seq": 9,
        "conv": "g1",
        "dup": True,
        "errno": 0,
    }
    request = chat(toid=2, rid="1", cid="c", colour="red", nested={"a": [1, None]}, **claimed)
    assert request.extra == {"colour": "red", "nested": {"a": [1, None]}}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(sorted({field for _, _, field, _, _ in FIELDS} | {"rid", "x"}))


@given(st.integers(0, 140), st.dictionaries(keys, values))
def test_whatever_comes_is_checked_or_refused(msgid: int, fields: dict[str, Any]) -> None:
    try:
        message = decode(orjson.dumps({"msgid": msgid} | fields))
        request = check(message["msgid"], message)
    except Refused:
        return
    assert all(request[key] == message[key] for key in request if key != "toid")


# Conversations.


@given(st.integers(1, MAX_ID), st.integers(1, MAX_ID))
def test_a_pairs_key_is_the_same_from_both_sides(a: int, b: int) -> None:
    if a != b:
        assert pair_key(a, b) == pair_key(b, a)
        parsed = parse_key(pair_key(a, b))
        assert (parsed.users, parsed.group) == ((min(a, b), max(a, b)), 0)
        assert (parsed.other(a), parsed.other(b)) == (b, a)


@given(st.integers(1, MAX_ID))
def test_a_groups_key(group: int) -> None:
    assert parse_key(group_key(group)) == ((), group)
