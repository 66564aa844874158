"""Starts with any umask, path, standard streams and user.

The server gets ready, or says in one sentence why it does not.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forkchat.process.account import DEFAULT
from forkchat.process.embedded import run_dir
from tests.server import Server, children, is_alive, make_data_dir, readable_by_all, until
from tests.talk import Modern

IS_ROOT = os.getuid() == 0
#: The id of a user without an entry in the user database.
STRANGER = 54321
NOBODY = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "env", "-u", "HOME"]
#: Prefixes of the server's command: none, and if this is root, also the change to STRANGER.
WHO = [[], NOBODY] if IS_ROOT else [[]]
#: The command, at a path that every user can reach.
PROGRAM: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def program() -> Iterator[None]:
    with readable_by_all() as command:
        PROGRAM[:] = command
        yield


class Start:
    """The outcome of a start. `status` is None if the server got ready; it was then ended with TERM."""

    def __init__(
        self,
        *arguments: str | bytes,
        before: Sequence[str] = (),
        streams: str = "",
        umask: int = -1,
        cwd: Path | None = None,
        log: Path | None = None,
        config: Path | None = None,
    ):
        self.family: dict[int, str] = {}
        with tempfile.TemporaryFile() as output:
            shell = ["sh", "-c", f'exec "$@" {streams}', "sh"]
            process = subprocess.Popen(
                [*shell, *before, *PROGRAM, "-w", "1", "-p", "0", *arguments],
                stdout=output,
                stderr=output,
                umask=umask,
                cwd=cwd,
            )

            def text() -> str:
                said = os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")
                return said + (log.read_text() if log and log.exists() else "")

            try:
                until(lambda: process.poll() is not None or "master.ready" in text(), "ready, or its end", 30)
                self.status = process.poll()
                if self.status is None:
                    self.family = children(process.pid)
                    process.terminate()
                    assert process.wait(20) == 0, text()
                    assert not any(map(is_alive, self.family))
            finally:
                process.kill()
                process.wait()
            self.text = text()
        assert "Traceback" not in self.text, self.text
        self.sentences = re.findall(r"(?m)^forkchat: .*", self.text)

    def assert_ready(self) -> None:
        assert self.status is None, self.text
        assert not self.sentences

    def assert_refused(self, status: int, *patterns: str) -> None:
        """Check the status, and that the output has exactly one sentence for each pattern."""
        assert self.status == status, self.text
        assert len(self.sentences) == len(patterns), self.text
        for pattern, sentence in zip(patterns, self.sentences, strict=True):
            assert re.search(pattern, sentence), sentence


@pytest.fixture
def root() -> Iterator[Path]:
    """An empty directory that every user may traverse."""
    path = make_data_dir()
    if IS_ROOT:
        path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data directory with a database, which tests move to other paths (`Moved`)."""
    home = make_data_dir()
    Start("--data-dir", str(home / "data")).assert_ready()
    yield home / "data"
    shutil.rmtree(home)


class Moved:
    """A context manager during which the data directory `made` is at another path."""

    def __init__(self, made: Path, path: Path):
        self._made, self._path = made, path

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._made.rename(self._path)

    def __exit__(self, *_: object) -> None:
        self._path.rename(self._made)


@pytest.mark.parametrize("who", WHO, ids=["", "nobody"][: len(WHO)])
@pytest.mark.parametrize("umask", [0o027, 0o077, 0o000, 0o777])
def test_umask(root: Path, umask: int, who: list[str]) -> None:
    if who:
        root.chmod(0o1777)
    data = root / "new/and new/data"
    Start("--data-dir", str(data), "--pid", str(root / "pid"), before=who, umask=umask).assert_ready()
    for path in (root / "new", root / "new/and new"):
        assert path.stat().st_mode & 0o022 == 0
    assert (data / "lock").stat().st_mode & 0o777 == 0o600


