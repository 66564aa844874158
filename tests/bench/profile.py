"""A profile of a worker's time: `flame.svg`, of stored messages with sixteen in flight in each pair."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from client.load import roles
from client.load.crew import Crew
from client.load.speaker import Play
from tests.bench.accounts import make_accounts
from tests.server import ROOT, Server
from tests.talk import QUIET

_PEOPLE, _IN_FLIGHT, _SECONDS = 200, 16, 10


def run() -> None:
    file = ROOT / "flame.svg"
    spy = Path(sys.executable).with_name("py-spy")
    with Server("-w", "2", config=QUIET) as server:
        people = roles.pairs(make_accounts(server, _PEOPLE), [("127.0.0.1", server.port)])
        # Record only threads that hold the interpreter's lock, because waiting threads cost nothing.
        command = [
            str(spy),
            "record",
            "--gil",
            "-d",
            str(_SECONDS),
            "-o",
            str(file),
            "-p",
            str(server.workers()[1]),
        ]
        with Crew([people]) as crew:
            crew.play(
                Play(_SECONDS + 2.0, in_flight=_IN_FLIGHT),
                lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
            )
    print(f"{file}: open it in a browser")
