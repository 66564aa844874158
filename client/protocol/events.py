"""What a session tells: small immutable records, each one thing that happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forkchat.errors import Failed, Refused, Unavailable

_OF_OTHERS = "the server has another database now, in which ids belong to other people"


class ConnectionLost(Unavailable):
    """The connection ended before the answer came: whether the request was done is not known."""

    def __init__(self, errmsg: str = "the connection was lost before the answer came"):
        super().__init__(errmsg, retry_after=0.0)


class NotUnderstood(Unavailable):
    """The server's answer makes no sense: whether the request was done is not known."""


class Stranded(Failed):
    """The server has another database now, and whom the message or the request is for is not known there: it
    was not sent. `who`: the receiver's name, or the conversation's key of before.

    No class of `Refused` itself: those are what the server refuses, by its errno.
    """

    def __init__(self, errmsg: str = _OF_OTHERS, who: str = ""):
        super().__init__(errmsg)
        self.who = who


@dataclass(frozen=True)
class Friend:
    id: int
    name: str
    state: str


@dataclass(frozen=True)
class Group:
    id: int
    name: str
    role: str


@dataclass(frozen=True)
class Standing:
    """Where a conversation stands: its last message, and the cursors that the server has of us."""

    conv: str
    last: int
    recv: int
    read: int
    first: int  # nothing before it will ever come


@dataclass(frozen=True)
class Greeted:
    """The server speaks our protocol; one may log in or register.

    `epoch` is its database's: with another one nothing that was numbered before is what it was.
    """

    epoch: str


@dataclass(frozen=True)
class LoggedIn:
    id: int
    name: str
    friends: list[Friend]
    groups: list[Group]
    is_resumed: bool  # by itself, after a lost connection


@dataclass(frozen=True)
class LoginFailed:
    refused: Refused


@dataclass(frozen=True)
class LoggedOut:
    """`reason`: `logout`; `replaced` (another session has ended this one, or was found in its place after a
    lost connection) or `kicked`, after which nobody reconnects unasked.
    """

    reason: str


@dataclass(frozen=True)
class Disconnected:
    """The connection ended. `is_wanted`: someone is logged in on it, so it should come back.

    `failure`: why it was of no use from the start; None: it was greeted.
    """

    is_wanted: bool
    failure: OSError | None = None


@dataclass(frozen=True)
class Retrying:
    """There is no connection, for this reason; the next try is in so many seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Message:
    """A chat message whose turn has come: each (conv, seq) comes once, in the order of `seq`."""

    conv: str
    seq: int  # 0: ephemeral
    sender: int
    name: str
    text: str
    ts: int  # milliseconds since 1970
    cid: str = ""
    is_own: bool = False
    is_echo: bool = False  # sent by this very session: its `Sent` has told of it


@dataclass(frozen=True)
class Sent:
    """A message of ours is stored and will not be lost."""

    cid: str
    conv: str
    seq: int
    text: str
    ts: int


@dataclass(frozen=True)
class SendDelayed:
    """Not stored yet, for this reason; it will be sent again."""

    cid: str
    conv: str
    text: str
    refused: Refused


@dataclass(frozen=True)
class Readdressed:
    """The server has another database now; a message that is still to be sent goes to this conversation."""

    cid: str
    conv: str


@dataclass(frozen=True)
class SendFailed:
    """Refused for good; it will not be sent again."""

    cid: str
    conv: str
    text: str
    refused: Refused


@dataclass(frozen=True)
class Answer:
    """What became of a `Session.request`: its fields, or why it was refused."""

    rid: str
    msgid: int  # the request's
    fields: dict[str, Any]
    refused: Refused | None


@dataclass(frozen=True)
class FriendState:
    id: int
    name: str
    state: str


@dataclass(frozen=True)
class Notice:
    """`kind`: friend_added, group_joined, group_left, group_removed; `conv` is "" for the first."""

    kind: str
    id: int
    name: str
    conv: str


@dataclass(frozen=True)
class Receipt:
    """The other side of a pair has read up to `seq`."""

    conv: str
    id: int
    seq: int


@dataclass(frozen=True)
class Typing:
    conv: str
    id: int
    name: str


@dataclass(frozen=True)
class Problem:
    """The server said or did what it should not have; `text` is for people."""

    text: str


Event = (
    Greeted
    | LoggedIn
    | LoginFailed
    | LoggedOut
    | Disconnected
    | Retrying
    | Message
    | Sent
    | SendDelayed
    | Readdressed
    | SendFailed
    | Answer
    | FriendState
    | Notice
    | Receipt
    | Typing
    | Problem
)
