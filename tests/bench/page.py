"""`make figures`: add the last runs to docs/speed.json, and remake the figures in docs/speed.md from it."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.history import FILE
from tests.server import ROOT

_KEPT, _PAGE = ROOT / "docs/speed.json", ROOT / "docs/speed.md"
_BEGIN, _END = "<!-- made by make figures: begin -->\n", "<!-- end -->\n"
#: Figures whose ratios are plotted, in the order of the lines.
_PLOTTED = ("ephemeral, 1", "durable, 1", "durable, 16")

Runs = list[dict[str, Any]]


def main() -> None:
    kept: dict[str, Runs] = json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
    for name, run in json.loads(FILE.read_text()).items():
        runs = kept.setdefault(name, [])
        if not runs or runs[-1] != run:
            runs.append(run)
    _KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    head, rest = _PAGE.read_text().split(_BEGIN)
    tail = rest.split(_END)[1]
    _PAGE.write_text(head + _BEGIN + "\n".join(_sections(kept)) + "\n" + _END + tail)


def _sections(kept: dict[str, Runs]) -> list[str]:
    found = []
    for name, runs in kept.items():
        last = runs[-1]
        found += [
            f"\n### {name}\n",
            f"{last['at'][:10]}, {last['commit']}, {last['cores']} cores, {last['cpu']}\n",
        ]
        figures = last["figures"]
        is_plain = all(isinstance(figure, int | float) for figure in figures.values())
        found += _numbers(figures) if is_plain else _rates(figures)
    return [*found, "", *_plot(kept.get("speed", []))]


def _numbers(figures: dict[str, float]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {what} | {number:,} |" for what, number in figures.items())]


def _rates(figures: dict[str, dict[str, Any]]) -> list[str]:
    rows = ["| | a second (least … most) | ratio | µs of processor for one | ms |", "|---|---|---|---|---|"]
    for what, figure in figures.items():
        costs = ", ".join(f"{who} {cost}" for who, cost in figure["cpu_us"].items() if cost >= 0.1)
        delays = ", ".join(f"{part} {ms}" for part, ms in figure.get("ms", {}).items())
        rate = f"{figure['rate']:,} ({figure['least']:,} … {figure['most']:,})"
        rows.append(f"| {what} | {rate} | {figure.get('ratio', '')} | {costs} | {delays} |")
    return rows


def _plot(runs: Runs) -> list[str]:
    """Return a plot of the ratios, run by run."""
    if len(runs) < 2:
        return []
    lines = [[run["figures"][name]["ratio"] for run in runs] for name in _PLOTTED]
    return [
        f"Ratio to the floor, run by run: {'; '.join(_PLOTTED)} (from the top).\n",
        "```mermaid",
        "xychart-beta",
        f"    x-axis {json.dumps([run['commit'] for run in runs])}",
        '    y-axis "ratio" 0 --> 1',
        *(f"    line {json.dumps(line)}" for line in lines),
        "```",
    ]


if __name__ == "__main__":
    main()
