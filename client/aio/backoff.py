"""How long to wait before connecting again."""

from __future__ import annotations

import random

FIRST, LAST = 0.2, 15.0
#: A connection that lived so long was a good one: after it one begins with the first pause again.
GOOD_TIME = 5.0


class Backoff:
    """Seconds, growing with every failure; jittered, so that a restarted server is not met by all at once."""

    def __init__(self) -> None:
        self._failures = 0

    def ended(self, lived: float = 0.0) -> None:
        """A connection ended after so many seconds; 0: it was not even made."""
        self._failures = 0 if lived >= GOOD_TIME else self._failures + 1

    def pause(self) -> float:
        return min(LAST, FIRST * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
