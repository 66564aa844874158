"""Benchmark of the full-screen client: its start, and 200 messages a second into the open conversation."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles

from client.local.history import Changes, History, Stand
from client.protocol.events import Message
from forkchat.wire import msgid as m
from tests.pane import Home
from tests.server import Server, pss
from tests.talk import PASSWORD, Modern
from tests.terminal import Terminal

_CONFIG = "[limits]\nmessage_rate = 0\nregister_rate = 0\n"
_RATE, _SECONDS, _CACHED, _STARTS = 200, 20, 100_000, 5
#: Messages that are searched.
#: Seconds of each further measurement.
_SEARCHED, _HELD = 200_000, 10
#: Messages of one write to the history.
_BATCH = 10_000
#: Keys to type in turn. They must be in no message, and not on the screen already.
_KEYS = "ΩΨ"
_TEXTS = (
    "the build is green again",
    "今天下午三点开会，大家都来 🎉",
    "see https://example.org/x?y=1 for it",
    "好 👍",
)
#: Messages of the greatest length that the server accepts.
_LONG = tuple((unit * 8192)[:8000] for unit in ("y", "http://x.y/z ", "a\n", "a\t", "e\u0301"))
#: Of these, messages a second.
_LONG_RATE = 5


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
        _stream(terminal, bo, group, _SECONDS)
        _stream(terminal, bo, group, _HELD, "of 8,000 characters, ", _LONG, _LONG_RATE)
        print(f"memory {idle:.1f} MiB before, {pss(terminal.process.pid):.1f} MiB after")
        with closing(sqlite3.connect(home.file("history.sqlite"))) as other:
            other.execute("BEGIN IMMEDIATE")
            _stream(terminal, bo, group, _HELD, "with the history locked: ")
            other.rollback()
        terminal.close()
        _start(home, server.port)
        _search(home, server.port)


def _stream(
    terminal: Terminal,
    bo: Modern,
    group: int,
    wanted: int,
    words: str = "",
    texts: Sequence[str] = _TEXTS,
    rate: int = _RATE,
) -> None:
    """Type while the messages come, and print the costs."""
    stop = threading.Event()
    sender = threading.Thread(target=_send, args=(bo, group, texts, rate, stop))
    sender.start()
    terminal.rest(2.0)
    began, cpu, written = time.monotonic(), terminal.cpu(), terminal.written
    delays = _delays(terminal, wanted)
    seconds = time.monotonic() - began
    share = (terminal.cpu() - cpu) / seconds
    stop.set()
    sender.join()
    print(f"{words}{rate} messages a second for {seconds:.0f} s: {share:.1%} of a core,", end=" ")
    print(f"{(terminal.written - written) / seconds / 1024:.1f} KiB a second to the terminal,", end=" ")
    _tell(delays)


def _delays(terminal: Terminal, seconds: float) -> list[float]:
    """Type one key after another for `seconds`; return the milliseconds until each is on the screen."""
    began = time.monotonic()
    found: list[float] = []
    while time.monotonic() - began < seconds:
        key = _KEYS[len(found) % 2]
        pressed = time.monotonic()
        terminal.type(key)
        terminal.until(key)
        found.append((time.monotonic() - pressed) * 1000)
        terminal.type("\x08")
        terminal.rest(0.05)
    return found


def _tell(delays: list[float]) -> None:
    p99 = quantiles(delays, n=100)[98]
    print(f"key to screen p50 {median(delays):.1f} ms, p99 {p99:.1f} ms,", end=" ")
    print(f"longest {max(delays):.1f} ms ({len(delays)})")


def _search(home: Home, port: int) -> None:
    """Search all messages again at each key, for text that none of them has."""
    _fill(home, _SEARCHED)
    terminal = Terminal(home, port)
    terminal.until("●")
    terminal.type("\x1b2")
    terminal.until(str(_SEARCHED))
    terminal.type("\x13zz")
    terminal.until("nothing")
    cpu, began = terminal.cpu(), time.monotonic()
    delays = _delays(terminal, _HELD)
    share = (terminal.cpu() - cpu) / (time.monotonic() - began)
    print(f"searching {_SEARCHED} messages without a match: {share:.1%} of a core,", end=" ")
    _tell(delays)
    terminal.type("\x03")
    terminal.close()


def _send(bo: Modern, group: int, texts: Sequence[str], rate: int, stop: threading.Event) -> None:
    began, sent = time.monotonic(), 0
    while not stop.is_set():
        if sent < (time.monotonic() - began) * rate:
            text = f"{sent} {texts[sent % len(texts)]}"
            bo.done(m.GROUP_CHAT, groupid=group, cid=f"{began}-{sent}", msg=text)
            sent += 1
        else:
            stop.wait(0.002)


def _start(home: Home, port: int) -> None:
    """Time the start until the screen shows the conversations.

    Then time it with many messages in one of them, which is opened.
    """
    starts = [_open(home, port, None)[0] for _ in range(_STARTS)]
    print(f"start: median {median(starts):.0f} ms of {_STARTS}")
    _fill(home, _CACHED)
    filled, opens, memory = zip(*(_open(home, port, str(_CACHED)) for _ in range(_STARTS)), strict=True)
    print(f"with {_CACHED} cached messages: median {median(filled):.0f} ms,", end=" ")
    print(f"to open their conversation {median(opens):.0f} ms, memory {median(memory):.1f} MiB")


def _open(home: Home, port: int, text: str | None) -> tuple[float, float, float]:
    """Return the milliseconds until the screen is there, those to open a conversation, and the MiB then.

    The conversation is open once `text` is on the screen.
    """
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
    for start in range(1, number + 1, _BATCH):
        changes = Changes()
        seqs = range(start, min(start + _BATCH, number + 1))
        changes.add(Message(key, seq, 999, "al", f"cached {seq}", seq * 1000) for seq in seqs)
        changes.save(Stand(key, 1, number, number, 0))
        history.write(changes)
    history.close()
