"""A worker process: one event loop with its listeners, its peers and its service, and how it stops."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable

from forkchat import log
from forkchat.bus import Bus
from forkchat.config import Config
from forkchat.jobs import each
from forkchat.net.connection import Connection
from forkchat.net.lane import ThreadLane
from forkchat.net.listener import Listener
from forkchat.net.loop import EventLoop
from forkchat.net.wheel import Wheel
from forkchat.process.admission import Admission
from forkchat.process.dispatch import Dispatcher
from forkchat.process.handover import Handover
from forkchat.process.inbox import Turns
from forkchat.process.peer import Peer, Shared
from forkchat.process.scoreboard import Scoreboard
from forkchat.process.signals import SignalQueue
from forkchat.runtime import Future, spawn
from forkchat.service.service import Service
from forkchat.store import Store
from forkchat.wire import names
from forkchat.wire.classic import dialects

#: Seconds between beats; between checks whether all is drained; that a fast stop may take at most.
_BEAT, _DRAIN_LOOK, _FAST_STOP = 0.5, 0.02, 2.0
#: Connections over the mean, and part of the mean. Above the larger one, a worker lets the others accept.
_SLACK, _SLACK_PART = 2, 0.02
#: Descriptors that clients never get. MySQL and Redis must be reachable again when all others are used.
_OWN_FILES = 64
#: Parameters of mallopt (<malloc.h>).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Seconds within which the clients of a draining worker reconnect, spread at random.
_COME_BACK = 3.0


def prepare() -> None:
    """Load early what is otherwise loaded on first use.

    The user that the worker becomes may not be able to read it.
    """
    names.skeletons("prepared")


def main(
    config: Config,
    listeners: list[socket.socket],
    board: Scoreboard,
    slot: int,
    lease: str,
    handover: Handover,
) -> int:
    """Run the worker of `slot` until a signal stops it. Return its exit status."""
    threading.excepthook = _die_with_a_thread
    return Worker(config, listeners, board, slot, lease, handover).run()


def _die_with_a_thread(args: threading.ExceptHookArgs) -> None:
    """End the worker if one of its threads dies, because it would serve only in part.

    The master then starts another worker.
    """
    error = args.exc_value or args.exc_type()
    log.exception("worker.thread_died", error, thread=args.thread and args.thread.name)
    os._exit(1)


def _tune() -> None:
    """Tune garbage collection, thread switching and malloc.

    Objects that exist now are never collected. What a message leaves is freed by its reference counts, so
    reference cycles are searched for rarely. A search after every 700 objects took an eighth of the
    processor.

    A batch is several round trips to MySQL. The writer must not wait 5 ms for the interpreter after each.

    Memory that a batch used is kept for the next one. By default, malloc returned all blocks over 128 KiB to
    the kernel, which took a tenth of the processor.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(0.001)
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_TRIM_THRESHOLD, 16 << 20)
    libc.mallopt(_M_MMAP_THRESHOLD, 4 << 20)