PATHS = [
    "with blanks  in it",
    """quotes ' and " and `back`""",
    "中文 ünïcödé",
    "per%20cent %s 100%",
    "#hash?query&a=b;c",
    "$HOME $(reboot) \\ * [x] {y} ~",
    "-rf --help",
    "a/../b//c/./d/",
    "é" * 120,
]


@pytest.mark.parametrize("name", PATHS)
def test_path_of_the_data_directory(root: Path, made: Path, name: str) -> None:
    path = root / "b/c/d" if ".." in name else root / name
    (root / "a").mkdir()
    with Moved(made, path):
        Start("--data-dir", f"{root}/{name}").assert_ready()


def test_database_is_made_in_a_strange_path(root: Path) -> None:
    path = root / "".join(PATHS[:6])[:80]
    Start("--data-dir", str(path)).assert_ready()


def test_long_path(root: Path, made: Path) -> None:
    room = 400 - len(os.fsencode(root))
    with Moved(made, root / ("d" * 200) / ("e" * (room - 202))) as path:
        assert len(os.fsencode(path)) == 400
        Start("--data-dir", str(path)).assert_ready()
    for length in (401, 800, 5000):
        long = f"{root}/" + ("d" * 199 + "/") * (length // 200) + "e" * 199
        Start("--data-dir", long[:length]).assert_refused(1, "has 4?8?0?[0-9] bytes|too long")
    Start("--data-dir", f"{root}/{'d' * 300}").assert_refused(1, "File name too long")


def test_relative_path(root: Path, made: Path) -> None:
    with Moved(made, root / "below/data"):
        Start("--data-dir", "below/data", cwd=root).assert_ready()


def test_working_directory_that_was_removed(root: Path, made: Path) -> None:
    (root / "gone").mkdir()
    there = ["sh", "-c", f'cd {root}/gone; rmdir {root}/gone; exec "$@"', "sh"]
    Start("--data-dir", "data", before=there).assert_refused(78, r"data_dir: .*No such file or directory")
    (root / "gone").mkdir()
    Start("--data-dir", str(made), "-c", "x", before=there).assert_refused(78, "working directory")
    (root / "gone").mkdir()
    Start("--data-dir", str(made), "--pid", "x", before=there).assert_refused(
        1, "cannot write the pid file x"
    )
    (root / "gone").mkdir()
    Start("--data-dir", str(made), before=there).assert_ready()


def test_symbolic_links(root: Path, made: Path) -> None:
    (root / "link").symlink_to(made)
    Start("--data-dir", str(root / "link")).assert_ready()
    (root / "loop").symlink_to("loop")
    Start("--data-dir", str(root / "loop")).assert_refused(1, "/loop: ")
    (root / "nowhere").symlink_to("/proc/nowhere")
    Start("--data-dir", str(root / "nowhere")).assert_refused(1, "/proc/nowhere")


def test_no_directory(root: Path) -> None:
    (root / "file").touch()
    Start("--data-dir", str(root / "file")).assert_refused(1, "/file: File exists")
    Start("--data-dir", str(root / "file/data")).assert_refused(1, "/file/data: Not a directory")
    Start("--data-dir", "/dev/null").assert_refused(1, "/dev/null")
    Start("--data-dir", "/proc/data").assert_refused(1, "/proc/data")


@pytest.mark.parametrize("text", ["a\nb", "a\x1bb", b"a\xffb", "\u202ea"])
def test_control_characters_are_refused(text: str | bytes) -> None:
    Start("--data-dir", text).assert_refused(78, "data_dir: must not contain control characters")


def test_unreadable_home(root: Path, made: Path) -> None:
    """Without a home directory, a data directory must be named, or else both MySQL and Redis."""
    who = NOBODY if IS_ROOT else ["env", "HOME=/nonexistent"]
    Start(before=who).assert_refused(78 if IS_ROOT else 1, "data_dir: .*no such user|data directory")
    Start("--data-dir", "~nobody-at-all/x").assert_refused(78, "data_dir: .*no such user")
    urls = ("--mysql-url", "mysql://u@127.0.0.1:1/d", "--redis-url", "redis://127.0.0.1:1")
    Start("-t", *urls, before=who).assert_refused(1, "Redis cannot be reached", "MySQL: Can't connect")


@pytest.mark.parametrize("kind", ["file", "fifo", "link", "directory", "root"])
def test_pid_file_replaces_nothing_else(root: Path, made: Path, kind: str) -> None:
    path, victim = root / "pid", root / "victim"
    victim.write_text("precious")
    if kind == "file":
        path.write_text("[server]")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(victim)
    elif kind == "directory":
        path.mkdir()
    else:
        path = Path("/")
    before = path.lstat()
    Start("--data-dir", str(made), "--pid", str(path)).assert_refused(1, f"{path}:? .*(move it|a directory)")
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert kind != "file" or path.read_text() == "[server]"
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("text", ["", "1\n", "999999999\n"])
def test_pid_file_that_an_earlier_start_left(root: Path, made: Path, text: str) -> None:
    """The file does not prevent a start, because its process id may be another program's by now."""
    path = root / "pid"
    path.write_text(text)
    Start("--data-dir", str(made), "--pid", str(path)).assert_ready()
    assert not path.exists()


def signalled(server: Server, signum: signal.Signals) -> None:
    """Send the server a signal as soon as it blocks signals, so that the signal is kept."""

    def holds_hup() -> bool:
        found = re.search(r"SigBlk:\t(\w+)", Path(f"/proc/{server.pid}/status").read_text())
        return found is not None and int(found[1], 16) & 1 << signal.SIGHUP - 1 != 0

    until(holds_hup, "HUP waits")
    server.send(signum)


@pytest.mark.parametrize(
    ("signum", "event"),
    [
        (signal.SIGHUP, "config.reload"),
        (signal.SIGUSR1, "log.reopen"),
        (signal.SIGTTIN, "worker.fork slot=2"),
    ],
)
def test_signal_is_obeyed_after_the_start(made: Path, signum: signal.Signals, event: str) -> None:
    with Server("-w", "1", data_dir=made, wait=False) as server:
        signalled(server, signum)
        server.wait_log("master.ready")
        server.wait_log(event)


def test_interrupt_leaves_no_trace(made: Path) -> None:
    with Server("-w", "1", data_dir=made, wait=False) as server:
        signalled(server, signal.SIGINT)
        assert server.wait() in (0, -signal.SIGINT)
        assert "Traceback" not in server.log()


def test_processes_that_cannot_be_started_are_waited_for(root: Path) -> None:
    """At the limit of processes the rest of the server goes on. The missing process is started later."""
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    account = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if IS_ROOT else {}
    if IS_ROOT:
        os.chown(root, STRANGER, STRANGER)
    with Server("-w", "2", data_dir=root, is_new=True, command=[*WHO[-1], *PROGRAM]) as server:

        def allow(processes: int) -> None:
            argv = ["prlimit", f"--pid={server.pid}", f"--nproc={processes}:"]
            subprocess.run(argv, check=True, **account)  # type: ignore[call-overload]

        allow(1)
        os.kill(server.workers()[1], signal.SIGKILL)
        server.wait_log(r"worker\.fork_failed slot=1 why=.*ulimit -u")
        Modern(server.port).join_in()
        allow(most)
        until(lambda: len(server.workers()) == 2, "the worker is there again")
        redis = server.service("redis-server")
        assert redis
        allow(1)
        os.kill(redis, signal.SIGKILL)
        server.wait_log(r"service\.start_failed service=redis")
        allow(most)
        until(lambda: server.service("redis-server") not in (None, redis), "Redis is there again")
        server.send(signal.SIGTERM)
        assert server.wait() == 0


def test_thread_that_cannot_be_started_is_no_defect_of_ours() -> None:
    code = """\
import resource
from forkchat.errors import StartError
from forkchat.runtime import start_thread
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    start_thread(print, "lane")
except StartError as error:
    print(error)
"""
    argv = [*WHO[-1], PROGRAM[0], "-c", code]
    root = Path(PROGRAM[1]).parent.parent
    said = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=True).stdout
    assert said.startswith("can't start new thread; raise the limit of processes")


