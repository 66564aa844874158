"""The error sweep: each statement, command and script fails in each way, and the server must recover.

`python -m tests.sweep` sweeps all. `--minutes 5` sweeps a part, chosen by `--seed`.
`--only KIND --fault F --k 2` is one strike. Prints a line for each breach, and a table at the end.
Exits with 1 if there was a breach.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from contextlib import ExitStack

from tests.server import Server
from tests.sweep.sweep import Sweep, print_kinds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="no more waves after so long; 0: all")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--wave", type=int, default=10, help="strikes of one wave")
    parser.add_argument("--worlds", type=int, default=3, help="waves at the same time")
    parser.add_argument("--only", default="", help="kinds that begin so")
    parser.add_argument("--fault", default="", help="this fault alone")
    parser.add_argument("--k", type=int, default=0, help="this occurrence alone")
    parser.add_argument("--seconds", type=float, default=-1.0, help="all occurrences for so long")
    parser.add_argument("--list", action="store_true", help="the kinds that were seen, and no strikes")
    args = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # else it warns of writes to clients cut off
    print(f"seed {args.seed}", flush=True)
    with ExitStack() as stack:
        owners = [stack.enter_context(Server("-w", "1")) for _ in range(args.worlds)]
        sweep = Sweep(owners, args.seed, args.wave)
        if args.list:
            return asyncio.run(print_kinds(sweep))
        asyncio.run(sweep.run(args.minutes * 60, args.only, args.fault, args.k, args.seconds))
    print(sweep.table())
    return 0 if sweep.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
