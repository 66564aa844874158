"""Tests of all ways in which the client ends.

It ends soon, restores the terminal and keeps the typed line.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pane import Home, Tmux
from tests.server import Server, until
from tests.talk import PASSWORD, new_name
from tests.terminal import Terminal

#: A script that starts the client after the statements in `spoil`, which break a part of it.
_SPOILT = """
import sys, time
from client.main import main
from client.screen import panes
from client.screen.app import App
from client.screen.composer import Composer
def fail(*arguments):
    raise ValueError("spoilt")
def hang(*arguments):
    while True:
        pass
{spoil}
sys.argv[0] = "chatcli"
sys.exit(main())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config="[limits]\nmessage_rate = 0\nregister_rate = 0\n") as found:
        yield found


@pytest.fixture(scope="module")
def known(server: Server, tmux: Tmux) -> Home:
    """Home of a user who has logged in once."""
    found = tmux.home()
    terminal = Terminal(found, server.port)
    terminal.until("/register")
    terminal.type(new_name("li") + "\r")
    terminal.until("assword")
    terminal.type(PASSWORD + "\r")
    terminal.until("again:")
    terminal.type(PASSWORD + "\r")
    terminal.until("●")
    until(lambda: list(found.data.rglob("accounts.json")), "the login is kept")
    terminal.close()
    assert terminal.process.returncode == 0
    return found


@pytest.fixture
def home(known: Home, tmp_path: Path) -> Home:
    """Copy of a home whose user is logged in at the start."""
    shutil.copytree(known.folder, tmp_path / "home")
    return Home(tmp_path / "home")


def begun(home: Home, server: Server, code: str = "", is_controlling: bool = True) -> Terminal:
    """Start the client, wait until it has logged in, and begin to type a line."""
    terminal = Terminal(home, server.port, code=code, is_controlling=is_controlling)
    terminal.until("●")
    terminal.type("a line that is begunΩ")
    terminal.until("Ω")
    return terminal


def draft(home: Home) -> bool:
    return "a line that is begun" in home.file("typed.jsonl").read_text()


def is_clean(home: Home, terminal: Terminal) -> bool:
    """Return True if there are no complaints on the terminal and no failures.log."""
    return not terminal.errors.read_bytes() and not list(home.data.rglob("failures.log"))


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda each: each.name
)
def test_signals(server: Server, home: Home, number: signal.Signals) -> None:
    terminal = begun(home, server)
    os.kill(terminal.process.pid, number)
    assert terminal.end() == 128 + number
    assert terminal.is_restored
    assert draft(home)
    assert is_clean(home, terminal)


@pytest.mark.parametrize("is_controlling", [True, False], ids=["hup", "end of input"])
def test_the_window_is_closed(server: Server, home: Home, is_controlling: bool) -> None:
    terminal = begun(home, server, is_controlling=is_controlling)
    terminal.hang_up()
    assert terminal.process.wait(20) == 128 + signal.SIGHUP
    assert draft(home)
    assert is_clean(home, terminal)


@pytest.mark.parametrize(
    "state", ["\x1bl", "\x13needle", "/passwd\r"], ids=["plain view", "search", "question"]
)
def test_in_every_state(server: Server, home: Home, state: str) -> None:
    terminal = Terminal(home, server.port)
    terminal.until("●")
    terminal.type("/group create ops\r")
    terminal.until("[ops]>")
    terminal.type(state)
    terminal.rest(0.3)
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.end() == 128 + signal.SIGTERM
    assert terminal.is_restored
    assert is_clean(home, terminal)


def test_killed(server: Server, home: Home) -> None:
    """A killed client can do nothing at its end.

    Typed text is soon on the disk, also while typing goes on.
    """
    terminal = Terminal(home, server.port)
    terminal.until("●")
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        terminal.type("x")
        terminal.rest(0.05)
    assert "xx" in home.file("typed.jsonl").read_text()
    terminal.type(" a line that is begun")
    until(lambda: draft(home), "it is kept", 1.0)
    terminal.process.kill()
    terminal.process.wait()
    terminal.hang_up()


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.5], ids=str)
def test_interrupted_at_the_start(server: Server, home: Home, delay: float) -> None:
    terminal = Terminal(home, server.port)
    terminal.rest(delay)
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.rest(0.3)
    if terminal.process.poll() is None:  # chatcli had begun already, and Ctrl+C does not end it
        terminal.type("\x11")
    terminal.end()
    assert terminal.is_restored


@pytest.mark.parametrize(
    ("spoil", "press", "code"),
    [
        ("panes.status = fail", None, 1),
        ("panes.title = fail", None, 1),
        ("App.help = fail", "\x1bOP", 0),
        ("App._say_what_waits = fail", "", 1),
        ("Composer.close = fail", "", 1),
    ],
    ids=["the first drawing", "a drawing", "a key", "at the end", "leaving"],
)
def test_mistakes_of_ours(server: Server, home: Home, spoil: str, press: str | None, code: int) -> None:
    terminal = Terminal(home, server.port, code=_SPOILT.format(spoil=spoil))
    if press is not None:
        terminal.until("●")
        terminal.type(press)
        terminal.rest(0.3)
        terminal.type("\x11")
    assert terminal.end() == code
    assert terminal.is_restored
    assert "spoilt" in home.file("failures.log").read_text()


@pytest.mark.parametrize(
    ("spoil", "leave"),
    [
        ("Composer.new_line = hang", lambda terminal: terminal.type("\x1b\r")),
        ("App._say_what_waits = hang", lambda terminal: terminal.type("\x11")),
    ],
    ids=["the loop", "the end"],
)
def test_what_hangs(server: Server, home: Home, spoil: str, leave: Callable[[Terminal], object]) -> None:
    terminal = begun(home, server, _SPOILT.format(spoil=spoil))
    until(lambda: draft(home), "it is kept")
    leave(terminal)
    terminal.rest(0.5)
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.end(10) in (0, 128 + signal.SIGTERM)
    assert terminal.is_restored
    assert draft(home)
