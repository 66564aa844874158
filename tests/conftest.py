"""The server that most tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import Server
from tests.talk import UNLIMITED


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server("-w", "4", config=UNLIMITED) as server:
        yield server
