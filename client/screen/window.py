"""The messages of one conversation near the screen, in memory. Only these are drawn."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from client.local.history import History
from client.local.lane import HistoryLane
from client.local.quiet import Quiet
from client.protocol.events import Message
from client.screen.conversations import HOME

#: A number above those of all messages.
END = 1 << 60
#: Messages that are read at once on each side of a place.
#: Messages that stay in memory while more and more come. Those of ignored users do not count.
_REACH, _MOST = 300, 2000


@dataclass(frozen=True)
class Near:
    """The messages on both sides of a place, with those of ignored users.

    `is_start`, `is_end`: no message is kept before them, or after them. `is_read`: no kept message is missing
    between them. `is_whole`: none of those that were asked for is missing either.
    """

    before: list[Message]
    after: list[Message]
    is_start: bool
    is_end: bool
    is_read: bool
    is_whole: bool


class Window:
    """The window of messages near the screen.

    `start` runs a job in the background. `on_change` is called when more messages can be drawn.
    """

    def __init__(
        self,
        lane: HistoryLane,
        quiet: Quiet,
        start: Callable[[Coroutine[Any, Any, None]], object],
        on_change: Callable[[], None],
    ):
        self._lane = lane
        self._quiet = quiet
        self._start = start
        self._on_change = on_change
        self._is_reading = False
        self._moves = 0  # a read that began before the latest move is discarded
        self.put(HOME, [])

    def put(self, conv: str, messages: list[Message], is_start: bool = True, is_end: bool = True) -> None:
        """Replace the messages near the screen by `messages`, as they were read."""
        self._conv, self._messages = conv, messages
        self._is_start, self._is_end, self._is_read = is_start, is_end, True
        self._room = max(_MOST, len(messages) + _MOST // 2)

    def clear(self) -> None:
        """Drop the messages, and read them again when they are drawn."""
        self._go(self._conv)

    @property
    def has_end(self) -> bool:
        return self._is_read and self._is_end

    def near(self, conv: str, seq: int, size: int) -> Near:
        """Return at most `size` messages up to `seq`, and as many after it.

        Messages of ignored users are included, and do not count. Missing messages are read in the background.
        """
        if conv != self._conv or not self._covers(seq):
            self._go(conv)
        end = len(self._messages)
        at = bisect_right(self._messages, seq, key=_seq)
        low, high = self._nth(range(at - 1, -1, -1), size), self._nth(range(at, end), size)
        is_start = self._is_start and not low
        is_end = self._is_end and (high is None or high == end - 1)
        before = self._messages[low or 0 : at]
        after = self._messages[at : end if high is None else high + 1]
        is_whole = (is_start or low is not None) and (is_end or high is not None)
        if not is_whole and not self._is_reading:
            self._is_reading = True
            self._start(self._read(conv, seq, size))
        return Near(before, after, is_start, is_end, self._is_read, is_whole)

    def add(self, messages: Iterable[Message]) -> None:
        """Add messages that have just come. Old ones are dropped if there is no room."""
        for message in messages:
            if message.conv == self._conv:
                self._insert(message)
        if len(self._messages) > self._room and self._is_end:
            if low := self._nth(range(len(self._messages) - 1, -1, -1), _MOST // 2):
                del self._messages[:low]
                self._is_start = False
            self._room = len(self._messages) + _MOST // 2

    async def load(self, conv: str, seq: int, size: int = 0) -> None:
        """Read the kept messages around `seq`, which replace those in memory."""
        reach = max(_REACH, size)
        if conv != self._conv:
            self._go(conv)

        moves = self._moves

        def read(history: History) -> tuple[tuple[list[Message], bool], tuple[list[Message], bool]]:
            return self._before(history, conv, seq + 1, reach), self._after(history, conv, seq, reach)

        (before, is_start), (after, is_end) = await self._lane.read(read)
        if moves == self._moves:  # else the user has gone elsewhere, or the messages were forgotten
            self.put(conv, before + after, is_start, is_end)
            self.add(self._lane.unwritten(conv))

    async def _read(self, conv: str, seq: int, size: int) -> None:
        try:
            await self.load(conv, seq, size)
        finally:
            self._is_reading = False
        self._on_change()

    def _go(self, conv: str) -> None:
        """Go to a conversation. Until it is read, it has only the messages that are not written yet."""
        self._moves += 1
        self.put(conv, self._lane.unwritten(conv))
        if conv != HOME:
            self._is_start = self._is_end = self._is_read = False

    def _nth(self, places: Iterable[int], size: int) -> int | None:
        """Return the place of the `size`th of these messages that is not hidden, None if there are fewer."""
        shown = (at for at in places if not self._quiet.hides(self._messages[at]))
        return next(islice(shown, size - 1, None), None)

    def _before(self, history: History, conv: str, seq: int, size: int) -> tuple[list[Message], bool]:
        """Return messages below `seq`, and whether the first of all is among them.

        At least `size` of them are not hidden, unless there are fewer.
        """
        found: list[Message] = []
        while True:
            page = history.before(conv, found[0].seq if found else seq, size)
            found = page + found
            if len(page) < size or self._shown(found) >= size:
                return found, len(page) < size

    def _after(self, history: History, conv: str, seq: int, size: int) -> tuple[list[Message], bool]:
        """Return messages above `seq`, as `_before`, and whether the last of all is among them."""
        found: list[Message] = []
        while True:
            page = history.after(conv, found[-1].seq if found else seq, size)
            found += page
            if len(page) < size or self._shown(found) >= size:
                return found, len(page) < size

    def _shown(self, messages: list[Message]) -> int:
        return sum(not self._quiet.hides(message) for message in messages)

    def _covers(self, seq: int) -> bool:
        if not self._is_read or not self._messages:
            return True
        return (self._is_start or seq >= self._messages[0].seq) and (
            self._is_end or seq <= self._messages[-1].seq
        )

    def _insert(self, message: Message) -> None:
        """Insert a message in its place, unless messages may be missing between it and the others."""
        at = bisect_left(self._messages, message.seq, key=_seq)
        is_outside = (at == 0 and not self._is_start) or (at == len(self._messages) and not self._is_end)
        is_here = at < len(self._messages) and self._messages[at].seq == message.seq
        if not is_here and not (is_outside and self._is_read):
            self._messages.insert(at, message)


def _seq(message: Message) -> int:
    return message.seq
