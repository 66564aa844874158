"""A timing wheel of whole seconds: idle checks for many connections with one timer for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from forkchat import log
from forkchat.runtime import Loop

T = TypeVar("T")


class Wheel(Generic[T]):
    """`on_due(item)` is called when an item's seconds are over; it returns the next ones, or None.

    An item whose `on_due` fails is logged and asked again as soon as may be; the others notice nothing.

    Nothing is ever moved: what has happened meanwhile is the item's to know when it is due.
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
