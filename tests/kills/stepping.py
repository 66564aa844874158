"""chatcli that ends itself: `python -m tests.kills.stepping FILE ARGUMENTS…`.

FILE has a number of steps and a signal, "7 TERM". The process reads it when USR1 comes. After that many more
steps of the event loop it sends itself the signal. A step is a callback, or the part of a coroutine between
two awaits.
"""

from __future__ import annotations

import os
import signal
import sys
from asyncio import events
from pathlib import Path
from types import FrameType

from client import main


class _Countdown:
    def __init__(self, file: Path):
        self._file = file
        self._left = 0
        self._ending = signal.SIGKILL

    def begin(self, signum: int, frame: FrameType | None) -> None:
        steps, ending = self._file.read_text().split()
        self._left, self._ending = int(steps), signal.Signals[f"SIG{ending}"]

    def step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), self._ending)


if __name__ == "__main__":
    countdown = _Countdown(Path(sys.argv.pop(1)))
    run = events.Handle._run

    def run_counted(handle: events.Handle) -> None:
        countdown.step()
        run(handle)

    events.Handle._run = run_counted  # type: ignore[method-assign, assignment]
    signal.signal(signal.SIGUSR1, countdown.begin)
    sys.exit(main.main())
