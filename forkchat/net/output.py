"""What waits to be sent to one peer: a stream of bytes, or frames that must not be cut or joined."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections import deque
from typing import Protocol

#: Unsent bytes that a padded peer's kernel buffer may hold. Above it the kernel may cut a frame.
_PACED_UNSENT = 7 * 1024


def unacknowledged(sock: socket.socket) -> int:
    """Bytes handed to the kernel that the peer's kernel has not acknowledged (SIOCOUTQ)."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


class Output(Protocol):
    """`queued` and `handed` count bytes since the start; their difference waits here."""

    queued: int
    handed: int

    def put(self, frame: bytes) -> None: ...

    def flush(self, sock: socket.socket) -> bool:
        """Hand over what the kernel takes; whether the rest waits for the socket to be writable.

        Raises OSError when the connection is lost.
        """


class StreamOutput:
    """Frames joined into as few writes as there can be."""

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
    """One send a frame, while little is unsent: the classic client takes one `recv` for one frame."""

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
