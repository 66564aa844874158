"""`python -m client.load`: the number of messages a second that a server carries, and their delays."""

from __future__ import annotations

import argparse
import sys

from client.aio.server import address
from client.load.accounts import make_group, register
from client.load.crew import Crew
from client.load.roles import group, pairs
from client.load.speaker import Play, Role


def main() -> int:
    options = _options()
    try:
        where = address(options.address)
        print(f"registering {options.people} accounts on {where[0]}, port {where[1]} …", flush=True)
        accounts = register(where, options.people)
        if options.group:
            companies = [group(accounts, [where], make_group(where, accounts))]
        else:
            size = 2 * -(-options.people // 2 // options.processes)
            parts = [accounts[at : at + size] for at in range(0, options.people, size)]
            companies = [pairs(part, [where], options.ephemeral) for part in parts]
        _run(companies, options)
    except (OSError, ValueError) as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    return 0


def _run(companies: list[list[Role]], options: argparse.Namespace) -> None:
    share = options.people - 1 if options.group else 1
    play = Play(options.seconds, 1.0, options.in_flight, share, options.rate, is_timed=True)
    with Crew(companies) as crew:
        tallies = crew.play(play)
    heard = sum(tally.heard / tally.seconds for tally in tallies)
    delays = sorted(delay for tally in tallies for delay in tally.delays)
    print(f"{heard:,.0f} deliveries a second")
    if delays:
        p50, p99 = (delays[int(part * (len(delays) - 1))] * 1000 for part in (0.5, 0.99))
        print(f"from one to the other: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    print(f"{sum(tally.lost for tally in tallies)} did not come")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m client.load",
        description="Load on a server that is there for it: accounts are registered and stay, and its limits"
        " message_rate and register_rate must be 0.",
    )
    parser.add_argument("address", nargs="?", default="localhost", metavar="HOST[:PORT]")
    parser.add_argument("--people", type=int, default=200, help="they talk two by two (default: 200)")
    parser.add_argument("--group", action="store_true", help="… or all of them in one group")
    parser.add_argument("--ephemeral", action="store_true", help="messages that are not stored")
    parser.add_argument("--in-flight", type=int, default=1, help="by each pair, or member (default: 1)")
    parser.add_argument("--rate", type=float, default=0.0, help="so many a second instead, by all together")
    parser.add_argument("--seconds", type=float, default=10.0, help="that count, after one that does not")
    parser.add_argument("--processes", type=int, default=2, help="of the generator (default: 2)")
    options = parser.parse_args()
    if options.people < 2 or options.people % 2 or options.processes < 1:
        parser.error("--people must be even, and --processes 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
