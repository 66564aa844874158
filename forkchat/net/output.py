"""The output queue of one peer: a stream of bytes, or frames that must be neither split nor joined."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections import deque
from typing import Protocol

#: Unsent bytes allowed in the kernel buffer of a padded peer. Above this, the kernel may split a frame.
_PACED_UNSENT = 7 * 1024


def unacknowledged(sock: socket.socket) -> int:
    """Return the bytes handed to the kernel that the peer's kernel has not acknowledged (SIOCOUTQ)."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


class Output(Protocol):
    """A queue of frames for one peer.

    `queued` and `handed` count bytes since the start. Their difference is the backlog here.
    """

    queued: int
    handed: int

    def put(self, frame: bytes) -> None: ...

    def flush(self, sock: socket.socket) -> bool:
        """Hand bytes to the kernel. Return True if the rest waits for the socket to be writable.

        Raises OSError if the connection is lost.
        """


class StreamOutput:
    """Output that joins frames into as few writes as possible."""

    __slots__ = ("_chunks", "handed", "queued")

    def __init__(self) -> None:
        self.queued = 0
        self.handed = 0
        self._chunks: list[bytes] = []

    def put(self, frame: bytes) -> None:
        self._chunks.append(frame)
        self.queued += len(frame)

    def flush(self, sock: socket.socket) -> bool:
        data = b"".join(self._chunks)
        try:
            sent = sock.send(data)
        except BlockingIOError:
            sent = 0
        self.handed += sent
        if sent == len(data):
            self._chunks.clear()
            return False
        self._chunks = [data[sent:]]
        return True


class PacedOutput:
    """Output with one send per frame, which stops while too much is unsent.

    It is for the classic client, which takes the result of one `recv` for one frame.
    """

    __slots__ = ("_frames", "handed", "queued")

    def __init__(self) -> None:
        self.queued = 0
        self.handed = 0
        self._frames: deque[bytes] = deque()

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.queued += len(frame)

    def flush(self, sock: socket.socket) -> bool:
        room = _PACED_UNSENT - unacknowledged(sock)
        while self._frames and room >= len(self._frames[0]):
            frame = self._frames[0]
            try:
                sent = sock.send(frame)
            except BlockingIOError:
                return False
            self.handed += sent
            room -= sent
            if sent < len(frame):
                self._frames[0] = frame[sent:]
                return False
            self._frames.popleft()
        return False
