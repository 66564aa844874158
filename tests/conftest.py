"""What tests share: a server, terminals, and settings of hypothesis."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.pane import Tmux, tmux_server
from tests.server import Server
from tests.talk import UNLIMITED

# What we start inherits what we ignore: `nohup` ignores HUP, a job in the background INT.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine everything is slow: that is no property of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# A thirtieth of what hashes cost: most tests are of something else.
Server.passwords = "[passwords]\nmemory = 1024\ntime = 1\n"


#: The longest files in the order in which they are begun: last, they would have the machine for themselves at
#: the end; side by side, those with a cluster would have too little of it.
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
