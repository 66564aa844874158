"""The results of benchmarks, as a table on the screen and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.server import ROOT

#: The last run of each benchmark. `docs/speed.md` has the runs that are kept.
FILE = ROOT / "bench.json"


def report(name: str, figures: dict[str, dict[str, Any]]) -> None:
    """Print the results as a table, and save them."""
    width = max(map(len, figures))
    print(f"{'':{width}}  deliveries/s  (least … most)      ratio  lost  CPU of one, µs")
    for what, figure in figures.items():
        ratio = f"{figure['ratio']:.2f}" if "ratio" in figure else ""
        spread = f"({figure['least']:,} … {figure['most']:,})"
        costs = ", ".join(f"{who} {cost}" for who, cost in figure["cpu_us"].items() if cost >= 0.1)
        delays = ", ".join(f"{part} {ms} ms" for part, ms in figure.get("ms", {}).items())
        row = f"{what:{width}}  {figure['rate']:12,}  {spread:20} {ratio:>5} {figure['lost']:5}  {costs}"
        print(f"{row}  {delays}".rstrip())
    _keep(name, figures)


def note(name: str, figures: dict[str, float]) -> None:
    """Print single numbers, and save them."""
    for what, number in figures.items():
        print(f"{what:40} {number:,.2f}".rstrip("0").rstrip("."))
    _keep(name, {what: round(number, 2) for what, number in figures.items()})


def _keep(name: str, figures: dict[str, Any]) -> None:
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    kept[name] = {"at": datetime.now(UTC).isoformat(timespec="minutes"), **_machine(), "figures": figures}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    cpu = [each for each in Path("/proc/cpuinfo").read_text().splitlines() if each.startswith("model name")]
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "cpu": cpu[0].partition(": ")[2] if cpu else "",
    }
