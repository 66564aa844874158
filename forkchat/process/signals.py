"""Signals as a queue that an event loop can wait for. The handlers only queue."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: Signals that the master and its workers obey. Only the master uses CHLD.
HANDLED = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD),
)


class SignalQueue:
    """A queue of `signals` for this process. Its creation unblocks them.

    A process has one queue. `fileno` is readable while something is queued.
    """

    def __init__(self, signals: Iterable[signal.Signals] = HANDLED):
        self._receiver, sender = socket.socketpair()
        self._receiver.setblocking(False)
        sender.setblocking(False)
        self._sender = sender
        # The interpreter's own C handler writes the signal's number there. The Python handler runs later and
        # has nothing left to do.
        signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        for signum in signals:
            signal.signal(signum, _do_nothing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def fileno(self) -> int:
        return self._receiver.fileno()

    def drain(self) -> list[signal.Signals]:
        """Return the signals that came since the last call, in order."""
        try:
            return [signal.Signals(number) for number in self._receiver.recv(4096)]
        except BlockingIOError:
            return []

    def put_back(self, signals: Iterable[signal.Signals]) -> None:
        """Queue signals again that `drain` has returned."""
        self._sender.send(bytes(signals))

    def close(self) -> None:
        """Close the descriptors. A forked child does this before it makes a queue of its own."""
        signal.set_wakeup_fd(-1)
        self._receiver.close()
        self._sender.close()


def set_defaults() -> None:
    """Restore the signals' default actions, and unblock them.

    A forked child that needs no queue calls this, so that signals end it.
    """
    for signum in HANDLED:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _do_nothing(_signum: int, _frame: object) -> None:
    pass


@contextmanager
def blocked() -> Iterator[None]:
    """Block signals around a fork, because the child would queue them in its parent's queue.

    The parent gets them afterwards. The child gets its own once it makes a SignalQueue or calls
    `set_defaults`, inside the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
