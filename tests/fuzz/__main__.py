"""`make fuzz`: large numbers of random inputs, first for the parsers and then for a running server."""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys

from tests.fuzz.protocol import Fuzzer
from tests.server import Server, children
from tests.talk import UNLIMITED


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs of the parsers (%(default)s)")
    parser.add_argument("--requests", type=int, default=200_000, help="inputs of the server (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    messages = [sys.executable, "-m", "tests.fuzz.messages", f"-runs={args.runs}", f"-seed={args.seed}"]
    done = subprocess.run(messages, capture_output=True, text=True, check=False)
    what = done.stderr[-3000:] if done.returncode else "no crash"
    print(f"parsers: {args.runs} inputs, {what}", flush=True)
    crashes, inputs = attack(args.seed, args.requests)
    print(f"server: {inputs} inputs, {crashes or 'no crash, no traceback'}")
    return 1 if crashes or done.returncode else 0


def attack(seed: int, requests: int) -> tuple[str, int]:
    """Fuzz a private server; return the failure, "" if there was none, and the number of inputs."""
    with Server("-w", "2", config=UNLIMITED) as server:
        workers = children(server.pid).keys()
        fuzzer = Fuzzer(server.port, seed)
        asyncio.run(fuzzer.run(requests))
        log = server.log()
        if "Traceback" in log:
            return log[log.index("Traceback") - 500 :][:3000], fuzzer.inputs
        died = workers - children(server.pid).keys()
        return f"workers died: {sorted(died)}" if died else "", fuzzer.inputs


if __name__ == "__main__":
    sys.exit(main())
