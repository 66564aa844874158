"""Bytes to frames and back: LF, NUL or the end of a JSON object ends a frame."""

from __future__ import annotations

import re

import orjson

#: What a padded frame measures, its delimiter included: one `recv` of the classic C++ client.
PADDED_SIZE = 1024
#: Braces and strings that are looked at between two delimiters, or until a read ends with an object. Real
#: clients send fewer than 20 in a frame; more than this (about 3 ms), and only a delimiter ends a frame.
_MAX_TOKENS = 8192
#: Inside an object: a brace, or a string, which may be cut off by the end of the read.
_TOKEN = re.compile(rb'[{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)


class FrameTooLong(Exception):
    """The peer sent more than the limit without ending the frame; the connection must close."""


class FrameDecoder:
    """The frames of one peer's byte stream.

    `limit` is the most bytes a frame may have and may be changed at any time. `delimiter` is the
    one that the peer used first, b"" while it has used none. While `is_strict` only delimiters end a frame:
    modern peers always send one. Some classic peers leave it out, always or at times; for them the brace
    that ends a JSON object ends the frame too, so that any split of the stream gives the same frames.
    """

    __slots__ = ("_partial", "_scan", "delimiter", "is_strict", "limit")

    def __init__(self, limit: int, is_strict: bool = False):
        self.limit = limit
        self.delimiter = b""
        self.is_strict = is_strict
        self._partial = bytearray()
        self._scan: _Scan | None = None  # made when an object may end by itself: most frames never need it

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun that has not ended."""
        return bool(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that one read completes, without delimiters; empty ones are left out.

        Raises FrameTooLong; what was complete before the long frame is lost with it.
        """
        if not self.delimiter:
            self.find_delimiter(data)
        is_short = len(self._partial) + len(data) <= self.limit
        *complete, rest = data.replace(b"\0", b"\n").split(b"\n")
        frames: list[bytes] = []
        if complete:
            if self._partial:
                complete[0] = bytes(self._partial) + complete[0]
                self._partial.clear()
            if self.is_strict and is_short:
                frames += [piece for piece in complete if piece and not piece.isspace()]
            else:
                for piece in complete:
                    self._end(piece, frames)
        if rest:
            self._partial += rest
            if not self.is_strict:
                self._take_objects(frames)
            if len(self._partial) > self.limit:
                raise FrameTooLong
        return frames

    def clear(self) -> None:
        """Forget the frame that has not ended."""
        self._partial = bytearray()
        self._scan = None

    def find_delimiter(self, data: bytes) -> bool:
        """Look for the first delimiter in what is fed later; whether it is known now."""
        ends = [(at, d) for d in (b"\n", b"\0") if (at := data.find(d)) >= 0]
        if ends:
            self.delimiter = min(ends)[1]
        return bool(ends)

    def _end(self, piece: bytes, frames: list[bytes]) -> None:
        """A delimiter has come after `piece`: it is a frame, and what objects there are before it are too."""
        scan, self._scan = self._scan, None
        if not self.is_strict and not _is_plain(piece):
            scan = scan or _Scan()
            start = 0
            for end in scan.ends(piece, self.limit):
                self._add(piece[start:end], frames)
                start = end
            piece = piece[start:]
        self._add(piece, frames)

    def _take_objects(self, frames: list[bytes]) -> None:
        """Take the objects that have ended from what no delimiter has ended yet."""
        scan = self._scan = self._scan or _Scan()
        start = 0
        for end in scan.ends(self._partial, self.limit):
            self._add(bytes(self._partial[start:end]), frames)
            start = end
        if start:
            del self._partial[:start]
            scan.cut(start)
        if not self._partial or self._partial.isspace():  # blanks begin no frame
            self._partial.clear()
            self._scan = None

    def _add(self, frame: bytes, frames: list[bytes]) -> None:
        if len(frame) > self.limit:
            raise FrameTooLong
        if frame and not frame.isspace():
            frames.append(frame)


class _Scan:
    """How far a text between two delimiters was looked at for the ends of its objects."""

    __slots__ = ("_at", "_depth", "_is_in_string", "_start", "_tokens")

    def __init__(self) -> None:
        self._start = 0  # where the frame begins that has not ended
        self._at = 0
        self._depth = 0
        self._is_in_string = False
        self._tokens = 0

    def ends(self, text: bytes | bytearray, limit: int) -> list[int]:
        """Where objects end that had not ended before. `text` begins where the last one left it (`cut`).

        Frames over `limit` bytes are not looked at further: they end the connection.
        """
        found: list[int] = []
        size = len(text)
        while self._at < size and self._tokens < _MAX_TOKENS and self._at - self._start <= limit:
            if self._is_in_string:
                string = _STRING.match(text, self._at)
                assert string
                self._at = string.end()
                if not string[1]:
                    break
                self._is_in_string = False
            elif not self._depth:
                # What stands before the first brace is no object: a quote there means nothing.
                self._at = text.find(b"{", self._at) + 1
                if not self._at:
                    self._at = size
                    break
                self._depth = 1
                self._tokens += 1
            elif (token := _TOKEN.search(text, self._at)) is None:
                self._at = size
            else:
                self._at = token.end()
                self._tokens += 1
                self._take(text[token.start()], bool(token[1]), found)
        return found

    def _take(self, first: int, is_closed: bool, found: list[int]) -> None:
        """Take a token by its first byte; `is_closed`: a string has ended."""
        if first == _OPEN:
            self._depth += 1
        elif first == _CLOSE:
            self._depth -= 1
            if not self._depth:
                found.append(self._at)
                self._start = self._at
        else:
            self._is_in_string = not is_closed

    def cut(self, length: int) -> None:
        """The text's first bytes are gone."""
        self._at -= length
        self._start -= length


_OPEN, _CLOSE = b"{}"


def _is_plain(piece: bytes) -> bool:
    """Whether `piece` is one frame at a glance: without braces, or one object with none within."""
    opened = piece.count(b"{")
    return not opened or (opened == 1 == piece.count(b"}") and piece.rstrip().endswith(b"}"))


def line(message: dict[str, object]) -> bytes:
    """A frame as modern sessions get it: JSON and LF."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


def padded(json: bytes) -> bytes:
    """JSON of at most 1023 bytes as a frame of exactly 1024: blanks, then NUL."""
    assert len(json) < PADDED_SIZE
    return json.ljust(PADDED_SIZE - 1) + b"\0"
