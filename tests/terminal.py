"""chatcli in a private pseudo-terminal: its output, the terminal's mode afterwards, and its exit."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path

from tests.pane import Home
from tests.server import CHATCLI, CLIENT_ENV

#: Makes the terminal the controlling one, so that closing its window sends HUP, then runs the program.
_CONTROLLED = (
    "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
#: Modes that a terminal can be switched to, with the letter of the switched state.
_MODES = {b"1049": b"h", b"2004": b"h", b"1000": b"h", b"1003": b"h", b"25": b"l"}


class Terminal:
    """A terminal of 80×24 with the client in it. It counts all that the client writes.

    `errors`: the file with its standard error. `code`: Python code to run instead. `is_controlling`: closing
    the window sends HUP.
    """

    def __init__(self, home: Home, port: int, *, code: str = "", is_controlling: bool = True):
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._mode = termios.tcgetattr(side)
        self.errors = home.folder / "errors"
        command = [sys.executable, "-c", code] if code else [*CHATCLI]
        if is_controlling:
            command = [sys.executable, "-c", _CONTROLLED, *command]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, f"127.0.0.1:{port}"],
                stdin=side,
                stdout=side,
                stderr=errors,
                env=os.environ | CLIENT_ENV | {"TERM": "xterm-256color"} | home.env,
                start_new_session=True,
            )
        os.close(side)
        self.written = 0
        self._switched: dict[bytes, bytes] = {}

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until the client has written `text`, a word.

        It must be a word, because the client does not write again the blanks that are on the screen already.
        """
        found, end = b"", time.monotonic() + seconds
        while text.encode() not in found:
            data = self._read(end - time.monotonic())
            if not data:
                raise AssertionError(f"{text} was not written: {found[-500:]!r}, {self.errors.read_text()}")
            found = found[-200:] + data

    def rest(self, seconds: float) -> None:
        """Read what the client writes for this many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def cpu(self) -> float:
        """Return the processor time of the client so far, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._main)

    def end(self, seconds: float = 20.0) -> int:
        """Read until the client has exited; return its exit status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < end, "it does not end"
            self._read(0.05)
        with suppress(OSError):
            while self._read(0.0):
                pass
        return self.process.returncode

    @property
    def is_restored(self) -> bool:
        """True if the terminal is as before the client.

        That is the driver's mode, the first screen, a cursor, no bracketed paste, and no mouse.
        """
        is_switched = any(self._switched.get(mode) == way for mode, way in _MODES.items())
        return termios.tcgetattr(self._main) == self._mode and not is_switched

    def close(self) -> None:
        self.type("\x11")
        self.end()
        os.close(self._main)

    def _read(self, seconds: float) -> bytes:
        if not select.select([self._main], [], [], max(seconds, 0))[0]:
            return b""
        try:
            data = os.read(self._main, 1 << 16)
        except OSError:  # no process has the other side open
            return b""
        self.written += len(data)
        for modes, way in re.findall(rb"\x1b\[\?([0-9;]+)([hl])", data):
            self._switched |= dict.fromkeys(modes.split(b";"), way)
        return data
