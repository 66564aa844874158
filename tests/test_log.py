"""The log: nothing that happens to its file ends, blocks or silences a process."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster import free_port
from tests.server import FORKCHAT, Server, make_data_dir, until
from tests.talk import UNLIMITED, Modern

IS_ROOT = os.getuid() == 0
EVENT = "worker1 session.start "


class Logged:
    """A server whose log file is `path`. Its standard error is `server.log()`."""

    def __init__(self, server: Server, path: Path):
        self.server, self.path = server, path

    def talk(self) -> None:
        """Make a worker log something."""
        with Modern(self.server.port) as client:
            client.join_in()

    def count(self, path: Path | None = None) -> int:
        path = path or self.path
        return path.read_text(errors="replace").count(EVENT) if path.is_file() else 0

    def until_logged(self, path: Path | None = None) -> None:
        """Talk until a line reaches the file."""
        before = self.count(path)

        def is_more() -> bool:
            self.talk()
            return self.count(path) > before

        until(is_more, "a line in the log file")

    def said(self, pattern: str) -> int:
        return len(re.findall(pattern, self.server.log()))


@pytest.fixture(scope="module")
def shared() -> Iterator[Logged]:
    root = make_data_dir()
    (root / "log").mkdir()
    path = root / "log/forkchat.log"
    config = f"[server]\nlog_file = '{path}'\n[limits]\nregister_rate = 0\nlogin_rate = 0\n"
    with Server("-w", "1", data_dir=root, config=config, wait=False) as server:
        until(lambda: path.exists() and "master.ready" in path.read_text(), "ready")
        found = re.search(r"master\.ready .*port=(\d+)", path.read_text())
        assert found
        server.port = int(found[1])
        yield Logged(server, path)
        assert "Traceback" not in server.log()
        assert path.read_text().count("worker.exit") == 0
    shutil.rmtree(root)


@pytest.fixture
def logged(shared: Logged) -> Iterator[Logged]:
    """The shared server. After the test its processes are the same, and lines reach the file again."""
    before = shared.server.workers()
    yield shared
    assert shared.server.workers() == before
    shared.until_logged()


def test_file_is_renamed_or_removed(logged: Logged) -> None:
    """A new log file is made, even without USR1."""
    logged.until_logged()
    logged.path.rename(logged.path.with_suffix(".1"))
    logged.until_logged()
    logged.path.unlink()
    logged.until_logged()


@pytest.mark.parametrize("usr1", [False, True])
def test_directory_is_renamed(logged: Logged, usr1: bool) -> None:
    """Lines still go to the old file, and the worker reports this once."""
    moved = logged.path.parent.with_name("moved")
    said = logged.said("worker1 log.trouble .*goes_on=.in the old file")
    mended = logged.said("worker1 log.mended")
    logged.path.parent.rename(moved)
    if usr1:
        logged.server.send(signal.SIGUSR1)
    for _ in range(3):
        logged.until_logged(moved / logged.path.name)
    assert logged.said("worker1 log.trouble .*goes_on=.in the old file") == said + 1
    moved.rename(logged.path.parent)
    logged.until_logged()

    def is_mended() -> bool:
        logged.talk()
        return logged.said("worker1 log.mended") > mended

    until(is_mended, "it says that it is mended")


def test_directory_is_removed(logged: Logged) -> None:
    shutil.rmtree(logged.path.parent)
    logged.talk()
    logged.server.send(signal.SIGUSR1)
    logged.talk()
    logged.path.parent.mkdir()
    logged.until_logged()


def test_path_is_a_directory_or_a_fifo_without_reader(logged: Logged) -> None:
    for make in (os.mkdir, os.mkfifo):
        logged.path.unlink()
        make(logged.path)
        logged.server.send(signal.SIGUSR1)
        logged.talk()
        shutil.rmtree(logged.path) if logged.path.is_dir() else logged.path.unlink()
        logged.until_logged()


def test_file_that_takes_nothing(logged: Logged) -> None:
    """Lines go to standard error while the file cannot be written, as on a full disk."""
    logged.path.unlink()
    logged.path.symlink_to("/dev/full")
    before = logged.said(EVENT)
    logged.server.send(signal.SIGUSR1)
    for _ in range(3):
        logged.talk()
    assert logged.said(EVENT) == before + 3
    for process in ("master", "worker1"):
        trouble = rf'{process} log\.trouble .*why="No space left on device" goes_on="on standard error"'
        assert logged.said(trouble) == 1
    logged.path.unlink()
    logged.until_logged()
    logged.server.send(signal.SIGUSR1)
    until(lambda: "master log.reopen" in logged.path.read_text(), "the master logs there too")


def test_many_lines_of_several_processes_are_whole(logged: Logged) -> None:
    for _ in range(5):
        logged.server.send(signal.SIGUSR1)
        logged.talk()
    for line in logged.path.read_text().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\S+ [A-Z]+ (master|worker1) \S+", line), line


if IS_ROOT:

    @pytest.fixture
    def small_disk(logged: Logged) -> Iterator[Path]:
        directory = logged.path.parent
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory], check=True)
        yield directory
        subprocess.run(["umount", "-l", directory], check=True)

    @pytest.mark.parametrize("usr1", [False, True])
    def test_disk_is_full(logged: Logged, small_disk: Path, usr1: bool) -> None:
        logged.until_logged()
        before = logged.said(EVENT)
        with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="space"):
            while True:
                filler.write(b"x" * 100)
        with logged.path.open("a") as file:  # fill its last page too
            file.write("x" * (4096 - logged.path.stat().st_size % 4096 - 20) + "\n")
        if usr1:
            logged.path.rename(small_disk / "rotated")
            logged.server.send(signal.SIGUSR1)

        def are_said() -> bool:
            logged.talk()
            return logged.said(EVENT) > before + 2

        until(are_said, "lines on standard error")
        (small_disk / "filler").unlink()
        logged.until_logged()
        assert "\0" not in logged.path.read_text()

    def test_disk_becomes_read_only(logged: Logged, small_disk: Path) -> None:
        logged.until_logged()
        old = small_disk / "old"
        logged.path.rename(old)

        def lines() -> int:
            return logged.count(old) + logged.count() + logged.said(EVENT)

        before = lines()
        # Use one command, because a second command may read the list of mounts while another test changes it.
        subprocess.run(["mount", "-o", "bind,ro", small_disk, small_disk], check=True)
        try:
            logged.server.send(signal.SIGUSR1)
            for _ in range(3):
                logged.talk()
            assert lines() == before + 3
        finally:
            subprocess.run(["umount", "-l", small_disk], check=True)
        logged.until_logged()


def test_standard_error_that_nobody_reads_holds_nothing_up() -> None:
    """Lines are dropped when the pipe is full, as after its supervisor was stopped."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    into = ["sh", "-c", f'exec "$@" 2>/proc/{os.getpid()}/fd/{writer}', "sh", *FORKCHAT]
    port = free_port()
    with Server("-w", "1", "-p", str(port), config=UNLIMITED, command=into, wait=False) as server:
        until(lambda: answers("127.0.0.1", port), "it serves")
        for _ in range(8):
            with Modern(port) as client:
                client.join_in()
        assert not select.select([], [writer], [], 0)[1], "the pipe is full"
        with Modern(port) as client:
            client.join_in()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    os.close(writer)
    os.close(reader)


def answers(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False
