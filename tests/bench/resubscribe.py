"""Benchmark of a worker that loses many thousands of subscriptions.

It measures the time until all are back, and the longest turn of the event loop meanwhile.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import redis

from forkchat.bus import Bus
from forkchat.net.lane import ThreadLane
from forkchat.net.loop import EventLoop
from forkchat.runtime import gather, spawn
from tests.bench import history
from tests.server import until

_CHANNELS = 100_000
#: Seconds between the ticks that measure how long a turn takes.
_TICK = 0.001


class Comeback(NamedTuple):
    seconds: float
    longest_turn: float


def run() -> None:
    found = resubscribe(_CHANNELS)
    history.note(
        "resubscribe",
        {
            "channels": _CHANNELS,
            "seconds until all are back": found.seconds,
            "ms of the longest turn": found.longest_turn * 1000,
        },
    )


def resubscribe(channels: int) -> Comeback:
    """Subscribe to `channels` channels of a private Redis, cut that connection, and time the recovery."""
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory, "redis.sock")
        command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=directory) as server:
            try:
                until(socket.exists, "Redis listens")
                return _Worker(f"unix://{socket}").measure(channels)
            finally:
                server.terminate()


class _Worker:
    def __init__(self, url: str):
        self._url = url
        self._loop = EventLoop()
        self._bus = Bus(self._loop, ThreadLane(self._loop, "redis"), url, "host:boot:1:1")
        self._longest = 0.0
        self._ticked = time.monotonic()

    def measure(self, channels: int) -> Comeback:
        self._bus.router.on_resubscribed = self._loop.stop
        self._tick()
        spawn(self._bus.start()).add_done_callback(lambda _: self._loop.stop())
        self._loop.run()
        held = [self._bus.router.hold(f"u{n}") for n in range(channels)]
        spawn(gather(held)).add_done_callback(lambda _: self._loop.stop())
        self._loop.run()
        with redis.Redis.from_url(self._url) as other:
            other.client_kill_filter(_type="pubsub")
        self._longest, self._ticked, began = 0.0, time.monotonic(), time.monotonic()
        self._loop.run()
        took = time.monotonic() - began
        self._bus.close()
        return Comeback(took, self._longest)

    def _tick(self) -> None:
        now = time.monotonic()
        self._longest = max(self._longest, now - self._ticked - _TICK)
        self._ticked = now
        self._loop.call_later(_TICK, self._tick)
