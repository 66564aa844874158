"""The RECV and READ cursors that the client sends, batched for a moment."""

from __future__ import annotations

from typing import Any

from client.protocol.events import Standing
from forkchat.wire import msgid as m

#: Seconds: long enough to batch a burst, short enough that little is repeated after a crash.
GATHER_TIME = 0.25
#: Seconds that the refusal of a RECV may be on its way.
_REFUSAL_TIME = 10.0
#: Conversations in one RECV, to stay far below the server's frame limit.
_MAX_CURSORS = 1000


class Cursors:
    """The last confirmed (`recv`) and the last read message of each conversation.

    A cursor is "untold" until it is sent. `_held` maps a conversation to a number from which on the user has
    its messages. Earlier ones may be missing. No RECV is sent for such a conversation, because a RECV
    confirms everything before its number.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._recv: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._untold_recv: set[str] = set()
        self._untold_read: set[str] = set()
        self._told_recv: set[str] = set()  # sent by the latest flushes
        self._flushed_at = 0.0
        self.deadline: float | None = None

    def hold(self, conv: str, first: int) -> None:
        """Send no RECV of the conversation until the server says that all before `first` is confirmed."""
        self._held[conv] = first

    def confirm(self, conv: str, seq: int, now: float) -> None:
        if seq > self._recv.get(conv, 0):
            self._recv[conv] = seq
            self._tell_recv(conv, now)

    def read(self, conv: str, seq: int, now: float) -> None:
        if seq > self._read.get(conv, 0):
            self._read[conv] = seq
            self._untold_read.add(conv)
            self._plan(now)

    def stand(self, standing: Standing, now: float) -> None:
        """Compare with the server's cursors, and resend those that were lost with a connection."""
        conv = standing.conv
        if self._held.get(conv, 0) <= max(standing.recv + 1, standing.first):
            self._held.pop(conv, None)
        if self._recv.get(conv, 0) > standing.recv:
            self._tell_recv(conv, now)
        if self._read.get(conv, 0) > standing.read:
            self._untold_read.add(conv)
            self._plan(now)

    def flush(self, now: float) -> list[tuple[int, dict[str, Any]]]:
        """Return the msgid and the fields of each frame that sends the untold cursors."""
        if now - self._flushed_at > _REFUSAL_TIME:
            self._told_recv.clear()
        self._flushed_at = now
        self._told_recv |= self._untold_recv
        convs = sorted(self._untold_recv)
        frames: list[tuple[int, dict[str, Any]]] = [
            (m.RECV, {"c": {conv: self._recv[conv] for conv in convs[at : at + _MAX_CURSORS]}})
            for at in range(0, len(convs), _MAX_CURSORS)
        ]
        frames += [(m.READ, {"conv": conv, "seq": self._read[conv]}) for conv in sorted(self._untold_read)]
        self._untold_recv.clear()
        self._untold_read.clear()
        self.deadline = None
        return frames

    def recv_refused(self, at: float) -> None:
        """Resend all recent RECV cursors at `at`, because a refusal does not say which RECV it means."""
        self._untold_recv |= self._told_recv
        self.deadline = at

    def read_refused(self, conv: str, at: float) -> None:
        if conv in self._read:
            self._untold_read.add(conv)
            self.deadline = at

    def forget(self, conv: str) -> None:
        self._held.pop(conv, None)
        self._recv.pop(conv, None)
        self._read.pop(conv, None)
        self._untold_recv.discard(conv)
        self._told_recv.discard(conv)
        self._untold_read.discard(conv)

    def _tell_recv(self, conv: str, now: float) -> None:
        if conv not in self._held:
            self._untold_recv.add(conv)
            self._plan(now)

    def _plan(self, now: float) -> None:
        if self.deadline is None:
            self.deadline = now + GATHER_TIME
