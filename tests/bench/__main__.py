"""`make bench`: what the server does beyond what it can carry, and what the client costs."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tests.bench import crowd, flood, overload, screen, speed, storm

BENCHES: dict[str, Callable[[], None]] = {
    "overload": overload.run,
    "flood": flood.run,
    "crowd": crowd.run,
    "storm": storm.run,
    "screen": screen.run,
    "speed": speed.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which of {', '.join(BENCHES)} (all)")
    for name in parser.parse_args().name or BENCHES:
        print(f"\n{name}", flush=True)
        BENCHES[name]()


if __name__ == "__main__":
    main()
