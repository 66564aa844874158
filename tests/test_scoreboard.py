"""The scoreboard, the signal queue and the backoff, which master and workers share."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from forkchat.process.backoff import Backoff
from forkchat.process.scoreboard import Scoreboard
from tests.server import ROOT


def test_what_a_worker_writes_the_master_and_others_see() -> None:
    board = Scoreboard(8)
    assert (board.claim(3), board.claim(3), board.claim(1)) == (1, 2, 1)
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        board.beat(3, 1000)
        board.set_ready(3)
        os._exit(0)
    os.waitpid(pid, 0)
    board.set_pid(3, pid)
    entry = board.read(3)
    assert (entry.pid, entry.generation, entry.is_ready, entry.connections) == (pid, 2, True, 1000)
    assert started <= entry.heartbeat <= time.monotonic()
    board.release(3)
    assert board.read(3)[:3] == (0, 2, False)


def test_the_mean_is_of_those_that_accept() -> None:
    board = Scoreboard(8)
    assert board.mean() == 0.0
    for slot, connections in [(1, 10), (2, 20), (3, 90)]:
        board.claim(slot)
        board.beat(slot, connections)
        board.set_ready(slot)
    assert board.mean() == 40.0
    board.set_ready(3, False)  # this worker drains
    assert board.mean() == 15.0
    board.release(2)
    assert board.mean() == 10.0


def test_signals_are_queued_also_those_that_came_before_the_queue() -> None:
    code = """
import os, select, signal
from forkchat.process.signals import SignalQueue, blocked
with blocked():
    if pid := os.fork():
        os.kill(pid, signal.SIGHUP)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        raise SystemExit
    while signal.SIGHUP not in signal.sigpending():
        pass
    queue = SignalQueue()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert select.select([queue], [], [], 5)[0]
    assert queue.drain() == [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1]
    assert queue.drain() == [] and not select.select([queue], [], [], 0)[0]
    os._exit(7)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout == "7\n", result.stderr


def test_quick_deaths_are_answered_ever_more_slowly() -> None:
    backoff = Backoff()
    assert [backoff.pause(0.5) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.pause(3.0) == 0.0
    assert backoff.pause(0.5) == 0.1
