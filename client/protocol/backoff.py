"""How long to wait before trying again: to connect, or to log in."""

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
        """A try ended after so many seconds; 0: it did not even succeed."""
        self._failures = 0 if lived >= GOOD_TIME else self._failures + 1

    def pause(self, asked: float | None = None) -> float:
        """`asked`: seconds that the server asks us to stay away. They come on top of a pause of our own:
        a server that asks for 0 is not to be overrun, and those whom it asks for the same are not to come
        at once.
        """
        own = min(LAST, FIRST * 2.0 ** min(self._failures, 10)) * random.uniform(0.5, 1.0)
        return own + (asked or 0.0)
