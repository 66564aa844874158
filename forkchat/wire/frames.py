"""Conversion of bytes to frames and back. LF, NUL or the end of a JSON object ends a frame."""

from __future__ import annotations

import re

import orjson

#: Bytes of a padded frame, its delimiter included: one `recv` of the classic C++ client.
PADDED_SIZE = 1024
#: Braces and strings that are examined between two delimiters, or until a read ends with an object. Real
#: clients send fewer than 20 in a frame. After this number (about 3 ms), only a delimiter ends a frame.
_MAX_TOKENS = 8192
#: A token inside an object: a brace, or a string, which the end of the read may cut off.
_TOKEN = re.compile(rb'[{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)


class FrameTooLong(Exception):
    """The peer sent more than the limit without ending the frame; the connection must close."""


class FrameDecoder:
    """The decoder that splits one peer's byte stream into frames.

    `limit` is the maximum size of a frame in bytes and may be changed at any time. `delimiter` is the
    delimiter that the peer used first, b"" while it has used none. While `is_strict`, only delimiters end a
    frame, because modern peers always send delimiters. Some classic peers leave them out, always or at times.
    For classic peers, the brace that ends a JSON object also ends the frame. Any split of the stream then
    gives the same frames.
    """

    __slots__ = ("_partial", "_scan", "delimiter", "is_strict", "limit")

    def __init__(self, limit: int, is_strict: bool = False):
        self.limit = limit
        self.delimiter = b""
        self.is_strict = is_strict
        self._partial = bytearray()
        self._scan: _Scan | None = None  # created on demand: most frames never need it

    @property
    def is_inside(self) -> bool:
        """True if a frame has begun and has not ended."""
        return bool(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that one read completes, without delimiters. Blank frames are left out.

        Raises FrameTooLong if a frame exceeds `limit`. Frames that the same read completed are lost with it.
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
        """Look for the first delimiter in `data`, which is fed later. Return whether it is known now."""
        ends = [(at, d) for d in (b"\n", b"\0") if (at := data.find(d)) >= 0]
        if ends:
            self.delimiter = min(ends)[1]
        return bool(ends)

    def _end(self, piece: bytes, frames: list[bytes]) -> None:
        """Add the frames of `piece`, which a delimiter ends: objects that end in it, then the rest."""
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
        """Add the objects that have ended in the bytes that no delimiter has ended yet."""
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
    """The progress of a search for the ends of objects in the text between two delimiters."""

    __slots__ = ("_at", "_depth", "_is_in_string", "_start", "_tokens")

    def __init__(self) -> None:
        self._start = 0  # where the unfinished frame begins
        self._at = 0
        self._depth = 0
        self._is_in_string = False
        self._tokens = 0

    def ends(self, text: bytes | bytearray, limit: int) -> list[int]:
        """Return the positions where objects end that had not ended before.

        `text` is the last call's text without the bytes that were `cut`, followed by new bytes. A frame over
        `limit` bytes is not examined further, because it ends the connection.
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
                # Text before the first brace is no object, so a quote there means nothing.
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
        """Process a token by its first byte. `is_closed` tells whether a string token has ended."""
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
        """Adjust all positions, because the text has lost its first `length` bytes."""
        self._at -= length
        self._start -= length


_OPEN, _CLOSE = b"{}"


def _is_plain(piece: bytes) -> bool:
    """Return whether `piece` is obviously one frame: without braces, or one object without inner braces."""
    opened = piece.count(b"{")
    return not opened or (opened == 1 == piece.count(b"}") and piece.rstrip().endswith(b"}"))


def line(message: dict[str, object]) -> bytes:
    """Encode a frame for modern sessions: JSON and LF."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


def padded(json: bytes) -> bytes:
    """Pad JSON of at most 1023 bytes to a frame of exactly 1024 bytes with blanks and a NUL."""
    assert len(json) < PADDED_SIZE
    return json.ljust(PADDED_SIZE - 1) + b"\0"
