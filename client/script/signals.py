"""How signals end a script."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

#: Seconds to leave the server in.
LEAVE_TIME = 4


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl+c, TERM and HUP raise SystemExit, so that the script leaves the server. It ends at once if they
    come again, or if leaving takes too long. What is ignored, as by nohup, stays so.

    Not by the event loop: it does not come to them while standard output is not read.
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
    # A task that the exception hits in the wrong place may never end.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + signum))
    signal.alarm(LEAVE_TIME)
    # What the exception interrupts is never awaited, nor asked how it ended: that is no news to the user.
    warnings.simplefilter("ignore")
    logging.disable()
    raise SystemExit(128 + signum)