class Worker:
    def __init__(
        self,
        config: Config,
        listeners: list[socket.socket],
        board: Scoreboard,
        slot: int,
        lease: str,
        handover: Handover,
    ):
        self._config = config
        self._handover = handover
        self._board = board
        self._slot = slot
        self._sockets = listeners
        self._listeners: list[Listener] = []
        self._peers: set[Peer] = set()
        self._admission = Admission(config)
        self._is_stopping = False
        self._status = 0
        self._loop = loop = EventLoop()
        self._signals = SignalQueue()
        self._store = Store(loop, self._lane, config.mysql.url, config.mysql.readers, config.limits.pending)
        self._bus = Bus(loop, self._lane("redis"), config.redis.url, lease)
        self._service = Service(loop, config, self._store, self._bus, self._lane("hashing"))
        self._turns = Turns(loop)
        self._shared = Shared(
            self._service,
            dialects(**vars(config.classic)),
            Dispatcher(self._service).handle,
            self._turns,
            self._admission,
            self._closed,
        )
        self._wheel = Wheel(loop, self._look_at)
        log.info("worker.start", lease=lease)

    def run(self) -> int:
        """Serve until a signal stops the worker, or its start fails. Return the exit status."""
        _tune()
        self._loop.register(self._signals.fileno(), select.EPOLLIN, self._on_signals)
        self._beat()
        spawn(self._service.start()).add_done_callback(self._started)
        self._loop.run()
        self._store.close()
        self._bus.close()
        log.info("worker.stop")
        return self._status

    def _lane(self, name: str) -> ThreadLane:
        return ThreadLane(self._loop, name)

    def _beat(self) -> None:
        self._loop.call_later(_BEAT, self._beat)
        self._board.beat(self._slot, len(self._peers))
        self._admission.report()

    # Peers.

    def _started(self, start: Future[None]) -> None:
        """Accept connections, or stop the worker if the start failed.

        The start itself retries only while a dependency is away.
        """
        error = start.exception()
        if error is not None:
            log.exception("worker.start_failed", error)
            self._status = 1
            self._loop.post(self._loop.stop)  # posted because the loop may not run yet
        elif not self._is_stopping:
            self._listeners = [
                Listener(self._loop, s, self._has_room, self._may_accept, self._accept) for s in self._sockets
            ]
            self._board.set_ready(self._slot)
            log.info("worker.ready")

    def _has_room(self) -> bool:
        """Return True if a descriptor is left for a client, or if a stranger can be evicted."""
        return self._room() > 0 or self._admission.has_strangers

    def _room(self) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OWN_FILES - len(self._peers)

    def _may_accept(self) -> bool:
        mean = self._board.mean()
        return len(self._peers) <= mean + max(_SLACK, mean * _SLACK_PART)

    def _accept(self, sock: socket.socket, host: str, port: int) -> None:
        admission, limits = self._admission, self._service.context.config.limits
        is_proxied = admission.is_proxy(host)
        if not is_proxied and not admission.enter(host):
            if self._admission.is_logged():
                log.info("peer.turned_away", peer=host, why="too many connections from this address")
            sock.close()
            return
        connection = Connection(self._loop, sock, limits.output)
        if self._room() <= 0:
            self._admission.make_room()
        peer = Peer(connection, (host, port), is_proxied, self._shared)
        self._peers.add(peer)
        self._admission.stranger(peer)
        self._wheel.add(peer, min(limits.login_time, self._service.context.config.session.heartbeat / 2))
        self._board.beat(self._slot, len(self._peers))
        log.debug("peer.connected", peer=peer.address)

    def _closed(self, peer: Peer, reason: str) -> None:
        self._peers.discard(peer)
        self._admission.leave(peer)
        self._board.beat(self._slot, len(self._peers))
        log.debug("peer.closed", peer=peer.address, reason=reason)

    def _look_at(self, peer: Peer) -> float | None:
        config = self._service.context.config
        return peer.check_idle(config.limits.login_time, config.session)

    # Signals.

    def _on_signals(self, _events: int) -> None:
        for signum in self._signals.drain():
            handler = self._handlers().get(signum)
            if handler is not None:
                handler()

    def _handlers(self) -> dict[signal.Signals, Callable[[], object]]:
        return {
            signal.SIGTERM: self._drain,
            signal.SIGINT: self._stop_fast,
            signal.SIGQUIT: self._stop_fast,
            signal.SIGHUP: self._reload,
            signal.SIGUSR1: log.reopen,
        }

    def _reload(self) -> None:
        config = self._handover.read()
        if config is None:
            return
        self._config = self._service.context.config = config
        self._admission.configure(self._config)
        log.set_level(self._config.server.log_level)
        log.info("worker.reloaded")

    # Stopping.

    def _drain(self) -> None:
        """Stop accepting and reading, then leave.

        Requests that have arrived are stored and acknowledged before. Then the clients get BYE.
        """
        if not self._is_stopping:
            self._stop_accepting()
            each(list(self._peers), Peer.stop_reading, "worker.drain")
            self._say_bye(self._loop.time() + self._config.server.drain_time)

    def _say_bye(self, deadline: float) -> None:
        if (self._turns or self._store.writer.unfinished) and self._loop.time() < deadline:
            self._loop.call_later(_DRAIN_LOOK, self._say_bye, deadline)
            return
        each(list(self._peers), lambda p: p.bye("draining", random.uniform(0, _COME_BACK)), "worker.bye")
        log.info("worker.leave", peers=len(self._peers))
        self._leave(deadline)

    def _stop_fast(self) -> None:
        self._stop_accepting()
        each(list(self._peers), lambda peer: peer.close("stopping"), "worker.close")
        self._leave(self._loop.time() + _FAST_STOP)

    def _stop_accepting(self) -> None:
        self._is_stopping = True
        self._board.set_ready(self._slot, False)
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _leave(self, deadline: float) -> None:
        """Leave once all connections are closed and all sessions are over, or at `deadline`.

        Without Redis, sessions that still end are not waited for, because our lease there ends by itself.
        """
        is_over = self._loop.time() >= deadline
        if not is_over and (self._peers or (self._service.gate.ending and self._bus.is_up)):
            self._loop.call_later(_DRAIN_LOOK, self._leave, deadline)
            return
        if is_over:
            log.warning("worker.undrained", peers=len(self._peers), sessions=self._service.gate.ending)
        spawn(self._bus.lease.end()).add_done_callback(self._left)
        self._loop.call_later(_FAST_STOP, self._loop.stop)

    def _left(self, done: Future[None]) -> None:
        if done.exception() is not None:
            log.warning("lease.unreleased", why=done.exception())
        self._loop.stop()
