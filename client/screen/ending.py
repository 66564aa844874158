"""Endings from outside: signals, and a lost terminal. Each is quick and restores the terminal."""

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
#: Seconds that leaving may take, before the process is ended by force.
_PATIENCE = 5.0
#: Undoes what prompt_toolkit turns on: bracketed paste, mouse, hidden cursor, colours, alternate screen.
_RESTORE = b"\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?25h\x1b[0m\x1b[?1049l"


class Output(Vt100_Output):
    """The output to the terminal.

    `on_gone` is called when the terminal is gone. Output is discarded from then on.
    """

    on_gone: Callable[[], object]

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self._buffer.clear()
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # for what is still in other buffers
            self.on_gone()


class Ending:
    """The handling of TERM, HUP and QUIT: they call `leave` with their number, in the loop.

    A process that does not end soon after that is ended by force, because the loop may hang.
    """

    def __init__(self, leave: Callable[[int], object]):
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._attributes = termios.tcgetattr(sys.stdin)
        self._limit: Timer | None = None
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._on_signal)

    def begin(self, code: int) -> None:
        """End the process with `code` within `_PATIENCE` seconds, even if something hangs."""
        if self._limit is None:
            self._limit = Timer(_PATIENCE, self._end, [code])
            self._limit.daemon = True
            self._limit.start()

    def restore(self) -> None:
        """Restore the terminal from any state. It may be gone, or may accept no output."""
        with suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._attributes)
            output = sys.stdout.fileno()
            if select.select([], [output], [], 0)[1]:
                os.write(output, _RESTORE)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.begin(128 + number)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._leave, number)

    def _end(self, code: int) -> None:
        self.restore()
        os._exit(code)
