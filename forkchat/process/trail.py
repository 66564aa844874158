"""An estimate of how many bytes that a proxy has taken have reached its client."""

from __future__ import annotations

from collections import deque

#: Seconds that a connection must live on for its bytes to count. If a client vanishes, its proxied connection
#: ends within this time.
_GRACE = 3.0


class Trail:
    """Byte counts that the proxy's kernel has acknowledged, with the times at which they were seen."""

    __slots__ = ("_marks", "_reached")

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._reached = 0

    def reached(self, now: float, taken: int) -> int:
        """Return the bytes that count as received by the client, if the proxy has taken `taken` bytes."""
        if taken > (self._marks[-1][1] if self._marks else self._reached):
            self._marks.append((now, taken))
        while self._marks and self._marks[0][0] <= now - _GRACE:
            self._reached = self._marks.popleft()[1]
        return self._reached

    def confirm(self, taken: int) -> None:
        """Count all `taken` bytes as received, because the client has logged out.

        The logout shows that the client lives, and has read everything that it was sent.
        """
        self._marks.clear()
        self._reached = taken
