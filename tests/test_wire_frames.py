"""Framing: frames decoded from any pieces of a byte stream, and frames of exactly one `recv`."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkchat.wire.frames import PADDED_SIZE, FrameDecoder, FrameTooLong, line, padded

LIMIT = 200

#: The input, the frames in it, and the delimiter that replies end with.
STREAMS = {
    "LF": (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], b"\n"),
    "NUL": (b'{"a":1}\0{"b":2}\0', [b'{"a":1}', b'{"b":2}'], b"\0"),
    "both": (b'{"a":1}\0{"b":2}\n', [b'{"a":1}', b'{"b":2}'], b"\0"),
    "no delimiter": (b'{"a":{"b":"}"}}', [b'{"a":{"b":"}"}}'], b""),
    "empty frames": (b'\n\n{"a":1}\n\n\0 \n{"b":2}\n\0', [b'{"a":1}', b'{"b":2}'], b"\n"),
    "CR LF": (b'{"a":1}\r\n{"b":2}\r\n', [b'{"a":1}', b'{"b":2}'], b"\n"),
    "blanks": (b'{"a":1}    \0', [b'{"a":1}'], b"\0"),
    "not JSON": (b'hello\n{"a":1\nx}\n', [b"hello", b'{"a":1', b"x}"], b"\n"),
    "NUL and nothing": (b'{"a":1}{"b":2}\0{"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}'], b"\0"),
    "nothing but blanks": (b' {"a":1} \r {"b":2}\t', [b'{"a":1}', b'{"b":2}'], b""),
    "braces in texts": (
        rb'{"a":"}{"}{"b\"}{":{"c":"\\"}}{"d":"{"}' + b"\0",
        [rb'{"a":"}{"}', rb'{"b\"}{":{"c":"\\"}}', b'{"d":"{"}'],
        b"\0",
    ),
    "an object after rubbish": (b'x"y{"a":1}}{"b":2}\n', [b'x"y{"a":1}', b'}{"b":2}'], b"\n"),
    "an array": (b'[{"a":1},{"b":2}]\n', [b'[{"a":1}', b',{"b":2}', b"]"], b"\n"),
    "no object": (b"[1]\n7\nnull\n", [b"[1]", b"7", b"null"], b"\n"),
    "UTF-8": ('{"a":"你好"}\n'.encode(), ['{"a":"你好"}'.encode()], b"\n"),
    "no UTF-8": (b"\xff\xfe\n{}\n", [b"\xff\xfe", b"{}"], b"\n"),
    "longest": (b"x" * LIMIT + b"\n", [b"x" * LIMIT], b"\n"),
}


def feed(decoder: FrameDecoder, pieces: list[bytes]) -> list[bytes]:
    """Return the frames of `pieces`, without the blanks at their ends, which do not matter."""
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
    """The bytes between two delimiters of a strict peer need not be JSON."""
    stream = b"".join(frame + b"\n" for frame in sent)
    places = data.draw(st.lists(st.integers(0, len(stream))))
    assert feed(FrameDecoder(len(stream) + 1, is_strict=True), [b"\n", *cut(stream, places)]) == [
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


def test_an_object_is_a_frame_after_a_delimiter_was_seen_too() -> None:
    """Some public clients end a frame with NUL and the next with nothing, each in a read of its own."""
    decoder = FrameDecoder(LIMIT)
    reads = [b'{"a":1}\0', b'{"b":2}', b'{"c":3}', b"\0", b'{"d":4}\0{"e":5}', b"\n", b'{"f":6}']
    assert [feed(decoder, [each]) for each in reads] == [
        [b'{"a":1}'],
        [b'{"b":2}'],
        [b'{"c":3}'],
        [],
        [b'{"d":4}', b'{"e":5}'],
        [],
        [b'{"f":6}'],
    ]
    assert decoder.delimiter == b"\0"
    assert not decoder.is_inside


def test_strict_peers_end_their_frames() -> None:
    decoder = FrameDecoder(LIMIT)
    assert feed(decoder, [b'{}\n{"a"']) == [b"{}"]
    decoder.is_strict = True
    assert feed(decoder, [b":1}", b'{"b":2}\n']) == [b'{"a":1}{"b":2}']


@given(
    st.lists(st.tuples(objects, st.sampled_from([b"", b"", b" ", b"\r\n", b"\n", b"\0", b"\0\0"]))), st.data()
)
def test_any_split_of_objects_with_and_without_delimiters(
    sent: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame + end for frame, end in sent)
    places = data.draw(st.lists(st.integers(0, len(stream))))
    decoder = FrameDecoder(1 << 16)
    assert feed(decoder, cut(stream, places)) == [frame for frame, _ in sent]
    assert not decoder.is_inside


@given(st.text('{}"\\[] a\n\0').map(str.encode), st.data())
def test_any_split_of_rubbish_gives_the_same(stream: bytes, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(stream))))
    whole, pieces = FrameDecoder(1 << 16), FrameDecoder(1 << 16)
    assert feed(whole, [stream]) == feed(pieces, cut(stream, places))
    assert whole.is_inside is pieces.is_inside


COSTLY = {
    "braces": b"{" * 60_000,
    "closing braces": b'{"a":"' + b"}" * 60_000,
    "objects": b"{}" * 30_000,
    "quotes": b"{" + b'"' * 60_000,
    "escapes": b'{"' + b'\\"' * 30_000,
    "backslashes": b'{"' + b"\\" * 60_000,
    "nested": b'{"a":' * 12_000,
    "rubbish before an object": b'}"' * 30_000,
}


@pytest.mark.parametrize("data", COSTLY.values(), ids=COSTLY)
@pytest.mark.parametrize("size", [1, 100, 65536])
def test_work_is_linear(data: bytes, size: int) -> None:
    """The work of a read is proportional to its bytes, and the tokens that it examines are bounded."""
    decoder = FrameDecoder(1 << 16)
    began = time.process_time()
    for at in range(0, len(data), size):
        decoder.feed(data[at : at + size])
    assert time.process_time() - began < 1.0


def test_an_object_of_too_many_braces_waits_for_its_delimiter() -> None:
    decoder = FrameDecoder(1 << 20)
    huge = orjson.dumps({"a": [{}] * 5000})
    assert feed(decoder, [huge]) == []
    assert feed(decoder, [b"\0", b'{"b":2}']) == [huge, b'{"b":2}']


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
