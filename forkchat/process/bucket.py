"""A token bucket: a rate per second on average, and a burst at once."""

from __future__ import annotations

#: Seconds over which retries are spread, at most. Shortest delay of a refusal, because 0.0 means accepted.
_LONGEST, _SHORTEST = 60.0, 1e-6


class Bucket:
    """A token bucket that is full at first. Times are monotonic seconds, passed in.

    A request is accepted if there is a token, although its cost is not known yet. `spend` may then leave a
    negative level, which the next request has to wait for.
    """

    __slots__ = ("_due", "_level", "_since")

    def __init__(self, burst: int):
        self._level = float(burst)
        self._since = 0.0
        self._due = 0.0  # when the last refused request should be retried

    def limit(self, level: int) -> None:
        """Lower the present level to at most `level`."""
        self._level = min(self._level, level)

    def spend(self, tokens: float) -> None:
        if self._since:  # nothing is counted before the first `take`
            self._level -= tokens

    def debt(self, rate: float, now: float) -> float:
        """Return the seconds until the tokens that were spent beyond the last one are refilled."""
        return max(0.0, -self._level / rate - (now - self._since)) if rate else 0.0

    def take(self, rate: float, burst: float, now: float) -> float:
        """Take one token. Return 0.0, or the seconds after which the refused request should be retried.

        Retries are spread over time. If all came at once, all but one would be refused again.
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
