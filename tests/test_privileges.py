"""Root starts the server, and only the master stays root."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forkchat.process.account import DEFAULT
from forkchat.process.embedded import run_dir
from forkchat.wire import msgid as m
from tests.doing import do_everything
from tests.server import ROOT, Server, children, forkchat, make_data_dir, readable_by_all, until
from tests.talk import PASSWORD, UNLIMITED, Modern

root_alone = pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges to give up")


@pytest.fixture
def data() -> Iterator[Path]:
    path = make_data_dir()
    yield path
    shutil.rmtree(run_dir(path), ignore_errors=True)
    shutil.rmtree(path)


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


def expect_unprivileged(pid: int, user: str) -> None:
    entry, found = pwd.getpwnam(user), status(pid)
    assert found["Uid"] == [str(entry.pw_uid)] * 4, found["Name"]
    assert found["Gid"] == [str(entry.pw_gid)] * 4, found["Name"]
    assert found["Groups"] == []
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(found[kind][0], 16) == 0, (found["Name"], kind)


def low_port() -> int:
    """Return a free port that only root may bind."""
    for port in range(600, 1024):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no port below 1024 is free")


class Logging(Server):
    """A server whose log file and configuration file only root may open."""

    def __enter__(self) -> Logging:
        own = self.data_dir / "own.log"
        own.touch(0o600)
        self._config += f"[server]\nlog_file = '{own}'\n"
        self._wait = False
        super().__enter__()
        self.log_path = own
        try:
            self.config_path.chmod(0o600)
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self


@root_alone
def test_only_the_master_is_root() -> None:
    port = low_port()
    with Logging("-w", "2", "-p", str(port), config="[limits]\ntext = 100\n") as server:
        assert server.port == port
        assert status(server.pid)["Uid"] == ["0"] * 4
        family = children(server.pid)
        assert len(family) == 4, family
        for pid in family:
            expect_unprivileged(pid, DEFAULT)
        li, bo = Modern(port).join_in(), Modern(port).join_in()
        assert li.ask(m.ONE_CHAT, toid=bo.id, msg="x" * 50, cid="1")["errno"] == 0
        _reload(server, li, bo.id)
        _rotate(server)
        os.kill(server.workers()[1], signal.SIGKILL)  # the next worker has the same user
        until(lambda: len(server.workers()) == 2, "there are two workers again")
        service = server.service("redis-server")
        assert service
        os.kill(service, signal.SIGKILL)
        until(lambda: server.service("redis-server") not in (None, service), "Redis is started again")
        for pid in children(server.pid):
            until(lambda pid=pid: status(pid)["Uid"][0] != "0", "it has become another user")  # type: ignore[misc]
            expect_unprivileged(pid, DEFAULT)


def _reload(server: Server, li: Modern, to: int) -> None:
    server.config_path.write_text(server.config_path.read_text().replace("text = 100", "text = 10"))
    assert server.config_path.stat().st_mode & 0o777 == 0o600
    server.send(signal.SIGHUP)
    until(lambda: server.log().count("worker.reloaded") == 2, "both workers have the configuration")
    assert li.ask(m.ONE_CHAT, toid=to, msg="x" * 50, cid="2")["errno"] == 9


def _rotate(server: Server) -> None:
    moved = server.log_path.with_suffix(".1")
    server.log_path.rename(moved)
    server.send(signal.SIGUSR1)
    until(server.log_path.exists, "there is a new log file")
    for slot, pid in server.workers().items():
        os.kill(pid, signal.SIGHUP)
        until(lambda slot=slot: f"worker{slot} worker.reloaded" in server.log(), "the worker writes there")  # type: ignore[misc]


@root_alone
def test_a_program_that_its_user_cannot_read(tmp_path: Path) -> None:
    """The server works from a directory closed to its user, such as a checkout in root's home directory."""
    tmp_path.chmod(0o700)
    for name in ("bin", "forkchat", "sql", "setup.py"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    with Server("-w", "1", config=UNLIMITED, command=[str(tmp_path / "bin/forkchat")]) as server:
        do_everything(server.port)
        assert "Traceback" not in server.log()


def test_workers_die_with_a_killed_master() -> None:
    with Server("-w", "2") as server:
        server.kill()  # `kill` waits for all children to end


def earlier(data: Path) -> tuple[str, str]:
    """Run a server on `data` as earlier versions did, and run `forkchat -t` on it meanwhile.

    Return a user's name, and the key of a conversation of theirs.
    """
    config = UNLIMITED.replace("[server]\n", "[server]\nuser = 'mysql'\n")
    with Server("-w", "1", config=config, data_dir=data, is_new=True) as server:
        for pid in children(server.pid):
            expect_unprivileged(pid, "mysql")
        tested = forkchat("--data-dir", str(data), "-t")
        assert tested.returncode == 0, tested.stderr
        assert "its services are tested" in tested.stdout
        li, bo = Modern(server.port).join_in(), Modern(server.port).join_in()
        return li.name, li.done(m.ONE_CHAT, toid=bo.id, msg="kept", cid="1")["conv"]


@root_alone
def test_an_upgrade_keeps_accounts_and_messages(data: Path) -> None:
    """The services of earlier versions ran as `mysql`. Only their own files change the owner."""
    secret = data / "secret"
    name, conv = earlier(data)
    secret.write_text("root's")
    link, other_name = data / "mysql/link", data / "mysql/other-name"
    link.symlink_to(secret)
    os.chown(link, pwd.getpwnam("mysql").pw_uid, -1, follow_symlinks=False)
    os.link(secret, other_name)
    for _ in range(2):
        with Server("-w", "1", config=UNLIMITED, data_dir=data) as server:
            for pid in children(server.pid):
                expect_unprivileged(pid, DEFAULT)
            again = Modern(server.port)
            assert again.login(name=name, password=PASSWORD)["errno"] == 0
            (message,) = again.done(m.FETCH, conv=conv, after=0)["msgs"]
            assert message["msg"] == "kept"
    assert secret.stat().st_uid == 0
    other_name.unlink()
    owners = {path.lstat().st_uid for path in (data / "mysql").rglob("*")}
    assert owners == {pwd.getpwnam(DEFAULT).pw_uid}


@root_alone
def test_the_set_up_makes_the_user_once() -> None:
    entry = pwd.getpwnam(DEFAULT)
    assert (entry.pw_shell, entry.pw_dir) == ("/usr/sbin/nologin", "/nonexistent")
    setup = (ROOT / "bin/setup").read_text()
    (function,) = re.findall(r"^make_user\(\) \{\n.*?^\}", setup, re.MULTILINE | re.DOTALL)
    argv = ["bash", "-euc", f"{function}\nmake_user; make_user"]
    again = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@root_alone
@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("nobody-at-all", "there is no user `nobody-at-all`"),
        ("root", "which is root: name a user without privileges"),
    ],
)
def test_a_user_that_cannot_be(tmp_path: Path, user: str, says: str) -> None:
    file = tmp_path / "forkchat.toml"
    file.write_text(f"[server]\nuser = '{user}'\n")
    for arguments in ([], ["-t"]):
        ended = forkchat("-c", str(file), "-p", "0", *arguments)
        assert ended.returncode == 1
        assert says in ended.stderr


def test_others_than_root_become_nobody_else(data: Path) -> None:
    file = data / "forkchat.toml"
    file.write_text(f"[server]\nuser = 'mysql'\ndata_dir = '{data}'\n")
    os.chmod(file, 0o644)
    become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    with readable_by_all() as program:
        argv = [*become, *program, "-c", str(file), "-p", "0"]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "[server] user is mysql, and root alone can become that" in ended.stderr


@root_alone
def test_a_log_file_that_workers_cannot_reach(data: Path) -> None:
    hidden = data / "hidden"
    hidden.mkdir(0o700)
    file = data / "forkchat.toml"
    file.write_text(f"[server]\nlog_file = '{hidden}/forkchat.log'\ndata_dir = '{data}'\n")
    ended = forkchat("-c", str(file), "-p", "0")
    assert ended.returncode == 1
    assert f"cannot write to {hidden}/forkchat.log: let it pass through the directories" in ended.stderr
