"""chatcli in a terminal of tmux: the keys that a user types, and the screen."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.server import CHATCLI, CLIENT_ENV, ROOT, children, is_alive, until
from tests.talk import PASSWORD


class Home:
    """A user's own machine: a folder for settings and data."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.settings = folder / "config/forkchat/chatcli.toml"
        self.data = folder / "data/chatcli"

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "data"),
        }

    def knows(self, name: str) -> bool:
        """Return True if a login of that name is stored here."""
        accounts = self.data / "accounts.json"
        return accounts.exists() and f'"{name}"' in accounts.read_text()

    def file(self, name: str) -> Path:
        """Return the path of the only file of that name below the data folder."""
        (found,) = self.data.rglob(name)
        return found


class Tmux:
    """A private tmux, and the homes of its users."""

    def __init__(self, command: list[str], folder: Path):
        self.command = command
        self.folder = folder

    def home(self) -> Home:
        return Home(Path(tempfile.mkdtemp(dir=self.folder)))

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.rstrip("\n")


@contextmanager
def tmux_server() -> Iterator[Tmux]:
    """Run a tmux; at the end, end all programs in it.

    Its first session keeps it alive while clients come and go.
    """
    with tempfile.TemporaryDirectory(prefix="forkchat-tmux-") as folder:
        command = ["tmux", "-u", "-f", "/dev/null", "-L", f"forkchat-{uuid.uuid4().hex}"]
        subprocess.run([*command, "new-session", "-d", "sleep infinity"], check=True)
        try:
            yield Tmux(command, Path(folder))
        finally:
            tmux = Tmux(command, Path(folder))
            shells = tmux.run("list-panes", "-a", "-F", "#{pane_pid}").split()
            clients = [pid for shell in shells for pid in children(int(shell))]
            tmux.run("kill-server")
            until(lambda: not any(map(is_alive, clients)), "nobody writes in the homes any more")


class Pane:
    """A terminal with the client in it.

    `errors`: the file with its standard error. `pressed`: the keys pressed so far. `shell`: a command to run
    before it. `namespace`: the network namespace to run in. `arguments`: arguments before the server's
    address. `program`: a program to run in place of bin/chatcli.
    """

    def __init__(
        self,
        tmux: Tmux,
        port: int | None,
        *,
        home: Home | None = None,
        size: tuple[int, int] = (100, 30),
        shell: str = "true",
        host: str = "127.0.0.1",
        namespace: str = "",
        arguments: Sequence[str] = (),
        program: Sequence[str] = CHATCLI,
        **env: str,
    ):
        self._tmux = tmux
        self.home = home or tmux.home()
        self.errors = self.home.folder / "errors"
        self.pressed: set[str] = set()
        variables = [
            f"{name}={value}" for name, value in (CLIENT_ENV | {"NO_COLOR": ""} | self.home.env | env).items()
        ]
        into = ["ip", "netns", "exec", namespace] if namespace else []
        server = [f"{host}:{port}"] if port else []
        command = shlex.join([*into, "env", *variables, *program, *arguments, *server])
        # Keep the window open after its end, so that its last output can be read.
        command = f"cd {ROOT}; {shell}; {command} 2>{self.errors}; echo ended with $?; sleep 1000"
        width, height = map(str, size)
        self._id = tmux.run("new-session", "-d", "-P", "-F", "#{pane_id}", "-x", width, "-y", height, command)

    @property
    def target(self) -> str:
        """The pane's id in tmux."""
        return self._id

    def type(self, text: str) -> None:
        self.write(text)
        self.press("Enter")

    def write(self, text: str) -> None:
        self._tmux.run("send-keys", "-t", self._id, "-l", text)

    def send(self, data: bytes) -> None:
        """Send bytes that are not keys."""
        hexadecimal = [f"{byte:02x}" for byte in data]
        for at in range(0, len(hexadecimal), 500):
            self._tmux.run("send-keys", "-t", self._id, "-H", *hexadecimal[at : at + 500])

    def paste(self, text: str) -> None:
        command = [*self._tmux.command, "load-buffer", "-b", self._id, "-"]
        subprocess.run(command, input=text, text=True, check=True)
        self._tmux.run("paste-buffer", "-p", "-b", self._id, "-t", self._id)

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names: C-c, M-a, PPage."""
        self.pressed.update(keys)
        self._tmux.run("send-keys", "-t", self._id, *keys)

    def spoil(self, text: str) -> None:
        """Write to the terminal, as another program would."""
        tty = self._tmux.run("display-message", "-p", "-t", self._id, "#{pane_tty}")
        Path(tty).write_text(f"\x1b7\x1b[3;3H{text}\x1b8")

    def resize(self, width: int, height: int) -> None:
        self._tmux.run("resize-window", "-t", self._id, "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        return self._tmux.run("capture-pane", "-p", "-t", self._id)

    def state(self) -> tuple[str, str]:
        """Return the position of the cursor, and the screen."""
        where = ("display-message", "-p", "-t", self._id, "#{cursor_x},#{cursor_y}")
        cursor, _, screen = self._tmux.run(*where, ";", "capture-pane", "-p", "-t", self._id).partition("\n")
        return cursor, screen

    def close(self) -> None:
        """Close the window."""
        self._tmux.run("kill-session", "-t", self._id)

    def escapes(self) -> str:
        """Return the screen with its escape sequences for colours."""
        return self._tmux.run("capture-pane", "-p", "-e", "-t", self._id)

    def record(self, file: Path) -> None:
        """Record to a file all bytes that the client writes from now on."""
        self._tmux.run("pipe-pane", "-t", self._id, f"cat >{file}")

    def pid(self) -> int:
        """Return the client's process id."""
        shell = self._tmux.run("display-message", "-p", "-t", self._id, "#{pane_pid}")
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[0])

    def connections(self) -> int:
        """Return the number of sockets that the client has open."""
        files = Path(f"/proc/{self.pid()}/fd").iterdir()
        return sum(os.readlink(file).startswith("socket:") for file in files if file.is_symlink())

    def sees(self, *texts: str, times: int = 1) -> None:
        """Wait until each text is on the screen exactly `times` times. Trailing blanks do not count."""
        wanted = [text.rstrip() for text in texts]
        self.shows(
            lambda screen: all(screen.count(text) == times for text in wanted), f"{wanted}, {times} times"
        )

    def shows(self, condition: Callable[[str], object], what: str) -> None:
        try:
            until(lambda: condition(self.screen()), what)
        except AssertionError as error:
            raise AssertionError(f"{error}, on:\n{self.screen()}\n{self.errors.read_text()}") from None

    def enter(self, command: str, name: str) -> None:
        """Register or log in, and wait until the login is stored on disk.

        The command replaces the text that the input line offers.
        """
        self.shows(lambda screen: re.search(r"connected to|welcome back", screen), "it has begun")
        self.press("C-u")
        self.type(f"/{command} {name}")
        self.shows(lambda screen: re.search(r"^password( for .*)?: *$", screen, re.MULTILINE), "the prompt")
        self.type(PASSWORD)
        if command == "register":
            self.sees("the same again")
            self.type(PASSWORD)
        self.sees(f"logged in as {name}")
        until(lambda: list(self.home.data.rglob("accounts.json")), "the login is kept")

    def leave(self) -> None:
        self.press("C-q")
        self.sees("ended with 0")
        assert self.errors.read_text() == ""
