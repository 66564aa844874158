"""Signals that end a script."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

#: Seconds to leave the server after a signal, before the process exits.
LEAVE_TIME = 4


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise SystemExit, so that the script leaves the server.

    The process ends at once if the same signal comes again, or if leaving takes too long. An ignored signal
    stays ignored, as under nohup.

    The event loop's handlers are not used, because a loop blocked by an unread standard output runs none.
    """
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for signum, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(signum, _end)
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _end(signum: int, _frame: object) -> NoReturn:
    signal.signal(signum, signal.SIG_DFL)
    # A task may never end if the exception hits it in the wrong place.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signum))
    signal.alarm(LEAVE_TIME)
    # Silence reports of interrupted tasks that were never awaited, because they are no news to the user.
    warnings.simplefilter("ignore")
    logging.disable()
    raise SystemExit(128 + signum)
