"""Signals as a queue that an event loop can wait for: a handler does nothing but queue."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: What the master and its workers obey; CHLD is the master's alone.
HANDLED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD),
)


class SignalQueue:
    """Queues `signals` for this process from now on, and unblocks them.

    One per process. `fileno` is readable while something is queued.
    """

    def __init__(self, signals: Iterable[signal.Signals] = HANDLED):
        self._receiver, sender = socket.socketpair()
        self._receiver.setblocking(False)
        sender.setblocking(False)
        self._sender = sender
        # The interpreter's own C handler writes the signal's number there; the Python handler, which
        # runs later, has nothing left to do.
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        for signum in signals:
            signal.signal(signum, _do_nothing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def drain(self) -> list[signal.Signals]:
        """What came since the last call, in order."""
        try:
            return [signal.Signals(number) for number in self._receiver.recv(4096)]
        except BlockingIOError:
            return []

    def put_back(self, signals: Iterable[signal.Signals]) -> None:
        """Queue again what `drain` gave."""
        self._sender.send(bytes(signals))

    def close(self) -> None:
        """Let go of the descriptors: in a forked child, before it makes a queue of its own."""
        signal.set_wakeup_fd(-1)
        self._receiver.close()
        self._sender.close()


def set_defaults() -> None:
    """In a forked child that needs no queue: die of signals, as any process does."""
    for signum in HANDLED:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _do_nothing(_signum: int, _frame: object) -> None:
    pass


@contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back around a fork: the child would queue them in its parent's queue.

    The parent gets them afterwards; the child gets its own once it makes a SignalQueue, or calls
    `set_defaults`, inside.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
