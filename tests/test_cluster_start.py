"""A cluster that cannot run says why, and leaves nothing half-running."""

from __future__ import annotations

import os
import pwd
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cluster import Cluster
from tests.server import ROOT
from tests.talk import Modern


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a b", "blanks"),
        ("a%20b", "one of %"),
        ("a'b", "one of %"),
        ("a#b", "one of %"),
        ("x" * 91, "too long"),
    ],
)
def test_a_path_that_cannot_be(name: str, says: str) -> None:
    environment = os.environ | {"CLUSTER": f"/{name}"}
    ended = subprocess.run(
        [ROOT / "bin/cluster"], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert re.fullmatch(rf"cluster: .*{says}.*: use another CLUSTER=...\n", ended.stderr), ended.stderr


def test_no_home() -> None:
    """Without HOME, the home directory is the one in the user database."""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_DATA_HOME")}
    (line,) = re.findall(r"^ *home=\$\{XDG.*?\}(?= )", (ROOT / "bin/cluster").read_text(), re.MULTILINE)
    shell = ["bash", "-euc", f"{line}; echo $home"]
    said = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True).stdout
    assert said == f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/share\n"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        cluster = Cluster()
        stack.push(cluster.__exit__)
        yield cluster


@pytest.mark.parametrize("who", ["nginx", "host"])
def test_a_port_is_taken(cluster: Cluster, who: str) -> None:
    address = ("127.0.0.1", cluster.port) if who == "nginx" else ("127.0.0.3", cluster.host_port)
    with socket.create_server(address):
        started = cluster.start()
    assert started.returncode == 1
    assert f"something listens at {address[0]}:{address[1]} already" in started.stderr
    assert cluster.pid() == 0


def test_nginx_has_no_stream_module(cluster: Cluster) -> None:
    cluster.edit("nginx.conf", "ngx_stream_module.so", "ngx_no_such_module.so")
    started = cluster.start()
    assert started.returncode == 1
    assert "ngx_no_such_module.so" in started.stderr
    assert "install libnginx-mod-stream" in started.stderr
    assert cluster.pid() == 0


def test_what_a_host_says_that_cannot_start_is_passed_on(cluster: Cluster) -> None:
    """The cluster's start shows why a host cannot start.

    The host is tried again, and runs as soon as its configuration is corrected.
    """
    cluster.edit("cluster.toml", "[listen]", "[limits]\nmessage_rate = 'often'\n[listen]")
    started = cluster.start()
    assert started.returncode == 1
    assert "forkchat-a: " in started.stderr
    assert "message_rate" in started.stderr
    assert "RUNNING" not in cluster.control("status", "forkchat-a")
    cluster.edit("cluster.toml", "'often'", "100")
    started = cluster.start()
    assert started.returncode == 0, started.stderr


def test_one_host_cannot_listen(cluster: Cluster) -> None:
    """The start names the host that cannot listen. The other host serves."""
    cluster.edit("supervisord.conf", "-b 127.0.0.3", "-b 192.0.2.1")
    started = cluster.start()
    assert started.returncode == 1
    assert "forkchat-b: forkchat: cannot listen on 192.0.2.1: Cannot assign" in started.stderr
    assert "RUNNING" not in cluster.control("status", "forkchat-b")
    assert "RUNNING" in cluster.control("status", "forkchat-a")
    assert Modern(cluster.port).join_in().name


def test_a_host_runs_and_does_not_answer(cluster: Cluster) -> None:
    """The start names a host that does not answer, because it asks each host by itself.

    The other host answers, through nginx too.
    """
    cluster.edit("supervisord.conf", "-b 127.0.0.3", "-b 127.0.0.3 --redis-url redis://127.0.0.1:1")
    started = cluster.start()
    assert started.returncode == 1
    assert "forkchat-b: forkchat: Redis cannot be reached" in started.stderr
    assert "forkchat-a" not in started.stderr
    assert "The cluster runs" not in started.stdout
