"""`python -m tests.spoiled`: spoil each frame that a server sends, and check the client's reaction."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.server import Server
from tests.spoiled.proxy import Strike
from tests.spoiled.sweep import CONFIG, Report, sweep, sweep_screen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.spoiled", description=__doc__)
    parser.add_argument(
        "--only", default="", help="strikes whose name contains this, as `LOGIN_ACK 2, removed`"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the order, and of --share (%(default)s)")
    parser.add_argument("--share", type=float, default=1.0, help="of the strikes, chosen by the seed")
    parser.add_argument("--tables", type=int, default=12, help="strikes at a time (%(default)s)")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no more strikes after these")
    parser.add_argument("--seats", type=int, default=4, help="terminals at a time (%(default)s)")
    parser.add_argument("--subject", choices=("library", "chatcli", "both"), default="both")
    parser.add_argument("--list", action="store_true", help="name the strikes, strike none")
    args = parser.parse_args()

    def choose(strikes: list[Strike]) -> list[Strike]:
        found = [strike for strike in strikes if args.only in str(strike)]
        random.Random(args.seed).shuffle(found)
        found = found[: round(len(found) * args.share)]
        if args.list:
            print(*found, sep="\n")
            return []
        print(f"{len(found)} strikes, seed {args.seed}", flush=True)
        return found

    breaches = 0
    for subject, strike, number in (
        ("library", sweep, args.tables),
        ("chatcli", sweep_screen, args.seats),
    ):
        if args.subject in (subject, "both"):
            report = Report()
            with Server("-w", "2", config=CONFIG) as server:
                asyncio.run(strike(server.port, report, choose, number, args.minutes))
            print(f"{subject}\n{report.text()}", flush=True)
            breaches += len(report.breaches)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
