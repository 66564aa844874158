"""One peer's frames in the order in which they came, while one of them may take its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from forkchat.net.connection import Connection
from forkchat.runtime import Loop

#: Frames that may wait, before the peer is read no more.
_MAX = 64


class Inbox:
    """Passes frames to `handle(frame)`. Between `hold()` and `release()` they wait, and what waits is
    handled before what comes later: "join, then send" means what it says."""

    __slots__ = ("_connection", "_handle", "_loop", "_waiting", "is_held")

    def __init__(self, loop: Loop, connection: Connection, handle: Callable[[bytes], object]):
        self._loop = loop
        self._connection = connection
        self._handle = handle
        self._waiting: deque[bytes] | None = None  # made when something must wait: most never does
        self.is_held = False

    def feed(self, frames: list[bytes]) -> None:
        if self.is_held or self._waiting:
            self._keep(frames)
            return
        for at, frame in enumerate(frames):
            self._handle(frame)
            if self.is_held:
                self._keep(frames[at + 1 :])
                return

    def hold(self) -> None:
        """The frame that is being handled takes its time."""
        self.is_held = True

    def release(self) -> None:
        self.is_held = False
        if self._waiting:
            self._loop.call_later(0, self._pump)

    def clear(self) -> None:
        self._waiting = None

    def _keep(self, frames: list[bytes]) -> None:
        if frames:
            self._waiting = self._waiting or deque()
            self._waiting.extend(frames)
            if len(self._waiting) > _MAX:
                self._connection.pause()

    def _pump(self) -> None:
        while self._waiting and not self.is_held and not self._connection.is_closing:
            self._handle(self._waiting.popleft())
        if not self._waiting:
            self._waiting = None
            self._connection.resume()
