"""An address that forwards to the port that a file holds: `python -m tests.faults.gateway HOST PORT FILE`.

Each new connection reads the file. Existing connections keep their target.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.replication import Forwarder


class Gateway(Forwarder):
    def __init__(self, address: tuple[str, int], file: Path):
        self._file = file
        super().__init__(0, address)

    def leads_to(self) -> int:
        return int(self._file.read_text())


if __name__ == "__main__":
    host, port, path = sys.argv[1:]
    with Gateway((host, int(port)), Path(path)):
        signal.pause()
