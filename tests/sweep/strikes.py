"""Strikes: which statement or command fails, how, and when; and who looks whether one is due."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

#: Faults of MySQL by name: (number, whether the statement is forwarded first). Number 0: no answer at all.
MYSQL_FAULTS: dict[str, tuple[int, bool]] = {
    **{str(number): (number, False) for number in (1146, 1175, 1205, 1213, 1290, 2026, 9001, 4999)},
    "4999-after": (4999, True),  # it happened, and nobody says so
    "2006": (-1, False),  # cut before it is forwarded
    "2013": (-1, True),  # cut after that
    "silence": (0, True),
}
#: Faults of connecting to MySQL: an error in place of the greeting. 2003: refused.
CONNECT_FAULTS: dict[str, tuple[int, bool]] = {
    "2003": (-1, False),
    **{str(number): (number, False) for number in (1040, 1045, 1130, 2005, 2026, 4999)},
    "silence": (0, False),
}
#: Faults of Redis: (the reply, whether the command is forwarded first). None: a cut; b"": no reply.
REDIS_FAULTS: dict[str, tuple[bytes | None, bool]] = {
    "READONLY": (b"-READONLY You can't write against a read only replica.\r\n", False),
    "LOADING": (b"-LOADING Redis is loading the dataset in memory\r\n", False),
    "OOM": (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", False),
    "NOPERM": (b"-NOPERM this user has no permissions to run this command\r\n", False),
    "MASTERDOWN": (b"-MASTERDOWN Link with MASTER is down\r\n", False),
    "CLUSTERDOWN": (b"-CLUSTERDOWN The cluster is down\r\n", False),
    "WEIRD": (b"-WEIRD x\r\n", False),
    "WEIRD-after": (b"-WEIRD x\r\n", True),
    "array": (b"*2\r\n*0\r\n$1\r\nx\r\n", True),
    "null": (b"_\r\n", True),
    "string": (b"$5\r\nweird\r\n", True),
    "integer": (b":-7\r\n", True),
    "cut-before": (None, False),
    "cut-after": (None, True),
    "silence": (b"", True),
}
#: What makes new connections: struck at, the old ones are cut first.
CONNECT = "connect"


@dataclass
class Strike:
    """The `k`-th that is of this kind gets this fault; with `seconds`, all from then on for so long."""

    kind: str
    fault: str
    k: int = 1
    seconds: float = 0.0
    hits: int = 0
    ended: float = 0.0  # when the last hit was over, on the monotonic clock; 0.0: has not struck
    _began: float = 0.0
    _seen: int = 0

    def is_due(self, kind: str) -> bool:
        """Count one of `kind`; whether it is to be struck."""
        if kind != self.kind:
            return False
        self._seen += 1
        now = time.monotonic()
        if self._seen < self.k or (self._began and now > self._began + self.seconds):
            return False
        self._began = self._began or now
        self.hits += 1
        self.ended = now
        return True

    def __str__(self) -> str:
        when = f"--k {self.k}" if not self.seconds else f"--k {self.k} --seconds {self.seconds:g}"
        return f'--only "{self.kind}" --fault {self.fault} {when}'


@dataclass
class Seen:
    """What passes the proxies: how often each kind did, and the strikes that wait for one."""

    counts: Counter[str] = field(default_factory=Counter)
    #: Those kinds that passed Redis's proxy.
    of_redis: set[str] = field(default_factory=set)
    strikes: list[Strike] = field(default_factory=list)
    #: Publishes to conversations that are still to be lost, as a network does.
    to_lose: int = 0

    def strike(self, kind: str) -> Strike | None:
        """Count one of `kind`; the strike that is due at it."""
        self.counts[kind] += 1
        return next((strike for strike in self.strikes if strike.is_due(kind)), None)
