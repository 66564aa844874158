"""The command `forkchat`: its output and its exit status."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forkchat import __version__
from forkchat.config import Config
from forkchat.process.embedded import with_urls
from tests.server import Server, children, forkchat, make_data_dir


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1") as server:
        yield server


def urls(server: Server) -> Config:
    return with_urls(Config().with_value("server.data_dir", str(server.data_dir)))


def mysql_url(server: Server, user: str = "root", database: str = "forkchat") -> str:
    return urls(server).mysql.url.replace("root@/forkchat", f"{user}@/{database}")


def redis_url(server: Server) -> str:
    return urls(server).redis.url


def test_version() -> None:
    result = forkchat("--version")
    assert (result.returncode, result.stdout) == (0, f"forkchat {__version__}\n")


def test_help_names_every_flag() -> None:
    text = forkchat("--help").stdout
    for flag in (
        "-c",
        "-w",
        "-b",
        "-p",
        "--data-dir",
        "--pid",
        "--mysql-url",
        "--redis-url",
        "-t",
        "--version",
    ):
        assert f"  {flag}" in text


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = forkchat("-p", str(port), "--mysql-url", "mysql://h/d", "--redis-url", "redis://h")
    assert result.returncode == 1
    said = f"forkchat: cannot listen on port {port} of 127.0.0.1: Address already in use"
    assert result.stderr == f"{said}; `ss -ltnp` says by what, and -p takes another port\n"


def test_a_host_that_is_none_is_named() -> None:
    result = forkchat("-b", "no.such.host.invalid", "--mysql-url", "mysql://h/d", "--redis-url", "redis://h")
    assert result.returncode == 1
    assert result.stderr.startswith("forkchat: cannot listen on no.such.host.invalid: ")
    assert result.stderr.count("\n") == 1


def test_t_finds_a_bad_configuration(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[listen]\nport = -1")
    result = forkchat("-t", "-c", str(path))
    assert (result.returncode, result.stdout) == (78, "")


def test_t_starts_tests_and_stops_private_services() -> None:
    data_dir = make_data_dir()
    result = forkchat("-t", "--data-dir", str(data_dir))
    assert result.returncode == 0, result.stderr
    assert "schema 0; the next start brings it to " in result.stdout
    assert "Redis" in result.stdout
    fcntl.flock(os.open(data_dir / "services.lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    shutil.rmtree(data_dir)


def test_t_tests_the_services_of_a_live_master(server: Server) -> None:
    result = forkchat("-t", "--data-dir", str(server.data_dir))
    assert result.returncode == 0, result.stderr
    assert f"process id {server.pid}: its services are tested" in result.stdout
    assert re.search(r"ok, schema \d+$", result.stdout, re.MULTILINE)


def test_t_changes_no_database_of_ones_own(server: Server) -> None:
    for _ in range(2):
        result = forkchat(
            "-t", "--mysql-url", mysql_url(server, database="other"), "--redis-url", redis_url(server)
        )
        assert result.returncode == 0, result.stderr
        assert "schema 0; the next start brings it to " in result.stdout


def test_t_says_what_cannot_be_reached(server: Server) -> None:
    started = time.monotonic()
    result = forkchat("-t", "--mysql-url", mysql_url(server), "--redis-url", "redis://:geheim@127.0.0.1:1/0")
    assert time.monotonic() - started < 5
    assert result.returncode == 1
    assert re.fullmatch(r"forkchat: Redis cannot be reached: .*127\.0\.0\.1:1.*\n", result.stderr)
    result = forkchat("-t", "--mysql-url", "mysql://u:geheim@127.0.0.1:1/d", "--redis-url", redis_url(server))
    assert result.returncode == 1
    assert re.fullmatch(r"forkchat: MySQL: Can't connect .*127\.0\.0\.1.*\n", result.stderr)


def test_t_says_who_is_refused(server: Server) -> None:
    result = forkchat(
        "-t", "--mysql-url", mysql_url(server, user="u:geheim"), "--redis-url", redis_url(server)
    )
    assert result.returncode == 1
    assert re.fullmatch(r"forkchat: MySQL: Access denied for user 'u'@.*\n", result.stderr)
    assert "geheim" not in result.stdout + result.stderr
    refused = redis_url(server).replace("unix://", "unix://u:geheim@")
    result = forkchat("-t", "--mysql-url", mysql_url(server), "--redis-url", refused)
    assert result.returncode == 1
    assert result.stderr.startswith("forkchat: Redis refuses the user or password")
    assert "geheim" not in result.stdout + result.stderr


@pytest.mark.parametrize("rest", ["u:ge/heim@h/d", "u:ge\uff1fheim@h/d", "u:12?heim=1@h/d", "u:[ge]heim@h/d"])
def test_a_url_that_cannot_be_read(rest: str) -> None:
    result = forkchat(
        "-t", env={"FORKCHAT_MYSQL_URL": f"mysql://{rest}", "FORKCHAT_REDIS_URL": f"redis://{rest}"}
    )
    assert result.returncode == 1
    assert re.fullmatch(r"forkchat: Redis: its URL .+\nforkchat: MySQL: its URL .+\n", result.stderr)
    assert "heim" not in result.stderr


def test_urls_in_the_environment_start_no_private_services(server: Server) -> None:
    env = {"FORKCHAT_MYSQL_URL": mysql_url(server), "FORKCHAT_REDIS_URL": redis_url(server)}
    with Server("-w", "1", env=env) as other:
        assert list(children(other.pid)) == list(other.workers().values())
        assert not (other.data_dir / "lock").exists()
        other.send(signal.SIGTERM)
        assert other.wait() == 0
