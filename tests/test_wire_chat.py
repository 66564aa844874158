"""One chat message: its stored body, and its modern, classic and padded forms."""

from __future__ import annotations

import re
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkchat.errors import TooLarge
from forkchat.wire.chat import (
    classic_dict,
    classic_line,
    classic_padded,
    encode_body,
    ephemeral_frame,
    modern_frame,
)
from forkchat.wire.dialect import Dialect
from forkchat.wire.frames import PADDED_SIZE
from forkchat.wire.msgid import Numbering

TS = 1767225600123
TIME = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(TS // 1000))
NOTES, COURSE = Dialect(Numbering("notes")), Dialect(Numbering("course"))


def frame(msg: str, conv: str = "d12-57", name: str = "li", **extra: Any) -> bytes:
    return modern_frame(conv, 42, 12, b"9d0c", TS, encode_body(name, msg, extra, 1 << 20))


def unpadded(frames: list[bytes]) -> list[dict[str, Any]]:
    """Return the messages in padded frames. Check that one `recv` of a classic client takes each whole."""
    for each in frames:
        assert len(each) == PADDED_SIZE
        assert re.fullmatch(rb"\{.*\} *\0", each, re.DOTALL)
    return [orjson.loads(each[:-1]) for each in frames]


def test_modern_frame() -> None:
    assert frame("hi") == (
        b'{"msgid":5,"conv":"d12-57","id":12,"toid":57,"seq":42,"cid":"9d0c","time":"%b",'
        b'"ts":1767225600123,"name":"li","msg":"hi"}\n' % TIME.encode()
    )


def test_modern_frame_of_a_group() -> None:
    assert orjson.loads(frame("hi", "g9")) == {
        "msgid": 9,
        "conv": "g9",
        "seq": 42,
        "cid": "9d0c",
        "id": 12,
        "groupid": 9,
        "time": TIME,
        "ts": TS,
        "name": "li",
        "msg": "hi",
    }


def test_ephemeral_frame() -> None:
    body = encode_body("li", "hi", {"x": 1}, 100)
    assert orjson.loads(ephemeral_frame("d12-57", 57, TS, body)) == {
        "msgid": 5,
        "conv": "d12-57",
        "ephemeral": True,
        "id": 57,
        "toid": 12,
        "time": TIME,
        "ts": TS,
        "name": "li",
        "msg": "hi",
        "x": 1,
    }


@given(
    st.text(), st.text(min_size=1), st.dictionaries(st.text().map("x-{}".format), st.integers() | st.text())
)
def test_modern_frame_says_what_was_sent(text: str, cid: str, extra: dict[str, Any]) -> None:
    extra = {key: value for key, value in extra.items() if not isinstance(value, int) or abs(value) < 2**63}
    body = encode_body("li", text, extra, 1 << 20)
    encoded = modern_frame("g9", 1, 12, cid.encode(), TS, body)
    assert encoded.count(b"\n") == 1
    message = orjson.loads(encoded)
    assert (message["msg"], message["cid"]) == (text, cid)
    assert {key: message[key] for key in extra} == extra


def test_bodies_of_the_same_content_are_the_same_bytes() -> None:
    """The server compares these bytes to tell a resend from other content under the same `cid`."""
    one, two = {"a": 1, "b": {"c": 2}}, {"b": {"c": 2}, "a": 1}
    assert encode_body("li", "hi", one, 100) == encode_body("li", "hi", two, 100)


@pytest.mark.parametrize(("text", "extra"), [("x" * 10, {}), ("你好啊x", {}), ("xxx", {"x": 1})])
def test_limit_is_in_bytes_and_counts_extra_keys(text: str, extra: dict[str, Any]) -> None:
    encode_body("li", text, extra, 10)
    with pytest.raises(TooLarge):
        encode_body("li", text, extra, 9)


# Classic forms.


def test_classic_keys_and_their_order() -> None:
    assert classic_line(frame("hi"), NOTES) == (
        b'{"id":12,"msg":"hi","msgid":5,"name":"li","time":"%b","toid":57}\n' % TIME.encode()
    )
    assert classic_line(frame("hi", "g9"), COURSE) == (
        b'{"groupid":9,"id":12,"msg":"hi","msgid":10,"name":"li","time":"%b"}\n' % TIME.encode()
    )


def test_classic_clients_get_extra_keys_and_no_modern_ones() -> None:
    message = classic_dict(frame("hi", colour="red"), NOTES)
    assert message.keys() == {"msgid", "id", "name", "toid", "msg", "time", "colour"}
    assert all(type(message[key]) is str for key in ("name", "msg", "time"))


def test_short_text_is_one_frame() -> None:
    assert [m["msg"] for m in unpadded(classic_padded(frame('你好 it\'s "ok"'), NOTES))] == [
        '你好 it\'s "ok"'
    ]


TEXTS = {
    "ASCII": "0123456789" * 500,
    "CJK": "集群聊天服务器" * 300,
    "emoji": "😀👩‍👩‍👧🏳️‍🌈" * 200,
    "quotes": '"' * 3000,
    "escapes": "\x1b[31m\\\n\t\0" * 300,
    "mixed": 'a你😀"\\\0é' * 400,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("conv", ["d12-57", "g4294967295"])
@pytest.mark.parametrize("name", ["li", '"\\' * 25, "😀" * 50])
def test_long_text_goes_in_frames_that_join_to_it(text: str, conv: str, name: str) -> None:
    whole = classic_dict(frame(text, conv, name), COURSE)
    parts = unpadded(classic_padded(frame(text, conv, name), COURSE))
    assert len(parts) > 1
    assert "".join(part["msg"] for part in parts) == text
    assert [part | {"msg": ""} for part in parts] == [whole | {"msg": ""}] * len(parts)


def test_parts_are_as_long_as_can_be() -> None:
    parts = classic_padded(frame("x" * 5000), NOTES)
    assert all(part[PADDED_SIZE - 2 :] == b"}\0" for part in parts[:-1])


@pytest.mark.parametrize("conv", ["d12-57", "g9"])
def test_text_that_just_fits_and_one_that_does_not(conv: str) -> None:
    room = PADDED_SIZE - 1 - len(classic_line(frame("", conv), NOTES).rstrip())
    assert [len(classic_padded(frame("x" * n, conv), NOTES)) for n in (room, room + 1)] == [1, 2]


def test_extra_keys_give_way_to_the_text() -> None:
    for size in (800, 5000):
        parts = unpadded(classic_padded(frame("y" * 2000, blob="x" * size), NOTES))
        assert "".join(part["msg"] for part in parts) == "y" * 2000
        assert all("blob" not in part for part in parts)
    [short] = unpadded(classic_padded(frame("y", blob="x" * 5000), NOTES))
    assert short.keys() == {"msgid", "id", "name", "toid", "msg", "time"}


def test_small_extra_keys_are_in_every_part() -> None:
    parts = unpadded(classic_padded(frame("y" * 2000, colour="red"), NOTES))
    assert [part["colour"] for part in parts] == ["red"] * len(parts)


@given(st.text(max_size=3000), st.text(max_size=900))
def test_any_text_survives(text: str, blob: str) -> None:
    parts = unpadded(classic_padded(frame(text, blob=blob), NOTES))
    assert "".join(part["msg"] for part in parts) == text
