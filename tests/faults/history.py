"""What the clients of a round did and saw. Times are seconds of one monotonic clock."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

#: The nemesis after which the server may know less than before.
LOSES_TAIL = "mysql loses its tail"
#: A quiet time begins so many seconds after a fault.
QUIET = 6.0
#: Seconds after which the server knows what a bot has done, when nothing is broken.
TOLD = 1.0


class Place(NamedTuple):
    """Where a message is kept."""

    conv: str
    seq: int
    cid: str


class Ack(NamedTuple):
    """When the acknowledgement came, the place that it told, and the epoch of its session."""

    at: float
    conv: str
    seq: int
    epoch: str = ""


@dataclass
class Message:
    """What one client sent under one `cid`, however often, and what was answered. Its text is its `cid`:
    classic clients, whose `cid`s are the server's, are shown nothing else."""

    cid: str
    sender: int
    recipient: int  # 0 for a group's
    group: str  # the conversation; "" for a person's
    begun: float  # when it was first sent
    acks: list[Ack] = field(default_factory=list)
    refusals: list[tuple[float, int]] = field(default_factory=list)  # when, errno


@dataclass
class Shown:
    """A message as a modern client showed it. `span`: its membership, counted from 0; pairs have one."""

    at: float
    conv: str
    span: int
    seq: int
    cid: str
    sender: int
    text: str
    epoch: str = ""

    @property
    def place(self) -> Place:
        return Place(self.conv, self.seq, self.cid)


@dataclass
class Given:
    """A message that a bot was given, and when it was done with it; 0: never."""

    shown: Shown
    done: float = 0.0


@dataclass
class Life:
    """A bot, from its login until it was killed, or closed its client, which it began `closing`. `is_calm`:
    nothing was broken at its end, and what it had done it had told long before."""

    begun: float = 0.0
    ended: float = 0.0
    closing: float = 0.0  # 0: it was killed
    is_calm: bool = False
    logged_out: str = ""  # why, if it did not want to be
    given: list[Given] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)  # how often it was told that this cid is stored


@dataclass
class Loss:
    """What a replica lacked when it took the primary's place. What was told of these places in sessions of
    `epoch`, the primary's, no longer holds. `noticed`: seconds until the epoch moved; inf: it did not."""

    epoch: str
    places: frozenset[Place]
    noticed: float


@dataclass
class Span:
    """One membership of one user in a group, from asking for it to having been told that it is over."""

    begun: float
    joined: float = 0.0
    first: int = 1
    leaving: float = 0.0  # when the end was asked for
    left: float = 0.0  # when the end was acknowledged to whoever asked

    @property
    def is_open(self) -> bool:
        return not self.leaving


@dataclass
class History:
    """Of one round. Users by id, conversations by key."""

    messages: dict[str, Message] = field(default_factory=dict)  # by cid
    shown: dict[int, list[Shown]] = field(default_factory=dict)  # by modern user
    strays: dict[int, list[Shown]] = field(default_factory=dict)  # what came of groups that they were not in
    classic: dict[int, list[str]] = field(default_factory=dict)  # texts, by classic user
    kept: dict[tuple[str, int], str] = field(default_factory=dict)  # cids by place, as read at the end
    spans: dict[tuple[int, str], list[Span]] = field(default_factory=lambda: defaultdict(list))
    seen: dict[tuple[int, int], str] = field(default_factory=dict)  # (watcher, friend): state
    online: dict[int, bool] = field(default_factory=dict)
    logins: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # when, by user
    outages: list[float] = field(default_factory=list)  # seconds without a session, of all clients
    faults: list[tuple[float, float, str]] = field(default_factory=list)  # from, until, which
    losses: list[Loss] = field(default_factory=list)
    epochs: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))  # by modern user
    lives: dict[int, list[Life]] = field(default_factory=dict)  # of those who are bots; they are modern
    slow: set[int] = field(default_factory=set)  # bots that take their time
    failures: list[str] = field(default_factory=list)  # what bots did not expect to be raised

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def acks(self, message: Message) -> list[Ack]:
        """Those that still hold."""
        if not self.losses:
            return message.acks
        return [
            ack for ack in message.acks if not self.is_lost(Place(ack.conv, ack.seq, message.cid), ack.epoch)
        ]

    def is_lost(self, place: Place, epoch: str) -> bool:
        """Whether a replica lacked what was told in a session of that epoch."""
        return any(loss.epoch == epoch and place in loss.places for loss in self.losses)

    def lost_a_tail(self, begin: float, end: float) -> bool:
        """Whether a replica may have taken back meanwhile what clients had confirmed."""
        return any(name == LOSES_TAIL and since < end and until > begin for since, until, name in self.faults)

    def available(self, user: int, since: float, at: float) -> float:
        """From when on someone online at `at` was so, if that is later than `since`; else `since`."""
        return max((login for login in self.logins[user] if since < login <= at), default=since)

    def was_quiet(self, begin: float, end: float, after: float) -> bool:
        """Whether there was no fault from `after` seconds before `begin` until `end`."""
        return not any(since <= end and until >= begin - after for since, until, _ in self.faults)

    def open_span(self, user: int, conv: str) -> int | None:
        """The span in which a user must be shown a conversation to its end; None: in none."""
        if conv[0] == "d":
            return 0 if str(user) in conv[1:].split("-") else None
        spans = self.spans.get((user, conv), [])
        return len(spans) - 1 if spans and spans[-1].is_open and spans[-1].joined else None


def by_conv(shown: list[Shown]) -> list[tuple[tuple[str, int, str], list[Shown]]]:
    """What was shown of each (conversation, span, epoch), in the order in which it was."""

    def key(each: Shown) -> tuple[str, int, str]:
        return each.conv, each.span, each.epoch

    return [(at, list(some)) for at, some in groupby(sorted(shown, key=key), key)]
