"""The input of one peer: a bounded share in each turn, in the order of arrival."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from forkchat import log
from forkchat.net.connection import Connection
from forkchat.runtime import Loop

if TYPE_CHECKING:
    from forkchat.process.peer import Peer

#: Frames handled in a turn: of a logged-in peer, and of a stranger, which has little to say.
_SHARE, _STRANGERS_SHARE = 64, 16
#: Bytes split into frames at a time. This also bounds their number, because a frame may have two bytes.
_SLICE = 4096
#: Bytes of one peer that are handled in a turn.
_BYTES = 65536
#: Seconds of a turn for input that earlier turns left over. Fresh input is served first. The time is short,
#: because a message takes six turns from its sender to its reader.
_BUDGET = 0.003


class Turns:
    """The peers with leftover input, served in a circle. True while there are any."""

    def __init__(self, loop: Loop):
        self._loop = loop
        self._queue: deque[Inbox] = deque()
        self._is_due = False

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, inbox: Inbox) -> None:
        self._queue.append(inbox)
        self._ask()

    def _ask(self) -> None:
        """Schedule `_serve` with a timer that is due at once.

        It runs after the next events, so that other peers' input is read in between.
        """
        if not self._is_due:
            self._is_due = True
            self._loop.call_later(0, self._serve)

    def _serve(self) -> None:
        self._is_due = False
        deadline = time.monotonic() + _BUDGET
        for _ in range(len(self._queue)):
            self._queue.popleft().go_on()
            if time.monotonic() > deadline:
                break
        if self._queue:
            self._ask()


class Inbox:
    """Splitter of a peer's input, which passes each frame to `handle(peer, frame)`.

    No frame is handled between `hold()` and `release()`, so that a "join, then send" has its effect in this
    order. None is handled while the peer's output is full either. `Peer.split` may call `hold` for the frames
    that it returns.

    Waiting frames are handled before later ones. Their number is bounded, because the peer is not read while
    more than a slice waits.
    """

    __slots__ = ("_connection", "_handle", "_is_queued", "_peer", "_rest", "_turns", "_waiting", "is_held")

    def __init__(
        self, peer: Peer, connection: Connection, turns: Turns, handle: Callable[[Peer, bytes], object]
    ):
        self._peer = peer
        self._connection = connection
        self._turns = turns
        self._handle = handle
        self._waiting: deque[bytes] | None = None  # frames; made on demand, because most never wait
        self._rest = b""  # bytes that are not split yet
        self._is_queued = False
        self.is_held = False

    def feed(self, data: bytes) -> None:
        if len(data) > _SLICE or self.is_held or self._is_queued or self._waiting or self._rest:
            self._rest += data
        elif (len(frames := self._peer.split(data)) > 1 and len(frames) > self._share) or self.is_held:
            self._waiting = deque(frames)
        else:
            last = len(frames) - 1
            for at, frame in enumerate(frames):
                self._handle(self._peer, frame)
                if at < last and (self.is_held or self._connection.is_closing):
                    self._waiting = deque(frames[at + 1 :])
                    return
            return
        if self._is_queued or self.is_held:
            self._mind()
        else:
            self._work()

    @property
    def _share(self) -> int:
        return _SHARE if self._peer.session else _STRANGERS_SHARE

    def hold(self) -> None:
        """Stop handling frames, because the present frame takes time or the next frame must wait."""
        self.is_held = True

    def release(self) -> None:
        self.is_held = False
        self.wake()

    def wake(self) -> None:
        """Schedule the waiting input for another turn."""
        if (self._waiting or self._rest) and not self._is_queued and not self.is_held:
            self._is_queued = True
            self._turns.add(self)

    def clear(self) -> None:
        self._waiting = None
        self._rest = b""

    def go_on(self) -> None:
        """Handle a share of the waiting input. `Turns` calls this in the peer's turn."""
        self._is_queued = False
        try:
            self._work()
        except Exception as error:
            log.exception("peer.error", error, peer=self._peer.address)
            self._connection.close("error")

    def _work(self) -> None:
        """Handle a share of the waiting input."""
        frames, size = self._share, _BYTES
        while frames and size > 0 and not self._must_stop():
            if self._waiting:
                self._handle(self._peer, self._waiting.popleft())
                frames -= 1
            elif self._rest:
                data, self._rest = self._rest[:_SLICE], self._rest[_SLICE:]
                size -= len(data)
                self._waiting = deque(self._peer.split(data))
            else:
                break
        self._mind()
        if not self._must_stop():
            self.wake()

    def _must_stop(self) -> bool:
        return self.is_held or self._connection.is_full or self._connection.is_closing

    def _mind(self) -> None:
        """Pause or resume reading, so that the peer is read only while little input waits."""
        if not self._waiting:
            self._waiting = None
            if not self._rest:
                self._connection.resume()
                return
        if len(self._rest) > _SLICE or len(self._waiting or ()) > _SHARE:
            self._connection.pause()
