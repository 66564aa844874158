"""Coverage-guided random bytes for all parsers of untrusted input: `python -m tests.fuzz.messages`.

Takes libFuzzer's flags (`-runs=100000`, `-max_total_time=600`, `-seed=7`). Exits with an error, and writes
the input to a file, if anything other than a refusal is raised.
"""

from __future__ import annotations

import sys
from contextlib import suppress

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["forkchat"]):
    from forkchat.errors import Refused
    from forkchat.wire import msgid as m
    from forkchat.wire.classic import Guess, dialects
    from forkchat.wire.frames import FrameDecoder, FrameTooLong
    from forkchat.wire.proxy import BadProxyHeader, ProxyHeader
    from forkchat.wire.requests import check, decode, rid_of
    from forkchat.wire.states import State, check_legal

_KNOWN = sorted(value for name, value in vars(m).items() if name.isupper() and isinstance(value, int))


def one_input(data: bytes) -> None:
    """Parse one input. Its first byte says how the rest is split and parsed."""
    how, rest = data[0] if data else 0, data[1:]
    if how & 1:
        with suppress(BadProxyHeader):
            opening = ProxyHeader(is_due=bool(how & 2)).feed(rest)
            rest = opening.rest if opening else b""
    decoder, at = FrameDecoder(64 if how & 4 else 4096, is_strict=bool(how & 16)), how % 7 + 1
    guess = Guess(dialects("course" if how & 8 else "auto", {}, "author", {}))
    with suppress(FrameTooLong):
        for piece in (rest[:at], rest[at:]):
            for frame in decoder.feed(piece):
                _read(frame, how, guess)


def _read(frame: bytes, how: int, guess: Guess) -> None:
    with suppress(Refused):
        message = decode(frame, guess.best.dialect.understand)
        guess.hear(message)
        msgid = guess.best.dialect.inbound(message["msgid"])
        rid_of(message)
        with suppress(Refused):
            check_legal(list(State)[how % len(State)], msgid)
        for each in (msgid, _KNOWN[how % len(_KNOWN)]):
            with suppress(Refused):
                check(each, message)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
