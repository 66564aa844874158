"""The full-screen client: its start, and 200 messages a second into the conversation that is open."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import tempfile
import termios
import threading
import time
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles

from client.local.history import History, Stand
from client.protocol.events import Message
from forkchat.wire import msgid as m
from tests.pane import Home
from tests.server import CHATCLI, CLIENT_ENV, Server, pss
from tests.talk import PASSWORD, Modern

_CONFIG = "[limits]\nmessage_rate = 0\nregister_rate = 0\n"
_RATE, _SECONDS, _CACHED, _STARTS = 200, 20, 100_000, 5
#: What is typed must not be in any message.
_KEY = "Ω"
_TEXTS = (
    "the build is green again",
    "今天下午三点开会，大家都来 🎉",
    "see https://example.org/x?y=1 for it",
    "好 👍",
)


class Terminal:
    """80×24, with the client in it; all that it writes is counted."""

    def __init__(self, home: Home, port: int):
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = os.environ | CLIENT_ENV | {"TERM": "xterm-256color"} | home.env
        self.process = subprocess.Popen(
            [*CHATCLI, f"127.0.0.1:{port}"],
            stdin=side,
            stdout=side,
            stderr=side,
            env=env,
            start_new_session=True,
        )
        os.close(side)
        self._main = main
        self.written = 0

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until it has written that word: blanks that are there already are skipped."""
        found, end = b"", time.monotonic() + seconds
        while text.encode() not in found:
            data = self._read(end - time.monotonic())
            if not data:
                raise AssertionError(f"{text} was not written: {found[-500:]!r}")
            found = found[-200:] + data

    def rest(self, seconds: float) -> None:
        """Take what it writes in that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def cpu(self) -> float:
        """Seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.type("\x11")
        with suppress(OSError, AssertionError):
            self.rest(1.0)
        self.process.wait(10)
        os.close(self._main)

    def _read(self, seconds: float) -> bytes:
        if not select.select([self._main], [], [], max(seconds, 0))[0]:
            return b""
        data = os.read(self._main, 1 << 16)
        self.written += len(data)
        return data


def run() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Server("-w", "2", config=_CONFIG) as server,
        Modern(server.port).join_in("bo") as bo,
    ):
        home = Home(Path(folder))
        group = bo.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
        terminal = Terminal(home, server.port)
        terminal.until("/register")
        terminal.type("li\r")
        terminal.until("assword")
        terminal.type(PASSWORD + "\r")
        terminal.until("again:")
        terminal.type(PASSWORD + "\r")
        terminal.until("li ●")
        terminal.type(f"/join {group}\r")
        terminal.until("[ops]>")
        terminal.rest(1.0)
        idle = pss(terminal.process.pid)
        _stream(terminal, bo, group)
        print(f"memory {idle:.1f} MiB before, {pss(terminal.process.pid):.1f} MiB after")
        terminal.close()
        _start(home, server.port)


def _stream(terminal: Terminal, bo: Modern, group: int) -> None:
    """Type while the messages come."""
    stop = threading.Event()
    sender = threading.Thread(target=_send, args=(bo, group, stop))
    sender.start()
    terminal.rest(2.0)
    began, cpu, written = time.monotonic(), terminal.cpu(), terminal.written
    delays = []
    while time.monotonic() - began < _SECONDS:
        pressed = time.monotonic()
        terminal.type(_KEY)
        terminal.until(_KEY)
        delays.append((time.monotonic() - pressed) * 1000)
        terminal.type("\x08")
        terminal.rest(0.05)
    seconds = time.monotonic() - began
    share = (terminal.cpu() - cpu) / seconds
    stop.set()
    sender.join()
    print(f"{_RATE} messages a second for {seconds:.0f} s: {share:.1%} of a core,", end=" ")
    print(f"{(terminal.written - written) / seconds / 1024:.1f} KiB a second to the terminal,", end=" ")
    p99 = quantiles(delays, n=100)[98]
    print(f"key to screen p50 {median(delays):.1f} ms, p99 {p99:.1f} ms ({len(delays)})")


def _send(bo: Modern, group: int, stop: threading.Event) -> None:
    began, sent = time.monotonic(), 0
    while not stop.is_set():
        if sent < (time.monotonic() - began) * _RATE:
            bo.done(m.GROUP_CHAT, groupid=group, cid=f"s{sent}", msg=f"{sent} {_TEXTS[sent % len(_TEXTS)]}")
            sent += 1
        else:
            stop.wait(0.002)


def _start(home: Home, port: int) -> None:
    """From the command to a screen with the conversations; then with many messages in one of them, opened."""
    starts = [_open(home, port, None)[0] for _ in range(_STARTS)]
    print(f"start: median {median(starts):.0f} ms of {_STARTS}")
    _fill(home, _CACHED)
    filled, opens, memory = zip(*(_open(home, port, str(_CACHED)) for _ in range(_STARTS)), strict=True)
    print(f"with {_CACHED} cached messages: median {median(filled):.0f} ms,", end=" ")
    print(f"to open their conversation {median(opens):.0f} ms, memory {median(memory):.1f} MiB")


def _open(home: Home, port: int, text: str | None) -> tuple[float, float, float]:
    """Milliseconds until there is a screen, and from a key until that text is on it; MiB then."""
    began = time.monotonic()
    terminal = Terminal(home, port)
    terminal.until("welcome")
    there = time.monotonic()
    if text:
        terminal.type("\x1b2")
        terminal.until(text)
    opened, memory = time.monotonic(), pss(terminal.process.pid)
    terminal.close()
    return (there - began) * 1000, (opened - there) * 1000, memory


def _fill(home: Home, number: int) -> None:
    file = home.file("history.sqlite")
    history = History(file, int(file.parent.name), print)
    key = f"d{min(int(file.parent.name), 999)}-999"
    history.add(Message(key, seq, 999, "al", f"cached {seq}", seq * 1000) for seq in range(1, number + 1))
    history.save(Stand(key, 1, number, number, 0))
    history.close()
