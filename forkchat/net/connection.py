"""The socket of one peer on the event loop: bounded reads, and writes batched at the end of a turn."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from forkchat.net.output import Output, PacedOutput, StreamOutput, unacknowledged
from forkchat.runtime import STAGE_PEERS, Loop

_READ_SIZE = 65536
#: Seconds until a paced peer's kernel buffer is checked again for room, because epoll cannot tell.
_PACE = 0.02
#: Milliseconds until the kernel ends a dead connection (design: dead peers). They count from the last sign of
#: life, or from when unacknowledged data was sent.
_USER_TIMEOUT_MS = 30_000
#: Seconds of silence before the first keepalive probe, and between probes. Three probes come before the user
#: timeout, because otherwise one lost probe would end the connection.
_KEEPALIVE = (15, 5)
#: Seconds that a peer has to read our last output, and then to close.
_LAST_WORDS, _LINGER = 30.0, 1.0
#: Seconds to close for a peer that has sent too much. It is not read meanwhile, so that it costs little.
_SHORT_LINGER = 0.2
#: Bytes that a peer may still send before it closes. They are read and discarded.
_DISCARDED = 16 << 20
#: Reasons why a peer is not read: its output is full, its owner paused it, or reading ended for good.
_FULL, _ENOUGH, _DEAF = 1, 2, 4
#: Set together with `_DEAF`: input after our last output is not even read to be discarded.
_RUDE = 8
#: A peer whose output keeps growing while it is not read is closed at `_MOST` times the limit. This bound is
#: at least `_LARGE` bytes, because one answer may be large.
_MOST, _LARGE = 4, 4 << 20


class Connection:
    """Owner of a connected socket.

    `on_data(bytes)` gets the bytes of each read. `on_closed(reason)` is called once, for every kind of end.

    `is_over` means that the peer reads too slowly: the kernel took what it could, and more than `limit` bytes
    remained. It is set at the end of a turn. `on_drained()` is called each time the output has emptied after
    that.

    `is_full` is set at the same moment. It lasts until half of `limit` remains; then `on_room()` is called.
    The peer is not read meanwhile, so that it takes its answers before it asks for more.
    """

    __slots__ = (
        "_closing",
        "_delivered",
        "_events",
        "_holds",
        "_is_flushing",
        "_limit",
        "_loop",
        "_on_closed",
        "_on_data",
        "_on_drained",
        "_on_room",
        "_output",
        "_share",
        "_sock",
        "is_closed",
        "is_full",
        "is_over",
    )

    def __init__(self, loop: Loop, sock: socket.socket, limit: int):
        self._loop = loop
        self._sock = sock
        self._limit = limit
        self._share = _READ_SIZE
        self._output: Output = StreamOutput()
        self._events = select.EPOLLIN
        self._is_flushing = False
        self._holds = 0
        self.is_full = False
        self.is_over = False
        self._closing = ""
        self._delivered = 0
        self.is_closed = False
        _set_options(sock)

    def start(
        self,
        on_data: Callable[[bytes], object],
        on_closed: Callable[[str], object],
        on_drained: Callable[[], object],
        on_room: Callable[[], object],
    ) -> None:
        self._on_data = on_data
        self._on_closed = on_closed
        self._on_drained = on_drained
        self._on_room = on_room
        self._loop.register(self._sock.fileno(), self._events, self._on_events, is_peer=True)

    def pace(self) -> None:
        """Send frame by frame from now on. MUST be called before the first `write`."""
        self._output = PacedOutput()

    def allow(self, limit: int, share: int = _READ_SIZE) -> None:
        """Let up to `limit` unsent bytes wait, and read `share` bytes at once, from now on."""
        self._limit = limit
        self._share = share
        if self.unsent <= limit:
            self.is_over = False
        if self.is_full and self.unsent <= limit // 2:
            self._have_room()

    def stop_probing(self) -> None:
        """Turn off TCP keepalive, because a higher layer sends heartbeats to the peer itself."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)

    @property
    def is_closing(self) -> bool:
        """True if the connection is closed, or accepts no output and closes once its backlog is sent."""
        return self.is_closed or bool(self._closing)

    @property
    def unsent(self) -> int:
        """Bytes written but not yet handed to the kernel."""
        return self._output.queued - self._output.handed

    @property
    def queued(self) -> int:
        """Bytes written since the start: a mark to compare with `delivered`."""
        return self._output.queued

    def delivered(self) -> int:
        """Return the bytes that the peer's kernel has acknowledged since the start.

        After the close, the number remains that of the close.
        """
        if not self.is_closed:
            self._delivered = self._output.handed - unacknowledged(self._sock)
        return self._delivered

    def write(self, frame: bytes) -> None:
        """Queue a frame, to be sent at the end of this turn. A closing connection drops it."""
        if self._closing or self.is_closed:
            return
        self._output.put(frame)
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.at_turn_end(STAGE_PEERS, self._flush)

    def pause(self) -> None:
        """Stop reading until `resume`, as back-pressure on the peer."""
        self._hold(_ENOUGH)

    def resume(self) -> None:
        """Read again, unless the output is full or `stop_reading` was called."""
        if self._holds & _ENOUGH:
            self._let_go(_ENOUGH)

    def stop_reading(self) -> None:
        """Stop reading for good: `resume` does not undo this."""
        self._hold(_DEAF)

    def _hold(self, why: int) -> None:
        self._holds |= why
        self._set_events(self._events & ~select.EPOLLIN)

    def _let_go(self, why: int) -> None:
        self._holds &= ~why
        if not self._holds:
            self._set_events(self._events | select.EPOLLIN)

    def close(self, reason: str) -> None:
        """Close now, and drop unsent output."""
        if self.is_closed:
            return
        self.delivered()
        self.is_closed = True
        self._loop.unregister(self._sock.fileno())
        self._sock.close()
        self._on_closed(reason)

    def close_when_sent(self, reason: str, is_patient: bool = True) -> None:
        """Stop reading, send the backlog, then close.

        If `is_patient` is false, the close does not wait for input that is still in transit.
        """
        if self.is_closing:
            return
        if not is_patient:
            self._holds |= _RUDE
        self._closing = reason
        self.stop_reading()
        if self.unsent:
            self._loop.call_later(_LAST_WORDS, self.close, reason)
        else:
            self._linger()

    def _linger(self) -> None:
        """Shut down the sending side, and let the peer close first.

        A close with unread input, here or in transit, resets the connection. The peer would then lose what it
        has not read yet.
        """
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(self._closing)
            return
        if self._holds & _RUDE:
            self._loop.call_later(_SHORT_LINGER, self.close, self._closing)
            return
        self._limit = _DISCARDED
        self._on_data = self._discard
        self._set_events(select.EPOLLIN)
        self._loop.call_later(_LINGER, self.close, self._closing)

    def _discard(self, data: bytes) -> None:
        """Discard input that arrives after our last output, and close if it exceeds the bound."""
        self._limit -= len(data)
        if self._limit < 0:
            self.close(self._closing)

    def _on_events(self, events: int) -> None:
        try:
            if events & select.EPOLLIN:
                self._read()
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self.close("lost")
            if events & select.EPOLLOUT and not self.is_closed:
                self._flush()
        except Exception:
            self.close("error")
            raise

    def _read(self) -> None:
        try:
            data = self._sock.recv(self._share)
        except BlockingIOError:
            return
        except OSError:
            self.close(self._closing or "lost")
            return
        if data:
            self._on_data(data)
        else:
            self.close(self._closing or "eof")

    def _flush(self) -> None:
        """Write to the socket first. Ask epoll for writability only if the kernel did not take everything."""
        self._is_flushing = False
        output = self._output
        if self.is_closed or output.handed == output.queued:
            return
        try:
            is_blocked = output.flush(self._sock)
        except OSError:
            self.close("lost")
            return
        if (self.is_full or output.queued - output.handed > self._limit) and not self._measure():
            return
        if is_blocked:
            self._set_events(self._events | select.EPOLLOUT)
            return
        if self._events & select.EPOLLOUT:
            self._set_events(self._events & ~select.EPOLLOUT)
        if output.handed == output.queued:
            if self._closing or self.is_over:
                self._drained()
        elif not self._is_flushing:
            self._is_flushing = True
            self._loop.call_later(_PACE, self._flush)

    def _measure(self) -> bool:
        """Stop or resume reading, by the unsent bytes. Return False if the peer was closed as slow."""
        unsent = self.unsent
        if unsent > self._limit:
            if self.is_full and unsent > max(_MOST * self._limit, _LARGE) and not self._closing:
                self.close("slow")
                return False
            self.is_full = self.is_over = True
            self._hold(_FULL)
        elif self.is_full and unsent <= self._limit // 2:
            self._have_room()
        return True

    def _have_room(self) -> None:
        self.is_full = False
        self._let_go(_FULL)
        self._on_room()

    def _drained(self) -> None:
        if self._closing:
            self._linger()
        else:
            self.is_over = False
            self._on_drained()

    def _set_events(self, events: int) -> None:
        if events != self._events and not self.is_closed:
            self._events = events
            self._loop.modify(self._sock.fileno(), events)


def _set_options(sock: socket.socket) -> None:
    sock.setblocking(False)
    if sock.family == socket.AF_UNIX:
        return
    first, between = _KEEPALIVE
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, first)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
