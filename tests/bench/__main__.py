"""`make bench`: benchmarks of the server's speed, its behaviour under overload, and the client's costs."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tests.bench import (
    bot,
    crowd,
    flood,
    hostile,
    idle,
    latency,
    logins,
    overload,
    profile,
    resubscribe,
    scale,
    screen,
    speed,
    storm,
    volume,
)

BENCHES: dict[str, Callable[[], None]] = {
    "speed": speed.run,
    "latency": latency.run,
    "logins": logins.run,
    "scale": scale.run,
    "overload": overload.run,
    "flood": flood.run,
    "hostile": hostile.run,
    "crowd": crowd.run,
    "storm": storm.run,
    "idle": idle.run,
    "volume": volume.run,
    "resubscribe": resubscribe.run,
    "screen": screen.run,
    "bot": bot.run,
    "profile": profile.run,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which of {', '.join(BENCHES)} (all)")
    for name in parser.parse_args().name or BENCHES:
        print(f"\n{name}", flush=True)
        BENCHES[name]()


if __name__ == "__main__":
    main()
