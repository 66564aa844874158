"""Random inputs for the parsers and for a server. `make fuzz` runs more of them."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from forkchat.wire import msgid as m
from tests.fuzz.protocol import Fuzzer
from tests.server import ROOT, Server, children
from tests.talk import UNLIMITED, Modern


def test_nothing_but_refusals_comes_of_random_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.messages", "-runs=30000", f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 30000 runs" in done.stderr


def _arrive(port: int) -> Modern:
    client = Modern(port)
    client.deadline(60)  # the fuzzer's passwords are still being hashed
    return client.arrive()


def test_the_server_serves_on_whatever_it_is_sent() -> None:
    seed = random.randrange(2**32)
    with Server("-w", "2", config=UNLIMITED) as server:
        workers = children(server.pid).keys()
        asyncio.run(Fuzzer(server.port, seed).run(10_000))
        with ExitStack() as connected:
            li, bo = (connected.enter_context(_arrive(server.port)) for _ in range(2))
            li.done(m.ONE_CHAT, toid=bo.id, msg="still here")
            assert bo.push(m.ONE_CHAT, id=li.id)["msg"] == "still here"
        assert children(server.pid).keys() == workers, f"seed {seed}"
        log = server.log()
        assert "Traceback" not in log, f"seed {seed}: {log[log.index('Traceback') - 500 :][:3000]}"
