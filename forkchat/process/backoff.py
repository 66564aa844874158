"""When to start again what has died: at once, but not over and over."""

from __future__ import annotations

#: Seconds. What has lived so long did not die of how it was started.
_LONG_LIFE = 3.0
_FIRST, _LONGEST = 0.1, 5.0


class Backoff:
    """The pause before the next start of one worker or service: none, or doubling after quick deaths."""

    def __init__(self) -> None:
        self._quick_deaths = 0

    def pause(self, lived: float) -> float:
        """Seconds to wait after a death at the age of `lived` seconds."""
        self._quick_deaths = 0 if lived >= _LONG_LIFE else self._quick_deaths + 1
        if not self._quick_deaths:
            return 0.0
        return min(_LONGEST, _FIRST * 2.0 ** (self._quick_deaths - 1))
