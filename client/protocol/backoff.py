"""The pause before the next attempt to connect or to log in."""

from __future__ import annotations

import random

#: Seconds: the pause before any failure, and the longest pause. Each failure doubles it.
FIRST, LAST = 0.2, 15.0
#: Seconds. A connection that lived this long resets the pause, because it worked.
GOOD_TIME = 5.0


class Backoff:
    """An exponential backoff in seconds. Jitter spreads the clients of a restarted server."""

    def __init__(self) -> None:
        self._failures = 0

    def ended(self, lived: float = 0.0) -> None:
        """Record that an attempt ended after `lived` seconds; 0 means that it did not even succeed."""
        self._failures = 0 if lived >= GOOD_TIME else self._failures + 1

    def pause(self, asked: float | None = None) -> float:
        """Return the seconds to wait before the next attempt.

        `asked`: seconds that the server asks the client to stay away. They are added to the client's own
        pause. That protects a server that asks for 0. It also spreads clients that were asked for the same
        time.
        """
        own = min(LAST, FIRST * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        return own + (asked or 0.0)
