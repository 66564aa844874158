"""What the clients of a round did and saw. Times are seconds of one monotonic clock."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple


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

    def available(self, user: int, since: float, at: float) -> float:
        """From when on someone online at `at` was so, if that is later than `since`; else `since`."""
        return max((login for login in self.logins[user] if since < login <= at), default=since)

    def was_quiet(self, begin: float, end: float, after: float) -> bool:
        """Whether there was no fault from `after` seconds before `begin` until `end`."""
        return not any(since <= end and until >= begin - after for since, until, _ in self.faults)
