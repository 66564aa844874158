"""Restart delays of processes that have died: none after a long life, growing after quick deaths."""

from __future__ import annotations

#: Seconds. A process that lived this long did not die because of how it was started.
_LONG_LIFE = 3.0
#: Seconds: the pause after the first quick death, and the longest pause.
_FIRST, _LONGEST = 0.1, 5.0


class Backoff:
    """The pause before a worker or service starts again: 0 after a long life, doubled by quick deaths."""

    def __init__(self) -> None:
        self._quick_deaths = 0

    def pause(self, lived: float) -> float:
        """Return the seconds to wait after a process died at the age of `lived` seconds."""
        self._quick_deaths = 0 if lived >= _LONG_LIFE else self._quick_deaths + 1
        if not self._quick_deaths:
            return 0.0
        return min(_LONGEST, _FIRST * 2.0 ** (self._quick_deaths - 1))
