"""A timing wheel with slots of one second: idle checks for many connections with one timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from forkchat import log
from forkchat.runtime import Loop

T = TypeVar("T")


class Wheel(Generic[T]):
    """A wheel that calls `on_due(item)` when an item's delay is over.

    `on_due` returns the seconds until its next call, or None to end. If it raises, the error is logged and
    the item is due again after 1 s. Other items are not affected.

    Items are never rescheduled early; `on_due` decides whether the deadline still applies.
    """

    def __init__(self, loop: Loop, on_due: Callable[[T], float | None]):
        self._loop = loop
        self._on_due = on_due
        self._slots: dict[int, list[T]] = {}
        self._second = int(loop.time())
        loop.call_later(1, self._turn)

    def add(self, item: T, seconds: float) -> None:
        self._slots.setdefault(int(self._loop.time() + max(1.0, seconds)), []).append(item)

    def _turn(self) -> None:
        self._loop.call_later(1, self._turn)
        now = int(self._loop.time())
        for second in range(self._second, now):
            for item in self._slots.pop(second, ()):
                try:
                    seconds = self._on_due(item)
                except Exception as error:
                    log.exception("wheel.error", error)
                    seconds = 1.0
                if seconds is not None:
                    self.add(item, seconds)
        self._second = now
