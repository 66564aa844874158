"""Bytes to frames and back: LF or NUL ends a frame; some classic peers end theirs with nothing."""

from __future__ import annotations

import orjson

#: What a padded frame measures, its delimiter included: one `recv` of the classic C++ client.
PADDED_SIZE = 1024
#: How often an undelimited frame may look complete and not be, before we wait for a delimiter.
_MAX_TRIES = 64


class FrameTooLong(Exception):
    """The peer sent more than the limit without ending the frame; the connection must close."""


class FrameDecoder:
    """The frames of one peer's byte stream.

    `limit` is the most bytes a frame may have and may be changed at any time. `delimiter` is the
    one that the peer used first, b"" while it has used none.
    """

    __slots__ = ("_partial", "_tries", "delimiter", "limit")

    def __init__(self, limit: int):
        self.limit = limit
        self.delimiter = b""
        self._partial = bytearray()
        self._tries = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that one read completes, without delimiters; empty ones are left out.

        Raises FrameTooLong; what was complete before the long frame is lost with it.
        """
        if not self.delimiter:
            self._find_delimiter(data)
        *complete, rest = data.replace(b"\0", b"\n").split(b"\n")
        frames = []
        if complete:
            if self._partial:
                complete[0] = bytes(self._partial) + complete[0]
                self._partial.clear()
                self._tries = 0
            for frame in complete:
                if len(frame) > self.limit:
                    raise FrameTooLong
                if frame and not frame.isspace():
                    frames.append(frame)
        if rest:
            self._partial += rest
            if len(self._partial) > self.limit:
                raise FrameTooLong
            if not self.delimiter and self._is_whole():
                frames.append(bytes(self._partial))
                self._partial.clear()
                self._tries = 0
        return frames

    def _find_delimiter(self, data: bytes) -> None:
        ends = [(at, d) for d in (b"\n", b"\0") if (at := data.find(d)) >= 0]
        if ends:
            self.delimiter = min(ends)[1]

    def _is_whole(self) -> bool:
        """Whether what an undelimited read left is one complete JSON object."""
        if self._tries >= _MAX_TRIES or not self._partial.rstrip().endswith(b"}"):
            return False
        self._tries += 1
        try:
            return isinstance(orjson.loads(self._partial), dict)
        except orjson.JSONDecodeError:
            return False


def line(message: dict[str, object]) -> bytes:
    """A frame as modern sessions get it: JSON and LF."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


def padded(json: bytes) -> bytes:
    """JSON of at most 1023 bytes as a frame of exactly 1024: blanks, then NUL."""
    assert len(json) < PADDED_SIZE
    return json.ljust(PADDED_SIZE - 1) + b"\0"
