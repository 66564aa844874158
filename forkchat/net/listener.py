"""Accepting connections: a few per wake-up, balanced between workers, and never with the last descriptors."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable

from forkchat import log
from forkchat.runtime import Loop, Timer

#: Connections accepted per turn, and seconds until `may_accept` is asked again. Measured: with these values,
#: 10,000 connections over 4 workers come out within 1.04 of each other.
_ACCEPTS_A_TURN = 8
_RECHECK = 0.01
#: Seconds for which accepting pauses when no descriptor is left for clients.
_REST = 1.0
#: Seconds between a worker's checks for a connection that no worker has accepted.
_LOOK = 0.25


class Listener:
    """Acceptor on a socket that other workers accept from too.

    `has_room()` tells whether descriptors are left for one more client. `may_accept()` tells whether this
    worker should take the next connection. While either is false, the socket is left to the other workers.

    A connection wakes only one worker. That worker may be killed or stopped before it accepts, or may stand
    back. So every worker checks regularly, and the first to do so accepts what still waits.

    The socket may begin to listen later. It is not registered before, because epoll would report a hang-up
    again and again.

    `on_accept(socket, host, port)` gets the connected socket and the peer's address. An IPv4 address has IPv4
    form even if the listener speaks IPv6.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        has_room: Callable[[], bool],
        may_accept: Callable[[], bool],
        on_accept: Callable[[socket.socket, str, int], object],
    ):
        self._loop = loop
        self._sock = sock
        self._has_room = has_room
        self._may_accept = may_accept
        self._on_accept = on_accept
        self._timer: Timer | None = None
        self._is_listening = False
        self._look_timer = loop.call_later(_LOOK, self._look)
        self._listen()

    def close(self) -> None:
        """Stop accepting. The listening socket stays open, because it is the master's."""
        self._ignore()
        if self._timer is not None:
            self._timer.cancel()
        self._look_timer.cancel()

    def _listen(self) -> None:
        if not self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self._rest(_RECHECK)
        elif not self._has_room():
            self._be_full()
        elif self._may_accept():
            self._is_listening = True
            self._loop.register(self._sock.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE, self._on_events)
        else:
            self._rest(_RECHECK)

    def _ignore(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self._loop.unregister(self._sock.fileno())

    def _rest(self, seconds: float) -> None:
        self._ignore()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._listen)

    def _look(self) -> None:
        self._look_timer = self._loop.call_later(_LOOK, self._look)
        if self._has_room():
            self._accept()

    def _on_events(self, _events: int) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if not self._has_room():
                self._be_full()
                return
            if not self._may_accept():
                self._rest(_RECHECK)
                return
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Accept a connection. Return False if none waits, or if no descriptor is left for it."""
        try:
            sock, address = self._sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._be_full()
                return False
            return True  # the peer gave up before it was accepted
        self._on_accept(sock, address[0].removeprefix("::ffff:"), address[1])
        return True

    def _be_full(self) -> None:
        """Stop accepting for a while, because no descriptor is left.

        New connections wait in the backlog until a client leaves or another worker accepts them.
        """
        log.warning("accept.no_descriptor", hint="raise the limit of open files (ulimit -n)")
        self._rest(_REST)
