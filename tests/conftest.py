"""Fixtures and settings of all tests: a server, a tmux, and hypothesis."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.pane import Tmux, tmux_server
from tests.server import Server
from tests.talk import UNLIMITED

# Reset these signals, because child processes inherit ignored ones.
# `nohup` ignores HUP, and a background job of the shell ignores INT.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# Disable hypothesis's deadlines, because on a busy machine any code is slow.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# Hash passwords at a thirtieth of the usual cost, because most tests are not about hashing.
Server.passwords = "[passwords]\nmemory = 1024\ntime = 1\n"


#: The longest test files, in the order of their start.
#: They start first, because at the end they would run with the other cores idle.
#: Files with a cluster are kept apart, because side by side they would overload the machine.
_FIRST = (
    *("test_broken", "test_screen_faults", "test_failover", "test_faults", "test_chatcli", "test_scripts"),
    *("test_flow", "test_network", "test_start", "test_accounts", "test_own_servers", "test_screen"),
    *("test_hosts", "test_arbiter", "test_errors", "test_cluster_start", "test_fuzz", "test_sweep"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: at for at, name in enumerate(_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server("-w", "4", config=UNLIMITED) as server:
        yield server


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    with tmux_server() as found:
        yield found
