"""One worker's event loop: epoll, timers, calls from other threads, and an ordered end of turn."""

from __future__ import annotations

import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from forkchat import log
from forkchat.runtime import STAGE_PEERS

#: Peer events, and due timers, that are handled in one turn, so that its work stays bounded.
_MOST_A_TURN = 512

Handlers = dict[int, Callable[[int], object]]


class TimerHandle:
    """A pending timed call. `cancel` may be called any number of times."""

    __slots__ = ("args", "fn")

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...]):
        self.fn: Callable[..., object] | None = fn
        self.args = args

    def cancel(self) -> None:
        self.fn = None
        self.args = ()


class EventLoop:
    """A loop on level-triggered epoll. A turn runs events, due timers, posted calls, then the end stages.

    Peers have an epoll of their own, which is one entry of the main one. Epoll reports in the order of
    arrival. With a single epoll, a reply from Redis would have to wait for 15,000 clients that disconnect at
    once.

    An exception in a handler is logged and ends only that call. The owner of a handler MUST clean up in the
    handler itself. All methods except `post` belong to the loop's thread.
    """

    def __init__(self) -> None:
        self._epoll, self._peers_epoll = select.epoll(), select.epoll()
        self._handlers: Handlers = {}
        self._peers: Handlers = {}
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._order = count()
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_woken = False
        self._stages: list[list[Callable[[], object]]] = [[] for _ in range(STAGE_PEERS + 1)]
        self._now = time.monotonic()
        self._is_running = False
        self.register(self._wake_fd, select.EPOLLIN, self._on_wake)
        self.register(self._peers_epoll.fileno(), select.EPOLLIN, self._on_peers)

    def time(self) -> float:
        return self._now

    def register(self, fd: int, events: int, handler: Callable[[int], object], is_peer: bool = False) -> None:
        epoll, handlers = (self._peers_epoll, self._peers) if is_peer else (self._epoll, self._handlers)
        epoll.register(fd, events)
        handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        epoll = self._peers_epoll if fd in self._peers else self._epoll
        epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        if self._peers.pop(fd, None) is not None:
            self._peers_epoll.unregister(fd)
        else:
            del self._handlers[fd]
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> TimerHandle:
        timer = TimerHandle(fn, args)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        self._posted.append((fn, args))
        if not self._is_woken:
            self._is_woken = True
            os.eventfd_write(self._wake_fd, 1)

    def at_turn_end(self, stage: int, fn: Callable[[], object]) -> None:
        self._stages[stage].append(fn)

    def stop(self) -> None:
        """Make `run` return after this turn."""
        self._is_running = False

    def run(self) -> None:
        """Run turns until `stop` is called."""
        self._is_running = True
        while self._is_running:
            events = self._epoll.poll(self._timeout(), _MOST_A_TURN)
            self._now = time.monotonic()
            _handle(events, self._handlers)
            self._run_timers()
            for _ in range(len(self._posted)):
                self._call(*self._posted.popleft())
            self._end_turn()

    def close(self) -> None:
        self._peers_epoll.close()
        self._epoll.close()
        os.close(self._wake_fd)

    def _timeout(self) -> float:
        if self._posted:
            return 0
        while self._timers and self._timers[0][2].fn is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _run_timers(self) -> None:
        for _ in range(_MOST_A_TURN):
            if not self._timers or self._timers[0][0] > self._now:
                return
            timer = heapq.heappop(self._timers)[2]
            if timer.fn is not None:
                self._call(timer.fn, timer.args)

    def _end_turn(self) -> None:
        """Run the stages in order. Calls that they add to an earlier stage run before a later stage."""
        stages = self._stages
        stage = 0
        while stage < len(stages):
            if not stages[stage]:
                stage += 1
                continue
            calls, stages[stage] = stages[stage], []
            for call in calls:
                try:
                    call()
                except Exception as error:
                    _failed(call, error)
            stage = 0

    def _call(self, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            fn(*args)
        except Exception as error:
            _failed(fn, error)

    def _on_peers(self, _events: int) -> None:
        _handle(self._peers_epoll.poll(0, _MOST_A_TURN), self._peers)

    def _on_wake(self, _events: int) -> None:
        # Cleared before the posted calls run, so that a post that comes now wakes the next turn.
        os.eventfd_read(self._wake_fd)
        self._is_woken = False


def _handle(events: list[tuple[int, int]], handlers: Handlers) -> None:
    for fd, event in events:
        # An earlier handler of this turn may have closed the descriptor. Its number may even be in use again.
        # At worst, the new owner gets a spurious event.
        handler = handlers.get(fd)
        if handler is not None:
            try:
                handler(event)
            except Exception as error:
                _failed(handler, error)


def _failed(fn: Callable[..., object], error: Exception) -> None:
    log.exception("loop.error", error, call=getattr(fn, "__qualname__", fn))
