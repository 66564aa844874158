"""Tests of the private MariaDB and Redis.

They start and end with the master, and no two masters share them.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from forkchat.config import Config
from forkchat.process.embedded import run_dir, with_urls
from forkchat.store.connection import connect
from tests.server import Server, children, forkchat, is_alive, make_data_dir, until


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = make_data_dir()
    yield path
    shutil.rmtree(run_dir(path), ignore_errors=True)
    shutil.rmtree(path)


def mysql_url(data_dir: Path) -> str:
    return with_urls(Config().with_value("server.data_dir", str(data_dir))).mysql.url


def query(data_dir: Path, text: str) -> object:
    with closing(connect(mysql_url(data_dir))) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchone()


def test_a_killed_master_takes_all_with_it_and_nothing_is_lost(data_dir: Path) -> None:
    with Server("-w", "2", data_dir=data_dir) as server:
        query(data_dir, "INSERT INTO user (name, password) VALUES ('li', 'x')")
        family = children(server.pid)
        assert len(family) == 4
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not any(map(is_alive, family)), "all are gone", 3.0)
    with Server("-w", "1", data_dir=data_dir) as server:
        assert query(data_dir, "SELECT name FROM user") == ("li",)
        server.send(signal.SIGTERM)
        assert server.wait() == 0


def test_a_second_start_names_the_first(data_dir: Path) -> None:
    with Server("-w", "1", data_dir=data_dir) as server:
        result = forkchat("--data-dir", str(data_dir), "-p", "0")
        assert result.returncode == 1
        assert (
            result.stderr == f"forkchat: {data_dir} is in use by the forkchat with process id {server.pid}\n"
        )


def test_services_hear_on_sockets_of_a_private_directory_alone(data_dir: Path) -> None:
    with Server("-w", "1", data_dir=data_dir) as server:
        run = Path(re.search(r"unix_socket=(.*)/mysql\.sock", mysql_url(data_dir))[1])  # type: ignore[index]
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        assert {path.name for path in run.glob("*.sock")} == {"mysql.sock", "redis.sock"}
        assert query(data_dir, "SELECT @@port, @@skip_networking")[1] == 1  # type: ignore[index]
        sockets = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        for name in ("mariadbd", "redis-server"):
            pid = server.service(name)
            assert pid
            assert os.getsid(pid) == pid
            assert Path(f"/proc/{pid}").stat().st_uid == (run.stat().st_uid)
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                inode = re.match(r"socket:\[(\d+)]", os.readlink(fd))
                assert not inode or f" {inode[1]} " not in sockets
            assert str(data_dir / "services.lock") in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir())
        assert str(data_dir / "lock") not in map(
            os.readlink, Path(f"/proc/{server.workers()[1]}/fd").iterdir()
        )


@pytest.mark.parametrize("name", ["mariadbd", "redis-server"])
def test_a_killed_service_is_started_again_while_workers_go_on(data_dir: Path, name: str) -> None:
    with Server("-w", "1", data_dir=data_dir) as server:
        workers, old = server.workers(), server.service(name)
        assert old
        os.kill(old, signal.SIGKILL)
        until(lambda: server.service(name) not in (None, old), "it is back", 3.0)
        until(lambda: forkchat("-t", "--data-dir", str(data_dir)).returncode == 0, "both answer")
        assert server.workers() == workers


def test_services_left_over_are_waited_for(data_dir: Path) -> None:
    left_over = os.open(data_dir / "services.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(left_over, fcntl.LOCK_EX)
    with Server("-w", "1", data_dir=data_dir, wait=False) as server:
        server.wait_log(r"services\.left_over")
        assert children(server.pid) == {}
        os.close(left_over)
        server.wait_ready()


def test_an_interrupted_initialisation_is_redone(data_dir: Path) -> None:
    with Server("-w", "1", data_dir=data_dir, wait=False, is_new=True) as server:
        until((data_dir / "mysql.new/ibdata1").exists, "it has begun")
        server.kill()
        assert not (data_dir / "mysql").exists()
    with Server("-w", "1", data_dir=data_dir, is_new=True):
        assert not (data_dir / "mysql.new").exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_services_start_ends_them(data_dir: Path, signum: signal.Signals) -> None:
    with Server("-w", "1", data_dir=data_dir, wait=False) as server:
        server.wait_log(r"service\.start service=mariadb")
        server.send(signum)
        assert server.wait() == 0
        assert logged_stops(server) == 2
        assert "worker.fork" not in server.log()


def logged_stops(server: Server) -> int:
    return len(re.findall(r"service\.stop", server.log()))


def test_a_service_that_cannot_start_is_named_at_once(data_dir: Path) -> None:
    (data_dir / "mysql").write_text("this is no directory")
    with Server("-w", "1", data_dir=data_dir, wait=False) as server:
        assert server.wait(5) == 1
        assert (
            f"forkchat: the private mariadb ended while it started; see {data_dir}/mysql.log" in server.log()
        )


@pytest.mark.skipif(os.getuid() != 0, reason="the services run as root's mysql for root alone")
def test_root_is_told_of_a_directory_that_the_services_cannot_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    result = forkchat("--data-dir", str(tmp_path / "data"), "-p", "0")
    assert result.returncode == 1
    assert "cannot get to" in result.stderr and "chmod o+x" in result.stderr


def test_a_data_dir_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = forkchat("--data-dir", str(tmp_path / "file/data"), "-p", "0")
    assert result.returncode == 1
    assert result.stderr.startswith(f"forkchat: cannot use the data directory {tmp_path}/file/data: ")
    assert result.stderr.count("\n") == 1
