"""The order of one conversation's messages: show `last + 1`, hold early messages, drop duplicates."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Sequence(Generic[T]):
    """Messages with dense numbers. They may arrive in any order; each is passed on once and in order.

    All messages up to `last` were passed on. Messages up to `known` are known to exist. The messages between
    `last` and `known` that are not held must be fetched.
    """

    __slots__ = ("_held", "known", "last")

    def __init__(self, last: int):
        self.last = last
        self.known = last
        self._held: dict[int, T] = {}

    def feed(self, seq: int, item: T) -> list[T]:
        """Take `item` and return the messages to pass on, in order: none if `seq` is early or a duplicate."""
        if seq <= self.last:
            return []
        if seq > self.known:
            self.known = seq
        if seq > self.last + 1:
            self._held.setdefault(seq, item)
            return []
        self.last = seq
        return [item, *self._take_held()] if self._held else [item]

    def note(self, seq: int) -> None:
        """Record that messages up to `seq` exist, without their content."""
        self.known = max(self.known, seq)

    def skip_to(self, first: int) -> list[T]:
        """Skip all messages before `first`, which will never arrive. Return the held messages to pass on."""
        if first > self.last + 1:
            self.last = first - 1
            self.known = max(self.known, self.last)
            for seq in [seq for seq in self._held if seq <= self.last]:
                del self._held[seq]
        return self._take_held()

    def renew(self, seq: int, item: T) -> None:
        """Replace the message that is held under `seq`, if any, with `item`."""
        if seq in self._held:
            self._held[seq] = item

    def correct(self, known: int) -> None:
        """Drop all held messages and reset `known`, because some reported messages do not exist."""
        self._held.clear()
        self.known = max(self.last, known)

    def gap(self) -> tuple[int, int] | None:
        """Return the first run of missing messages as `(after, upto)`, after < seq <= upto, or None."""
        if self.last >= self.known:
            return None
        return self.last, min(self._held, default=self.known + 1) - 1

    @property
    def held(self) -> int:
        """The number of messages that wait for an earlier message."""
        return len(self._held)

    def _take_held(self) -> list[T]:
        ready = []
        while (seq := self.last + 1) in self._held:
            ready.append(self._held.pop(seq))
            self.last = seq
        return ready
