"""Tests of connections to Redis, made by redis-py. They check what the rest of the bus relies on."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest
import redis.exceptions

from forkchat.bus.check import check
from forkchat.bus.connect import connect, socket_of
from forkchat.errors import StartError
from tests.server import until


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Path of the socket of a Redis with a password."""
    path = tmp_path_factory.mktemp("redis") / "redis.sock"
    argv = [
        "redis-server",
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--requirepass",
        "ge heim",
        "--save",
        "",
    ]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        until(lambda: _listens(path), "Redis listens")
        yield path
    finally:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def test_a_connection_is_authenticated_and_speaks_resp3(path: Path) -> None:
    connection, run = connect(f"unix://:ge%20heim@{path}?db=1", timeout=3)
    assert socket_of(connection) is connection._sock
    assert socket_of(connection).gettimeout() == 3
    connection.send_command("CLIENT", "INFO")
    info = connection.read_response().decode()
    assert " name=forkchat " in info and "resp=3" in info and " db=1 " in info
    connection.send_command("INFO", "server")
    assert f"\r\nrun_id:{run}" in connection.read_response().decode() and len(run) > 8
    connection.disconnect()


def test_its_socket_can_be_read_without_redis_py(path: Path) -> None:
    connection, _ = connect(f"unix://:ge%20heim@{path}", timeout=3)
    sock = socket_of(connection)
    assert isinstance(sock, socket.socket)
    sock.setblocking(False)
    sock.sendall(b"SUBSCRIBE c\r\n")
    reader = hiredis.Reader()

    def reply() -> object:
        try:
            reader.feed(sock.recv(4096))
        except BlockingIOError:
            return None
        return reader.gets()

    assert until(reply, "a reply") == hiredis.PushNotification([b"subscribe", b"c", 1])
    connection.disconnect()


def test_a_call_is_bounded_and_not_repeated(path: Path) -> None:
    connection, _ = connect(f"unix://:ge%20heim@{path}", timeout=0.2)
    started = time.monotonic()
    connection.send_command("BLPOP", "nothing", 1)
    with pytest.raises(redis.exceptions.TimeoutError):
        connection.read_response()
    assert time.monotonic() - started < 0.9


def test_check_says_the_version_or_what_is_wrong(path: Path) -> None:
    assert check(f"unix://:ge%20heim@{path}", 0).split(".")[0].isdecimal()
    for url in (f"unix://{path}", f"unix://:geheim@{path}", f"unix://x:geheim@{path}"):
        with pytest.raises(StartError, match=r"refuses the user or password|asks for a password") as caught:
            check(url, 0)
        assert "geheim" not in str(caught.value)
    for url in ("redis://:geheim@127.0.0.1:1", f"unix://{path}.none"):
        with pytest.raises(StartError, match="cannot be reached") as caught:
            check(url, 0)
        assert "geheim" not in str(caught.value)
    with pytest.raises(StartError, match="URL cannot be read") as caught:
        check("redis://u:geh/eim@host", 0)
    assert "geh" not in str(caught.value)


def test_check_waits_until_its_deadline(path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(StartError):
        check(f"unix://{path}.none", started + 0.4)
    assert 0.4 <= time.monotonic() - started < 2
