"""What tests share: a server, terminals, and settings of hypothesis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.pane import Tmux, tmux_server
from tests.server import Server
from tests.talk import UNLIMITED

# On a busy machine everything is slow: that is no property of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


#: Files whose tests take up to half a minute each: begun last, they would be alone on the machine at the end.
_LONG = ("test_broken", "test_faults", "test_fuzz", "test_cluster_start", "test_cluster", "test_network")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in _LONG)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server("-w", "4", config=UNLIMITED) as server:
        yield server


@pytest.fixture(scope="module")
def tmux() -> Iterator[Tmux]:
    with tmux_server() as found:
        yield found
