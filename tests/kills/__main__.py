"""Kills of chatcli while a user types: `python -m tests.kills`.

chatcli is killed and restarted after each key of fifty lines, with and without a server. It is also killed at
each step of its event loop after Enter. Exits with 1 if a line was lost, duplicated or delivered to the wrong
user.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import cycle

from tests.kills.lines import KINDS, line, lines
from tests.kills.typist import ENDINGS, Typist
from tests.pane import tmux_server

#: Steps of the event loop after which nothing is left to do for a line.
_MAX_STEPS = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--lines", type=int, default=50, help="how many are typed")
    parser.add_argument("part", nargs="*", help=f"only these, of: {', '.join(_PARTS)}")
    args = parser.parse_args()
    is_good = True
    for name in args.part or _PARTS:
        with tmux_server() as tmux, Typist(tmux) as typist:
            _PARTS[name](typist, args.lines)
            report = typist.finish()
        print(f"{name}: {report}", flush=True)
        is_good = is_good and not report.breaches
    return 0 if is_good else 1


def _keys(typist: Typist, number: int) -> None:
    endings = cycle(ENDINGS)
    for each in lines(typist.bo, number):
        typist.walk(each, endings)


def _keys_offline(typist: Typist, number: int) -> None:
    """Kill after each key, with the server stopped for five lines at a time."""
    endings = cycle(ENDINGS)
    for count, each in enumerate(lines(typist.bo, number)):
        if count % 5 == 0:
            typist.go_offline()
        typist.walk(each, endings)
        if count % 5 == 4 or count == number - 1:
            typist.go_online()


def _steps(typist: Typist, number: int) -> None:
    """Kill at each step, for each kind of line and each signal."""
    count = 0
    for kind in range(min(KINDS, number)):
        for ending in ("KILL", "TERM", "HUP"):
            for steps in range(1, _MAX_STEPS):
                count += 1
                if not typist.step(line(kind, count, typist.bo), steps, ending):
                    break


_PARTS: dict[str, Callable[[Typist, int], None]] = {
    "keys": _keys,
    "keys, no server": _keys_offline,
    "steps": _steps,
}

if __name__ == "__main__":
    sys.exit(main())
