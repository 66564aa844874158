"""Real servers for tests: `bin/forkchat` with a private data directory, always ended after the test."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from forkchat.process.embedded import run_dir
from tests.database import make_database

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
CHATCLI = [sys.executable, str(ROOT / "bin/chatcli")]
#: The client's environment, regardless of who runs the tests: no settings and no accounts.
CLIENT_ENV = {
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "",
    "FORKCHAT_PASSWORD": "",
    "FORKCHAT_USER": "",
    "XDG_CONFIG_HOME": "/nonexistent",
    "XDG_DATA_HOME": "/nonexistent",
}
FORKCHAT = [sys.executable, str(ROOT / "bin/forkchat")]


def until(condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """Wait for the first true value of `condition`, and return it. Raises AssertionError after `seconds`.

    A cheap condition is checked more often.
    """
    deadline = (began := time.monotonic()) + seconds
    while not (value := condition()):
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(min(0.05, max(0.01, 9 * (now - began))))
        began = time.monotonic()
    return value


async def soon(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Wait for a condition like `until`, while the event loop runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Return True until the last thread of the process has ended, because its files stay open so long."""
    try:
        is_zombie = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        return not is_zombie or len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop the process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def children(pid: int) -> dict[int, str]:
    """Return the titles of the living children of a process, by process id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if stat.read_text().rpartition(")")[2].split()[1] != str(pid):
                continue
            title = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # it has just ended
        if title:
            found[int(stat.parent.name)] = title
    return found


@contextmanager
def readable_by_all(program: str = "forkchat") -> Iterator[list[str]]:
    """Yield the command at a path that every user can reach, even if root's checkout is private."""
    if os.getuid() != 0:
        yield [sys.executable, str(ROOT / "bin" / program)]
        return
    directory = tempfile.mkdtemp(prefix="forkchat-program-")
    os.chmod(directory, 0o755)
    # Mount in one step, because another command may read the list of mounts in between, and fail.
    subprocess.run(["mount", "-o", "bind,ro", ROOT, directory], check=True)
    try:
        yield [f"{directory}/.venv/bin/python", f"{directory}/bin/{program}"]
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
        os.rmdir(directory)


def limit(pid: int, name: str, value: int) -> None:
    """Set a limit (`nofile`, `as`, …) of a process.

    It is set as the user of the process, because root in a container may not be allowed to.
    """
    text = Path(f"/proc/{pid}/status").read_text()
    uid, gid = (int(re.findall(rf"^{kind}:\t(\d+)", text, re.MULTILINE)[0]) for kind in ("Uid", "Gid"))
    account = {"user": uid, "group": gid, "extra_groups": []} if os.getuid() == 0 else {}
    subprocess.run(["prlimit", f"--pid={pid}", f"--{name}={value}:{value}"], check=True, **account)  # type: ignore[call-overload]


def pss(pid: int) -> float:
    """Return the memory of a process in MiB (PSS); 0 if it has ended.

    Of memory shared by several processes, PSS counts the process's share.
    """
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(re.findall(r"\nPss:\s+(\d+)", rollup)[0]) / 1024


def make_data_dir() -> Path:
    """Make a directory that the services can enter if we are root. pytest's own are for one user only."""
    path = Path(tempfile.mkdtemp(prefix="forkchat-test-"))
    path.chmod(0o711 if os.getuid() == 0 else 0o700)
    return path


def forkchat(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*FORKCHAT, *args],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | (env or {}),
        check=False,
    )


def chatcli(
    *arguments: object, lines: Iterable[str] = (), password: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the client in pipes to its end, with `lines` as its input.

    Its data is deleted afterwards, unless `env` gives it another directory.
    """
    with tempfile.TemporaryDirectory(prefix="forkchat-test-") as data:
        return subprocess.run(
            [*CHATCLI, *map(str, arguments)],
            input="".join(f"{text}\n" for text in lines),
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | CLIENT_ENV | {"FORKCHAT_PASSWORD": password, "XDG_DATA_HOME": data} | env,
            check=False,
        )


class Server:
    """A context manager that runs a server on a free port.

    It waits until the server is ready, unless `wait` is False. `command` runs in place of bin/forkchat.
    `config` is the text of its configuration file, which may be rewritten (`config_path`). A given `data_dir`
    is not deleted. `namespace` is the network namespace to run in. `is_new`: the server makes its database by
    itself, as on a new machine.

    `passwords` is the `[passwords]` table for all configurations that have none. Tests set a cheap one
    (conftest.py).
    """

    passwords = ""

    def __init__(
        self,
        *args: str,
        config: str = "",
        data_dir: Path | None = None,
        env: dict[str, str] | None = None,
        namespace: str = "",
        wait: bool = True,
        is_new: bool = False,
        command: Sequence[str] = FORKCHAT,
    ):
        self._args = args
        self._config = config
        self._env = env or {}
        self._into = ["ip", "netns", "exec", namespace] if namespace else []
        self._wait = wait
        self._is_new = is_new
        self._command = command
        self._is_own_dir = data_dir is None
        self.data_dir = data_dir or make_data_dir()
        self.config_path = self.data_dir / "forkchat.toml"
        self.log_path = self.data_dir / "server.log"
        self.port = 0

    def __enter__(self) -> Server:
        more = "" if "[passwords]" in self._config else self.passwords
        self.config_path.write_text(f"{self._config}\n{more}")
        database = self.data_dir / "mysql"
        if not (self._is_new or database.exists() or "--mysql-url" in self._args):
            make_database(database)
        paths = ["-c", str(self.config_path), "--data-dir", str(self.data_dir)]
        with self.log_path.open("wb") as output:
            self.process = subprocess.Popen(
                [*self._into, *self._command, "-p", "0", *paths, *self._args],
                stdout=output,
                stderr=output,
                env=os.environ | self._env,
                start_new_session=True,
            )
        self.pid = self.process.pid
        try:
            if self._wait:
                self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        if self._is_own_dir:
            shutil.rmtree(run_dir(self.data_dir), ignore_errors=True)
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def wait_ready(self) -> None:
        line = self.wait_log(r"master\.ready .*port=(\d+)")
        self.port = int(line[1])

    def wait_log(self, pattern: str, seconds: float = 15.0) -> re.Match[str]:
        """Wait until the log has the pattern. Raises AssertionError if the server ends without it."""

        def look() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.log())
            assert found or not ended, f"ended without {pattern!r}:\n{self.log()}"
            return found

        try:
            found = until(look, f"log line {pattern!r}", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        assert found
        return found

    def wait_told(self) -> None:
        """Wait until each worker has told its users the states of all their friends.

        It does so after a start with an empty Redis. Any later news of presence has another cause.
        """
        count = len(self.workers())
        until(lambda: self.log().count("roster.told") >= count, "all users have been told of their friends")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def workers(self) -> dict[int, int]:
        """Return the workers' process ids by slot."""
        title = re.compile(r"forkchat: worker (\d+)")
        matches = {pid: title.match(text) for pid, text in children(self.pid).items()}
        return {int(match[1]): pid for pid, match in matches.items() if match}

    def service(self, name: str) -> int | None:
        """Return the process id of the private `mariadbd` or `redis-server`."""
        return next((pid for pid, text in children(self.pid).items() if name in text.split()[0]), None)

    def send(self, signum: signal.Signals) -> None:
        os.kill(self.pid, signum)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait until the server has ended; return its exit status."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Kill the master, and wait until all its children have ended."""
        family = list(children(self.pid)) if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        until(lambda: not any(map(is_alive, family)), "its children are gone")