def test_start_without_a_process_to_spare(root: Path) -> None:
    if IS_ROOT:
        os.chown(root, STRANGER, STRANGER)
    Start("--data-dir", str(root / "data"), before=[*WHO[-1], "prlimit", "--nproc=1"]).assert_refused(
        1, "cannot be started: Resource temporarily unavailable"
    )


STREAMS = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full", "</dev/null >&- 2>/dev/null"]


@pytest.mark.parametrize("streams", STREAMS)
def test_standard_streams(root: Path, made: Path, streams: str) -> None:
    """A server with closed or full standard streams starts and ends as usual.

    Only the master logs its end. No other file is opened as a standard stream.
    """
    config, log = root / "forkchat.toml", root / "log"
    config.write_text(f"[server]\nlog_file = '{log}'\n")
    start = Start("-c", str(config), "--data-dir", str(made), streams=streams, log=log)
    start.assert_ready()
    assert "log.trouble" not in start.text
    assert log.read_text().count("service.stop") == 2
    assert log.read_text().count("master.stop") == 1
    refused = Start("-c", str(config), "-b", "192.0.2.1", "--data-dir", str(made), streams=streams)
    assert refused.status == 1


@pytest.mark.parametrize("streams", [*STREAMS, "| true", "2>&1 | true"])
def test_standard_streams_of_what_only_speaks(streams: str) -> None:
    """The exit status is right, even where the output cannot be read."""
    for command, status in (("--help", 0), ("--version", 0), ("--nonsense", 2), ("-t -p x -b ''", 78)):
        line = f"set -o pipefail; {' '.join(PROGRAM)} {command} {streams}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), (command, done.stderr)


