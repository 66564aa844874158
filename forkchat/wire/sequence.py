"""The order of one conversation's messages: show `last + 1`, hold what is early, drop what was had."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Sequence(Generic[T]):
    """Messages of dense numbers, handed on once each and in order, whatever order they come in.

    `last`: everything up to it was handed on. `known`: messages up to it are known to exist. The
    difference, less what is held, is what someone must fetch.
    """

    __slots__ = ("_held", "known", "last")

    def __init__(self, last: int):
        self.last = last
        self.known = last
        self._held: dict[int, T] = {}

    def feed(self, seq: int, item: T) -> list[T]:
        """What may be handed on now that `seq` has come, in order: nothing if it is early or was had."""
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
        """Messages up to `seq` exist, without their content."""
        self.known = max(self.known, seq)

    def skip_to(self, first: int) -> list[T]:
        """Nothing before `first` will ever come: what is held from there on may be handed on."""
        if first > self.last + 1:
            self.last = first - 1
            self.known = max(self.known, self.last)
            for seq in [seq for seq in self._held if seq <= self.last]:
                del self._held[seq]
        return self._take_held()

    def renew(self, seq: int, item: T) -> None:
        """What is held under this number is `item`, whatever has come before."""
        if seq in self._held:
            self._held[seq] = item

    def correct(self, known: int) -> None:
        """Something was told of messages that do not exist: none is held, those up to `known` are known."""
        self._held.clear()
        self.known = max(self.last, known)

    def gap(self) -> tuple[int, int] | None:
        """The first run of missing messages as `(after, upto)`, or None: after < seq <= upto."""
        if self.last >= self.known:
            return None
        return self.last, min(self._held, default=self.known + 1) - 1

    @property
    def held(self) -> int:
        """How many messages wait for an earlier one."""
        return len(self._held)

    def _take_held(self) -> list[T]:
        ready = []
        while (seq := self.last + 1) in self._held:
            ready.append(self._held.pop(seq))
            self.last = seq
        return ready
