"""A token bucket: so many a second on average, so many at once."""

from __future__ import annotations

#: Seconds over which refused requests are asked to come back, at most; and the least that is told from none.
_LONGEST, _SHORTEST = 60.0, 1e-6


class Bucket:
    """Full at first. Times are monotonic seconds, passed in.

    A request is let in when there is a token, whatever it turns out to cost: `spend` may leave less than
    nothing, which the next one waits for.
    """

    __slots__ = ("_due", "_level", "_since")

    def __init__(self, burst: int):
        self._level = float(burst)
        self._since = 0.0
        self._due = 0.0  # when the last request that was refused is to come back

    def limit(self, level: int) -> None:
        """Hold no more than that for now."""
        self._level = min(self._level, level)

    def spend(self, tokens: float) -> None:
        if self._since:  # else nothing is counted yet
            self._level -= tokens

    def debt(self, rate: float, now: float) -> float:
        """Seconds until it has a token for what was spent beyond its last."""
        return max(0.0, -self._level / rate - (now - self._since)) if rate else 0.0

    def take(self, rate: float, burst: float, now: float) -> float:
        """Take one; 0.0, or the seconds after which this request is to be tried again.

        Refused ones are spread: if all came back at once, all but one were refused again.
        """
        if self._since:
            self._level = min(burst, self._level + (now - self._since) * rate)
        self._since = now
        if self._level >= 1:
            self._level -= 1
            return 0.0
        wait = (1 - self._level) / rate
        self._due = max(now + wait, min(self._due + 1 / rate, now + max(wait, _LONGEST)))
        return max(self._due - now, _SHORTEST)