@pytest.mark.parametrize(
    ("host", "status", "why"),
    [
        ("", 78, "listen.host: must not be empty"),
        (" ", 78, "listen.host: must not be empty"),
        ("300.1.1.1", 1, "cannot listen on 300.1.1.1: "),
        ("127.0.0.1:6000", 1, "cannot listen on 127.0.0.1:6000: "),
        ("a..b", 1, "cannot listen on a..b: "),
        ("x" * 300, 1, "cannot listen on x+: "),
        ("192.0.2.1", 1, "cannot listen on 192.0.2.1: Cannot assign"),
        ("fe80::1", 1, "cannot listen on .*fe80::1: "),
        ("\x07", 78, "listen.host: must not contain control"),
    ],
)
def test_address(made: Path, host: str, status: int, why: str) -> None:
    Start("-b", host, "--data-dir", str(made)).assert_refused(status, why)


@pytest.mark.parametrize("host", ["*", "::", "localhost", "0.0.0.0", "::1"])
def test_addresses_of_both_families(made: Path, host: str) -> None:
    Start("-b", host, "--data-dir", str(made)).assert_ready()


def test_run_directory_that_an_earlier_start_left(made: Path) -> None:
    run = run_dir(made)
    run.mkdir(mode=0o000)
    (run / "data").symlink_to("/nonexistent")
    Start("--data-dir", str(made)).assert_ready()
    run.write_text("no directory")
    try:
        Start("--data-dir", str(made)).assert_refused(1, f"{run} must be a directory")
    finally:
        run.unlink()


