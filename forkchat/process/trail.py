"""How much of what a proxy has taken can be held to have reached the client behind it."""

from __future__ import annotations

from collections import deque

#: Seconds that a connection must live on: a client that is gone takes its proxied one with it by then.
_GRACE = 3.0


class Trail:
    """Bytes that the proxy's kernel has acknowledged, with the time at which that was seen."""

    __slots__ = ("_marks", "_reached")

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._reached = 0

    def reached(self, now: float, taken: int) -> int:
        """Bytes that have reached the client, where the proxy has taken `taken` of them."""
        if taken > (self._marks[-1][1] if self._marks else self._reached):
            self._marks.append((now, taken))
        while self._marks and self._marks[0][0] <= now - _GRACE:
            self._reached = self._marks.popleft()[1]
        return self._reached

    def confirm(self, taken: int) -> None:
        """The client has shown that it lives, and has read what it was sent: it has logged out."""
        self._marks.clear()
        self._reached = taken
