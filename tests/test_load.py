"""`python -m client.load`, which measures the load that a server carries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.server import ROOT, Server
from tests.talk import UNLIMITED


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config=UNLIMITED) as server:
        yield server


def load(port: int, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client.load", f"127.0.0.1:{port}", "--seconds", "0.5", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "options",
    [
        ["--people", "8", "--in-flight", "4"],
        ["--people", "6", "--processes", "1", "--rate", "200"],
        ["--people", "4", "--ephemeral"],
        ["--people", "4", "--group"],
    ],
)
def test_all_that_is_said_comes(server: Server, options: list[str]) -> None:
    done = load(server.port, *options)
    assert done.returncode == 0, done.stderr
    rate = re.search(r"^([0-9,]+) deliveries a second$", done.stdout, re.MULTILINE)
    assert rate and int(rate[1].replace(",", "")) > 0
    assert re.search(r"^from one to the other: p50 [0-9.]+ ms, p99 [0-9.]+ ms$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("\n0 did not come\n")


def test_a_server_with_limits() -> None:
    with Server("-w", "1", config="[limits]\nregister_rate = 1\n") as server:
        done = load(server.port, "--people", "4")
    assert done.returncode == 1
    assert "set the limits of this server to 0" in done.stderr


def test_nobody_there() -> None:
    done = load(1)
    assert (done.returncode, done.stderr[:6]) == (1, "load: ")