if IS_ROOT:

    @pytest.mark.parametrize("mode", [0o000, 0o500, 0o777])
    def test_base_of_run_directories_is_mended(root: Path, mode: int) -> None:
        base = Path(f"/tmp/forkchat-{STRANGER}")
        base.mkdir(exist_ok=True)
        os.chown(base, STRANGER, STRANGER)
        base.chmod(mode)
        root.chmod(0o1777)
        Start("--data-dir", str(root / "data"), before=NOBODY).assert_ready()
        assert base.stat().st_mode & 0o7777 == 0o700
        base.rmdir()

    def test_base_of_run_directories_that_others_made(root: Path) -> None:
        base = Path(f"/tmp/forkchat-{STRANGER}")
        root.chmod(0o1777)
        start = ["--data-dir", str(root / "data")]
        shutil.rmtree(base, ignore_errors=True)  # left by an interrupted run
        base.mkdir()
        try:
            Start(*start, before=NOBODY).assert_refused(
                1, f"{base} must belong to user {STRANGER}, and belongs to user 0"
            )
        finally:
            base.rmdir()
        base.symlink_to(root)
        try:
            Start(*start, before=NOBODY).assert_refused(1, f"{base} must be a directory")
        finally:
            base.unlink()

    @pytest.mark.parametrize("how", ["owner", "mode", "parent"])
    def test_root_uses_no_directory_that_others_may_change(root: Path, how: str) -> None:
        data = root / "parent/data"
        data.mkdir(parents=True)
        if how == "mode":
            data.chmod(0o777)
        else:
            os.chown(data if how == "owner" else data.parent, STRANGER, STRANGER)
        Start("--data-dir", str(data)).assert_refused(1, "others may change, and .* user")
        assert list(data.iterdir()) == []

    @pytest.mark.parametrize("name", ["lock", "services.lock", "mysql.log", "redis.log"])
    @pytest.mark.parametrize("link", [os.symlink, os.link, lambda _, path: os.mkfifo(path)])
    def test_no_link_is_followed(root: Path, name: str, link: object) -> None:
        """The server follows no link, even in a directory of the services' user."""
        data, victim = root / "data", root / "victim"
        data.mkdir()
        shutil.chown(data, DEFAULT)
        victim.write_text("precious")
        victim.chmod(0o600)
        assert callable(link)
        link(victim, data / name)
        before = victim.stat()
        Start("--data-dir", str(data)).assert_refused(1, f"{name} must be a regular file")
        after = victim.stat()
        assert victim.read_text() == "precious"
        assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)

    @pytest.mark.parametrize("name", ["mysql.tmp", "mysql.new"])
    def test_no_link_to_a_directory_is_followed(root: Path, name: str) -> None:
        data, victim = root / "data", root / "victim"
        data.mkdir()
        victim.mkdir(mode=0o700)
        (victim / "precious").touch()
        (data / name).symlink_to(victim)
        Start("--data-dir", str(data)).assert_refused(1, f"{name} must be a directory")
        assert victim.stat().st_uid == 0
        assert (victim / "precious").exists()

    @pytest.fixture
    def small_disk(root: Path) -> Iterator[Path]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=711", "tmpfs", root], check=True)
        yield root
        subprocess.run(["umount", root], check=True)

    def test_full_and_read_only_disks(small_disk: Path) -> None:
        Start("--data-dir", str(small_disk / "data")).assert_refused(1, "cannot initialise MariaDB in ")
        other = small_disk / "other"  # as left by a start before the disk was full
        (other / "mysql").mkdir(parents=True)
        (other / "lock").write_text("1\n")
        filler = (small_disk / "filler").open("wb", buffering=0)
        with pytest.raises(OSError, match="No space"), filler:
            while True:
                filler.write(bytes(1 << 16))
        Start("--data-dir", str(small_disk / "data")).assert_refused(1, "No space left on device|initialise")
        Start("--data-dir", str(other)).assert_refused(
            1, "mariadb ended while it started; its disk has .* left"
        )
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        Start("--data-dir", str(small_disk / "new")).assert_refused(1, "Read-only file system")
