"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations


class Bucket:
    """Full at first. Times are monotonic seconds, passed in."""

    __slots__ = ("_level", "_since")

    def __init__(self, burst: int):
        self._level = float(burst)
        self._since = 0.0

    def limit(self, level: int) -> None:
        """Hold no more than that for now."""
        self._level = min(self._level, level)

    def take(self, rate: int, burst: int, now: float) -> float:
        """Take one; 0, or the seconds until there is one to take."""
        if self._since:
            self._level = min(burst, self._level + (now - self._since) * rate)
        self._since = now
        if self._level < 1:
            return (1 - self._level) / rate
        self._level -= 1
        return 0.0
