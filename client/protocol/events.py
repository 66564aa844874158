"""The events of a session: small immutable records, each of one occurrence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forkchat.errors import Failed, Refused, Unavailable

_OF_OTHERS = "the server has another database now, in which ids belong to other people"


class ConnectionLost(Unavailable):
    """The connection ended before the answer came, so the request may or may not have been done."""

    def __init__(self, errmsg: str = "the connection was lost before the answer came"):
        super().__init__(errmsg, retry_after=0.0)


class NotUnderstood(Unavailable):
    """The server's answer makes no sense, so the request may or may not have been done."""


class Stranded(Failed):
    """The message or request was not sent, because its receiver is unknown in the server's new database.

    `who`: the receiver's name, or the conversation's old key.

    It does not derive from `Refused` directly, because each direct subclass stands for an errno of the
    server.
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
    """The state of a conversation: its last message, and the server's cursors for the user."""

    conv: str
    last: int
    recv: int
    read: int
    first: int  # no earlier message will ever come


@dataclass(frozen=True)
class Greeted:
    """The server speaks this protocol, and a login or registration is possible.

    `epoch` identifies the server's database. Numbers of another epoch mean other messages and people.
    """

    epoch: str


@dataclass(frozen=True)
class LoggedIn:
    id: int
    name: str
    friends: list[Friend]
    groups: list[Group]
    is_resumed: bool  # the session has logged in again after a lost connection


@dataclass(frozen=True)
class LoginFailed:
    refused: Refused


@dataclass(frozen=True)
class LoggedOut:
    """The user's session has ended.

    `reason`: `logout`, `replaced` or `kicked`. `replaced` means that another session has ended this one, or
    was found in its place after a lost connection. After `replaced` and `kicked` the client does not
    reconnect by itself.
    """

    reason: str


@dataclass(frozen=True)
class Disconnected:
    """The connection ended. `is_wanted`: a user is logged in, or is to be, so it should be restored.

    `failure`: why the connection was unusable from the start; None if the server had greeted the client.
    """

    is_wanted: bool
    failure: OSError | None = None


@dataclass(frozen=True)
class Retrying:
    """The client has no connection, because of `reason`. The next attempt is in `seconds` seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Message:
    """A chat message in its turn: each (conv, seq) comes once, in the order of `seq`."""

    conv: str
    seq: int  # 0: ephemeral
    sender: int
    name: str
    text: str
    ts: int  # milliseconds since 1970
    cid: str = ""
    is_own: bool = False
    is_echo: bool = False  # sent by this session, and already reported by its `Sent`


@dataclass(frozen=True)
class Sent:
    """The user's message is stored and will not be lost."""

    cid: str
    conv: str
    seq: int
    text: str
    ts: int


@dataclass(frozen=True)
class SendDelayed:
    """The message is not stored yet, because of `refused`. It will be sent again."""

    cid: str
    conv: str
    text: str
    refused: Refused


@dataclass(frozen=True)
class Readdressed:
    """The unsent message goes to `conv` now, because the server has another database."""

    cid: str
    conv: str


@dataclass(frozen=True)
class SendFailed:
    """The message was refused for good. It will not be sent again."""

    cid: str
    conv: str
    text: str
    refused: Refused


@dataclass(frozen=True)
class Answer:
    """The result of a `Session.request`: the answer's fields, or the refusal."""

    rid: str
    msgid: int  # of the request
    fields: dict[str, Any]
    refused: Refused | None


@dataclass(frozen=True)
class FriendState:
    id: int
    name: str
    state: str


@dataclass(frozen=True)
class Notice:
    """A change among the user's friends or groups.

    `kind`: friend_added, group_joined, group_left or group_removed. `conv` is "" for friend_added.
    """

    kind: str
    id: int
    name: str
    conv: str


@dataclass(frozen=True)
class Receipt:
    """The other user of a pair has read up to `seq`."""

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
    """The server said or did something wrong. `text` is for people."""

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
