"""Processor time of groups of processes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def seconds(pids: Iterable[int]) -> float:
    """Return the processor time that the processes have used so far, in seconds.

    All their threads count. The resolution is 10 ms.
    """
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


class Meter:
    """A meter of the processor seconds between `start` and `stop`, by the name of the process group."""

    def __init__(self, groups: Mapping[str, Iterable[int]]):
        self._groups = {name: list(pids) for name, pids in groups.items()}
        self._before: dict[str, float] = {}

    def start(self) -> None:
        self._before = {name: seconds(pids) for name, pids in self._groups.items()}

    def stop(self) -> dict[str, float]:
        return {name: seconds(pids) - self._before[name] for name, pids in self._groups.items()}
