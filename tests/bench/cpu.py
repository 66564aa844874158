"""Processor time of groups of processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def seconds(pids: Iterable[int]) -> float:
    """That these have used so far, threads and all; 10 ms at least make a difference."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


class Meter:
    """Between `start` and `stop`: seconds by the name of the group."""

    def __init__(self, groups: Mapping[str, Iterable[int]]):
        self._groups = {name: list(pids) for name, pids in groups.items()}
        self._before: dict[str, float] = {}

    def start(self) -> None:
        self._before = {name: seconds(pids) for name, pids in self._groups.items()}

    def stop(self) -> dict[str, float]:
        return {name: seconds(pids) - self._before[name] for name, pids in self._groups.items()}
