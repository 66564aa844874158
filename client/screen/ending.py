"""How the client is ended from outside. Every end comes soon, and leaves the terminal as it was."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from threading import Timer

from prompt_toolkit.output.vt100 import Vt100_Output

_SIGNALS = signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT
#: Seconds that leaving may take.
_PATIENCE = 5.0
#: Ends what prompt_toolkit begins: pastes in brackets, the mouse, a hidden cursor, colours, the other screen.
_RESTORE = b"\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?25h\x1b[0m\x1b[?1049l"


class Output(Vt100_Output):
    """`on_gone` is called when there is no terminal any more; what is drawn is for nobody then."""

    on_gone: Callable[[], object]

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._buffer.clear()
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # for what is still in other buffers
            self.on_gone()


class Ending:
    """From now on TERM, HUP and QUIT call `leave`, in the loop. A process that does not end then is ended: it
    may be the loop that hangs.
    """

    def __init__(self, leave: Callable[[int], object]):
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._attributes = termios.tcgetattr(sys.stdin)
        self._limit: Timer | None = None
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._on_signal)

    def begin(self, code: int) -> None:
        """The process ends within some seconds, whatever hangs."""
        if self._limit is None:
            self._limit = Timer(_PATIENCE, self._end, [code])
            self._limit.daemon = True
            self._limit.start()

    def restore(self) -> None:
        """The terminal, in whatever state it is; it may be gone, or take nothing."""
        with suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._attributes)
            output = sys.stdout.fileno()
            if select.select([], [output], [], 0)[1]:
                os.write(output, _RESTORE)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.begin(128 + number)
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._leave, number)

    def _end(self, code: int) -> None:
        self.restore()
        os._exit(code)
