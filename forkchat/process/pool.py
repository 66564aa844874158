"""The pool of worker processes: it forks, watches, replaces and ends them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from forkchat import log
from forkchat.config import MAX_WORKERS
from forkchat.errors import StartError
from forkchat.process import signals
from forkchat.process.backoff import Backoff
from forkchat.process.parent import die_with, fork
from forkchat.process.scoreboard import Scoreboard

#: Deaths of a slot's workers in a row, none of which was ever ready, that count as a crash loop.
_CRASH_LOOP = 5
#: Seconds. After a longer gap in our own turns (Ctrl-Z), the workers had no chance to beat either.
_PAUSED = 3.0
_NEVER = float("inf")


@dataclass
class Worker:
    slot: int
    pid: int
    generation: int
    born: float
    kill_at: float = _NEVER  # time at which a worker that was told to end is killed


@dataclass
class Slot:
    """State of a slot that outlives its workers."""

    backoff: Backoff = field(default_factory=Backoff)
    stillborn: int = 0
    start_at: float = 0.0


class Pool:
    """The workers in the slots 1 to `size`.

    `work(slot, generation)` runs a worker in the child, and returns its exit status. Times are monotonic. A
    slot has one process at a time: a worker that drains must end before the next one starts.
    """

    def __init__(self, board: Scoreboard, size: int, work: Callable[[int, int], int]):
        self.size = size
        #: Set once the server has been ready. Then a slot's crash loop ends the server only if no other
        #: worker serves.
        self.must_serve = False
        self._board = board
        self._work = work
        self._workers: dict[int, Worker] = {}
        self._slots = {slot: Slot() for slot in range(1, MAX_WORKERS + 1)}
        self._looked_at = self._resumed_at = 0.0

    def is_empty(self) -> bool:
        return not self._workers

    def is_ready(self) -> bool:
        return all(self._board.read(slot).is_ready for slot in range(1, self.size + 1))

    def fill(self, now: float) -> float:
        """Fork missing workers that may start now. Return the time at which the next one may."""
        missing = [slot for slot in range(1, self.size + 1) if slot not in self._workers]
        for slot in missing:
            if self._slots[slot].start_at <= now:
                self._start(slot, now)
        return min(
            (self._slots[slot].start_at for slot in missing if slot not in self._workers), default=_NEVER
        )

    def grow(self) -> None:
        self.size = min(self.size + 1, MAX_WORKERS)

    def shrink(self, kill_at: float) -> None:
        """Drain the worker in the highest slot. The last worker stays."""
        if self.size > 1:
            worker = self._workers.get(self.size)
            self.size -= 1
            if worker:
                self._end(worker, signal.SIGTERM, kill_at)

    def send(self, signum: signal.Signals) -> None:
        for worker in self._workers.values():
            os.kill(worker.pid, signum)

    def end(self, signum: signal.Signals, kill_at: float) -> None:
        """Tell all workers to end, and kill those that still live at `kill_at`."""
        for worker in self._workers.values():
            self._end(worker, signum, kill_at)

    def kill_overdue(self, now: float, timeout: float) -> float:
        """Kill workers that were told to end and have not, or that are silent for `timeout` seconds.

        Return the time at which the next worker may be overdue.
        """
        if now - self._looked_at > _PAUSED:
            self._resumed_at = now
        self._looked_at = now
        due = _NEVER
        for worker in self._workers.values():
            heard = max(self._board.read(worker.slot).heartbeat, self._resumed_at)
            kill_at = min(worker.kill_at, heard + timeout)
            if kill_at <= now:
                why = "does not end" if worker.kill_at <= now else "no heartbeat"
                log.error("worker.kill", slot=worker.slot, pid=worker.pid, why=why)
                os.kill(worker.pid, signal.SIGKILL)
            else:
                due = min(due, kill_at)
        return due

    def reap(self, now: float) -> None:
        """Reap dead workers. Raises StartError if they die over and over as they start."""
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._bury(worker, os.waitstatus_to_exitcode(status), now)

    def _bury(self, worker: Worker, code: int, now: float) -> None:
        slot, lived = self._slots[worker.slot], now - worker.born
        was_ready = self._board.read(worker.slot).is_ready
        was_told = worker.kill_at != _NEVER
        del self._workers[worker.slot]
        self._board.release(worker.slot)
        status = code if code >= 0 else signal.Signals(-code).name
        write = log.info if was_told and code == 0 else log.error
        write("worker.exit", slot=worker.slot, pid=worker.pid, status=status, lived=lived)
        if was_told:
            return
        self._failed(slot, lived, was_ready, now)

    def _failed(self, slot: Slot, lived: float, was_ready: bool, now: float) -> None:
        slot.stillborn = 0 if was_ready else slot.stillborn + 1
        slot.start_at = now + slot.backoff.pause(lived)
        if slot.stillborn >= _CRASH_LOOP and not self._serves():
            raise StartError(f"the workers die as they start, {_CRASH_LOOP} times in a row; the log says why")

    def _serves(self) -> bool:
        return self.must_serve and any(self._board.read(slot).is_ready for slot in self._workers)

    def _end(self, worker: Worker, signum: signal.Signals, kill_at: float) -> None:
        worker.kill_at = min(worker.kill_at, kill_at)
        os.kill(worker.pid, signum)

    def _start(self, slot: int, now: float) -> None:
        try:
            self._fork(slot)
        except StartError as error:
            self._board.release(slot)
            log.error("worker.fork_failed", slot=slot, why=error)
            self._failed(self._slots[slot], 0.0, False, now)

    def _fork(self, slot: int) -> None:
        generation, parent = self._board.claim(slot), os.getpid()
        with signals.blocked():
            pid = fork()
            if pid == 0:
                self._live(slot, generation, parent)
        self._board.set_pid(slot, pid)
        self._workers[slot] = Worker(slot, pid, generation, time.monotonic())
        log.info("worker.fork", slot=slot, pid=pid, generation=generation)

    def _live(self, slot: int, generation: int, parent: int) -> NoReturn:
        """Run the worker in the child.

        Never return or raise, because nothing of the master's may be unwound in the child.
        """
        code = 1
        try:
            die_with(parent)
            code = self._work(slot, generation)
        except StartError as error:
            log.error("worker.cannot_start", slot=slot, why=error)
        except BaseException as error:
            log.exception("worker.crash", error, slot=slot)
        finally:
            os._exit(code)
