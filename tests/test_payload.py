"""The payloads that workers publish: several parts in one publish, each with or without a frame."""

from __future__ import annotations

from forkchat.service import payload


def test_parts_come_as_they_were_put_together() -> None:
    frames = [b'{"msg":"a b"}\n', b'{"msg":"c"}\n']
    data = (
        payload.message("d1-2", 5, 1, 3, 1767225600123, frames[0])
        + payload.look("d1-2", 4)
        + payload.event(frames[1], 7)
    )
    assert payload.parts(data) == [
        ([b"M", b"d1-2", b"5", b"1", b"3", b"1767225600123"], frames[0]),
        ([b"L", b"d1-2", b"4"], b"\n"),
        ([b"F", b"7"], frames[1]),
    ]


def test_one_without_a_frame() -> None:
    assert payload.parts(payload.kick("token lease")) == [([b"K", b"token", b"lease"], b"\n")]
