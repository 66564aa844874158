"""The peak memory of processes."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event, Thread

from tests.server import pss


class Peak:
    """A context manager that samples the memory of each process twice a second.

    As a string, it is the peak of each process in MiB.
    """

    def __init__(self, pids: Iterable[int]):
        self._most = dict.fromkeys(pids, 0.0)
        self._over = Event()
        self._thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def __str__(self) -> str:
        return ", ".join(f"{most:.1f}" for most in self._most.values())

    def _look(self) -> None:
        while not self._over.wait(0.5):
            for pid, most in self._most.items():
                self._most[pid] = max(most, pss(pid))
