"""Framing: frames out of any pieces of a byte stream, and frames of exactly one `recv`."""

from __future__ import annotations

import random
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkchat.wire.frames import PADDED_SIZE, FrameDecoder, FrameTooLong, line, padded

LIMIT = 200

#: What comes in, the frames in it, and the delimiter that replies end with.
STREAMS = {
    "LF": (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], b"\n"),
    "NUL": (b'{"a":1}\0{"b":2}\0', [b'{"a":1}', b'{"b":2}'], b"\0"),
    "both": (b'{"a":1}\0{"b":2}\n', [b'{"a":1}', b'{"b":2}'], b"\0"),
    "no delimiter": (b'{"a":{"b":"}"}}', [b'{"a":{"b":"}"}}'], b""),
    "empty frames": (b'\n\n{"a":1}\n\n\0 \n{"b":2}\n\0', [b'{"a":1}', b'{"b":2}'], b"\n"),
    "CR LF": (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}'], b"\n"),
    "blanks": (b'{"a":1}    \0', [b'{"a":1}'], b"\0"),
    "not JSON": (b'hello\n{"a":1\nx}\n', [b"hello", b'{"a":1', b"x}"], b"\n"),
    "no object": (b"[1]\n7\nnull\n", [b"[1]", b"7", b"null"], b"\n"),
    "UTF-8": ('{"a":"你好"}\n'.encode(), ['{"a":"你好"}'.encode()], b"\n"),
    "no UTF-8": (b"\xff\xfe\n{}\n", [b"\xff\xfe", b"{}"], b"\n"),
    "longest": (b"x" * LIMIT + b"\n", [b"x" * LIMIT], b"\n"),
}


def feed(decoder: FrameDecoder, pieces: list[bytes]) -> list[bytes]:
    """The frames of `pieces`; blanks at their ends belong to no one."""
    return [frame.strip() for piece in pieces for frame in decoder.feed(piece)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in pairwise(ends) if b > a]


@pytest.mark.parametrize(("data", "frames", "delimiter"), STREAMS.values(), ids=STREAMS)
def test_pieces_do_not_matter(data: bytes, frames: list[bytes], delimiter: bytes) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    at_random = [cut(data, [rng.randrange(len(data)) for _ in range(rng.randrange(6))]) for _ in range(20)]
    for pieces in ([data], cut(data, list(range(len(data)))), *at_random):
        decoder = FrameDecoder(LIMIT)
        assert feed(decoder, pieces) == frames, f"seed {seed}: {pieces}"
        assert decoder.delimiter == delimiter, f"seed {seed}: {pieces}"


@pytest.mark.parametrize(("data", "frames", "delimiter"), STREAMS.values(), ids=STREAMS)
def test_what_trails_waits_for_its_end(data: bytes, frames: list[bytes], delimiter: bytes) -> None:
    decoder = FrameDecoder(LIMIT)
    assert feed(decoder, [data + (delimiter or b"\0") + b'{"la', b'st":3}', delimiter or b"\0"]) == [
        *frames,
        b'{"last":3}',
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4).map(orjson.dumps)


@given(st.lists(st.tuples(objects, st.sampled_from([b"\n", b"\0"]))), st.data())
def test_any_split_of_any_objects_gives_the_same(
    sent: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame + end for frame, end in sent)
    places = data.draw(st.lists(st.integers(0, len(stream))))
    decoder = FrameDecoder(len(stream))
    assert feed(decoder, cut(stream, places)) == [frame for frame, _ in sent]
    assert decoder.delimiter == (sent[0][1] if sent else b"")


@given(st.lists(st.binary(min_size=1).filter(lambda frame: not {10, 0} & {*frame})), st.data())
def test_any_split_of_any_bytes_gives_the_same(sent: list[bytes], data: st.DataObject) -> None:
    """Once a delimiter was used, what is between two of them need not be JSON."""
    stream = b"".join(frame + b"\n" for frame in sent)
    places = data.draw(st.lists(st.integers(0, len(stream))))
    assert feed(FrameDecoder(len(stream) + 1), [b"\n", *cut(stream, places)]) == [
        frame.strip() for frame in sent if not frame.isspace()
    ]


@given(st.lists(objects))
def test_one_object_a_read_needs_no_delimiter(sent: list[bytes]) -> None:
    decoder = FrameDecoder(1 << 20)
    assert feed(decoder, sent) == sent
    assert decoder.delimiter == b""


def test_undelimited_and_incomplete_waits() -> None:
    decoder = FrameDecoder(LIMIT)
    assert feed(decoder, [b'{"a":', b'"}', b'"', b"}"]) == [b'{"a":"}"}']


def test_once_delimited_a_whole_object_waits_for_its_delimiter() -> None:
    decoder = FrameDecoder(LIMIT)
    assert feed(decoder, [b"{}\n", b'{"a":1}']) == [b"{}"]
    assert feed(decoder, [b"\n"]) == [b'{"a":1}']


def test_undelimited_object_is_found_however_many_braces_it_has() -> None:
    """After so many vain tries the decoder waits for a delimiter: the work stays bounded."""
    data = b'{"a":"' + b"}" * 150 + b'"}'
    assert feed(FrameDecoder(LIMIT), [data]) == [data]
    assert feed(FrameDecoder(LIMIT), [*cut(data, list(range(len(data)))), b"\0"]) == [data]


@pytest.mark.parametrize("end", [b"\n", b"\0", b""])
@pytest.mark.parametrize("is_bytewise", [False, True])
def test_over_the_limit(end: bytes, is_bytewise: bool) -> None:
    data = b"x" * (LIMIT + 1) + end
    with pytest.raises(FrameTooLong):
        feed(FrameDecoder(LIMIT), cut(data, list(range(len(data)))) if is_bytewise else [data])


def test_the_limit_may_change() -> None:
    decoder = FrameDecoder(4)
    assert feed(decoder, [b"1234\n"]) == [b"1234"]
    decoder.limit = 6
    assert feed(decoder, [b"123456\n"]) == [b"123456"]
    decoder.limit = 4
    with pytest.raises(FrameTooLong):
        decoder.feed(b"12345")


def test_line_is_json_and_lf() -> None:
    assert line({"msgid": 102, "text": "é\n"}) == '{"msgid":102,"text":"é\\n"}\n'.encode()


@pytest.mark.parametrize("size", [2, 500, PADDED_SIZE - 2, PADDED_SIZE - 1])
def test_padded_is_json_blanks_and_nul_in_one_recv(size: int) -> None:
    json = b"{" + b'"' * (size - 2) + b"}"
    frame = padded(json)
    assert len(frame) == PADDED_SIZE == 1024
    assert frame[:size] == json
    assert set(frame[size:-1]) <= {ord(" ")}
    assert frame[-1:] == b"\0"


def test_what_fills_a_recv_cannot_be_padded() -> None:
    with pytest.raises(AssertionError):
        padded(b"x" * PADDED_SIZE)
