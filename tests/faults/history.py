"""The actions and observations of the clients of a round. Times are seconds of one monotonic clock."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

#: The nemesis after which the server may have lost messages.
LOSES_TAIL = "mysql loses its tail"
#: Seconds after a fault until a quiet time begins.
QUIET = 6.0
#: Seconds until the server knows which messages a bot has handled, if nothing is broken.
TOLD = 1.0


class Place(NamedTuple):
    """The place of a stored message."""

    conv: str
    seq: int
    cid: str


class Ack(NamedTuple):
    """The time of an acknowledgement, the place that it told, and the epoch of its session."""

    at: float
    conv: str
    seq: int
    epoch: str = ""


@dataclass
class Message:
    """A message that one client sent under one `cid`, once or several times, and the answers.

    Its text is its `cid`, because the server makes the `cid`s of classic clients, and they see only the text.
    """

    cid: str
    sender: int
    recipient: int  # 0 for a group's
    group: str  # the conversation; "" for a direct message
    begun: float  # when it was first sent
    acks: list[Ack] = field(default_factory=list)
    refusals: list[tuple[float, int]] = field(default_factory=list)  # time, errno


@dataclass
class Shown:
    """A message as a modern client showed it.

    `span`: the number of its membership, counted from 0; a conversation of two has only one.
    """

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
    """A message that a bot was given. `done`: when the bot had handled it, 0 for never."""

    shown: Shown
    done: float = 0.0


@dataclass
class Life:
    """The life of a bot, from its login until it was killed or closed its client.

    `closing`: when it began to close. `is_calm`: nothing was broken at its end, and the bot had confirmed
    long before what it had handled.
    """

    begun: float = 0.0
    ended: float = 0.0
    closing: float = 0.0  # 0: it was killed
    is_calm: bool = False
    logged_out: str = ""  # the reason of an unwanted logout
    given: list[Given] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)  # the number of `Sent` events by cid


@dataclass
class Loss:
    """The messages that a replica lacked when it took over from the primary.

    Acknowledgements and deliveries of these places no longer hold, if their sessions were of `epoch`, the
    primary's. `noticed`: seconds until the epoch changed, inf for never.
    """

    epoch: str
    places: frozenset[Place]
    noticed: float


@dataclass
class Span:
    """One membership of a user in a group, from the request to join until the answer that it ended."""

    begun: float
    joined: float = 0.0
    first: int = 1
    leaving: float = 0.0  # when the end was requested
    left: float = 0.0  # when the request to end it was acknowledged

    @property
    def is_open(self) -> bool:
        return not self.leaving


@dataclass
class History:
    """The history of one round. Users are keyed by id, conversations by key."""

    messages: dict[str, Message] = field(default_factory=dict)  # by cid
    shown: dict[int, list[Shown]] = field(default_factory=dict)  # by modern user
    strays: dict[int, list[Shown]] = field(default_factory=dict)  # messages of groups without a membership
    classic: dict[int, list[str]] = field(default_factory=dict)  # texts, by classic user
    kept: dict[tuple[str, int], str] = field(default_factory=dict)  # cids by place, as read at the end
    spans: dict[tuple[int, str], list[Span]] = field(default_factory=lambda: defaultdict(list))
    seen: dict[tuple[int, int], str] = field(default_factory=dict)  # (watcher, friend): state
    online: dict[int, bool] = field(default_factory=dict)
    logins: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # times, by user
    outages: list[float] = field(default_factory=list)  # seconds without a session, of all clients
    faults: list[tuple[float, float, str]] = field(default_factory=list)  # begin, end, name
    losses: list[Loss] = field(default_factory=list)
    epochs: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))  # by modern user
    lives: dict[int, list[Life]] = field(default_factory=dict)  # of bots; they are modern users
    slow: set[int] = field(default_factory=set)  # bots that handle messages slowly
    failures: list[str] = field(default_factory=list)  # unexpected exceptions in bots

    @staticmethod
    def now() -> float:
        return time.monotonic()

    def acks(self, message: Message) -> list[Ack]:
        """Return the acknowledgements that still hold."""
        if not self.losses:
            return message.acks
        return [
            ack for ack in message.acks if not self.is_lost(Place(ack.conv, ack.seq, message.cid), ack.epoch)
        ]

    def is_lost(self, place: Place, epoch: str) -> bool:
        """Return True if a replica lacked a place that was told in a session of that epoch."""
        return any(loss.epoch == epoch and place in loss.places for loss in self.losses)

    def lost_a_tail(self, begin: float, end: float) -> bool:
        """Return True if a replica may have undone confirmations between `begin` and `end`."""
        return any(name == LOSES_TAIL and since < end and until > begin for since, until, name in self.faults)

    def available(self, user: int, since: float, at: float) -> float:
        """Return when the session that was online at `at` began, but not earlier than `since`."""
        return max((login for login in self.logins[user] if since < login <= at), default=since)

    def was_quiet(self, begin: float, end: float, after: float) -> bool:
        """Return True if there was no fault from `after` seconds before `begin` until `end`."""
        return not any(since <= end and until >= begin - after for since, until, _ in self.faults)

    def open_span(self, user: int, conv: str) -> int | None:
        """Return the span in which the user must be shown a conversation to its end; None if in none."""
        if conv[0] == "d":
            return 0 if str(user) in conv[1:].split("-") else None
        spans = self.spans.get((user, conv), [])
        return len(spans) - 1 if spans and spans[-1].is_open and spans[-1].joined else None


def by_conv(shown: list[Shown]) -> list[tuple[tuple[str, int, str], list[Shown]]]:
    """Return the shown messages by (conversation, span, epoch), each list in the order of showing."""

    def key(each: Shown) -> tuple[str, int, str]:
        return each.conv, each.span, each.epoch

    return [(at, list(some)) for at, some in groupby(sorted(shown, key=key), key)]
