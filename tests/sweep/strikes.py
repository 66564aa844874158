"""Strikes: which statement or command fails, how and when; and the check whether one is due."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

#: Faults of MySQL by name: (number, True if the statement is forwarded first).
#: A number of 0 is no answer at all; -1 is a cut.
MYSQL_FAULTS: dict[str, tuple[int, bool]] = {
    **{str(number): (number, False) for number in (1146, 1175, 1205, 1213, 1290, 2026, 9001, 4999)},
    "4999-after": (4999, True),  # the statement ran, and the client is told that it failed
    "2006": (-1, False),  # cut before the statement is forwarded
    "2013": (-1, True),  # cut after it is forwarded
    "silence": (0, True),
}
#: Faults of connecting to MySQL: an error in place of the greeting; 2003 is a refused connection.
CONNECT_FAULTS: dict[str, tuple[int, bool]] = {
    "2003": (-1, False),
    **{str(number): (number, False) for number in (1040, 1045, 1130, 2005, 2026, 4999)},
    "silence": (0, False),
}
#: Faults of Redis by name: (the reply, True if the command is forwarded first). None is a cut; b"" no reply.
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
#: The kind of new MySQL connections. To strike it, the scenario cuts the old connections first.
CONNECT = "connect"


@dataclass
class Strike:
    """A plan to fail the `k`th occurrence of a kind; with `seconds`, all later ones for that time, too."""

    kind: str
    fault: str
    k: int = 1
    seconds: float = 0.0
    hits: int = 0
    ended: float = 0.0  # when the last hit was over, in monotonic seconds; 0.0 before the first
    _began: float = 0.0
    _seen: int = 0

    def is_due(self, kind: str) -> bool:
        """Count an occurrence of `kind`; return True if it is to fail."""
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
    """The traffic through the proxies: the count of each kind, and the strikes that wait for one."""

    counts: Counter[str] = field(default_factory=Counter)
    #: Kinds that passed the Redis proxy.
    of_redis: set[str] = field(default_factory=set)
    strikes: list[Strike] = field(default_factory=list)
    #: Publishes to conversations that are still to be dropped, as a network may drop them.
    to_lose: int = 0

    def strike(self, kind: str) -> Strike | None:
        """Count an occurrence of `kind`; return the strike that is due at it, None if none is."""
        self.counts[kind] += 1
        return next((strike for strike in self.strikes if strike.is_due(kind)), None)
