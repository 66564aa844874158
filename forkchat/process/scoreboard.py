"""State that the master and the workers share in memory: one slot per worker."""

from __future__ import annotations

import mmap
import time
from typing import NamedTuple

# The columns of a slot. A slot fills a cache line, so that workers do not slow each other down.
_PID, _GENERATION, _READY, _HEARTBEAT, _CONNECTIONS = range(5)
_WORDS = 8


class Entry(NamedTuple):
    pid: int
    generation: int
    is_ready: bool
    heartbeat: float  # time.monotonic() of the worker's last beat
    connections: int


class Scoreboard:
    """Slots 1 to `max_slots`, seen by the process that makes the scoreboard and by all of its forks.

    Nothing is locked, because each field has one writer at a time. The master writes a worker's fields only
    before the worker lives or after it has died. Each field is one aligned 8-byte word, which is never read
    half written.
    """

    def __init__(self, max_slots: int):
        self.max_slots = max_slots
        self._words = memoryview(mmap.mmap(-1, (max_slots + 1) * _WORDS * 8)).cast("q")

    # Used by the worker of the slot.

    def beat(self, slot: int, connections: int) -> None:
        """Record that the worker lives, and how many clients it has."""
        self._set(slot, _CONNECTIONS, connections)
        self._set(slot, _HEARTBEAT, time.monotonic_ns())

    def set_ready(self, slot: int, is_ready: bool = True) -> None:
        """Record that the worker accepts connections, or that it no longer does."""
        self._set(slot, _READY, is_ready)

    def mean(self) -> float:
        """Return the mean number of connections of the workers that accept; 0.0 without any."""
        counts = [entry.connections for entry in map(self.read, self._used()) if entry.is_ready]
        return sum(counts) / len(counts) if counts else 0.0

    # Used by the master.

    def claim(self, slot: int) -> int:
        """Prepare `slot` for a worker that is about to be forked. Return its generation: 1, 2, …"""
        self._words[0] = max(self._words[0], slot)
        self.release(slot)
        self._set(slot, _HEARTBEAT, time.monotonic_ns())
        self._set(slot, _GENERATION, self._get(slot, _GENERATION) + 1)
        return self._get(slot, _GENERATION)

    def set_pid(self, slot: int, pid: int) -> None:
        self._set(slot, _PID, pid)

    def release(self, slot: int) -> None:
        """Clear `slot`, because its worker has died or is not forked yet."""
        for column in (_READY, _CONNECTIONS, _PID):
            self._set(slot, column, 0)

    def read(self, slot: int) -> Entry:
        at = slot * _WORDS
        pid, generation, ready, heartbeat, connections = self._words[at : at + 5]
        return Entry(pid, generation, bool(ready), heartbeat / 1e9, connections)

    def _used(self) -> range:
        """Return the slots that were ever used. The first word of slot 0 holds the highest."""
        return range(1, self._words[0] + 1)

    def _get(self, slot: int, column: int) -> int:
        return self._words[slot * _WORDS + column]

    def _set(self, slot: int, column: int, value: int) -> None:
        self._words[slot * _WORDS + column] = value
