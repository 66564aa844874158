"""One user's session with the server, without a socket or a clock: bytes in, events out.

A Session outlives its connections. Its owner MUST
1. call `connected` when there is a new connection, and `disconnected` when it has ended;
2. pass all bytes read to `receive`, and call `tick` when `deadline` has come;
3. after each call of any method, send the bytes of `data_to_send`, then close the connection if
   `is_finished`.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any

from client.protocol import parse
from client.protocol.chats import Chats
from client.protocol.events import (
    Answer,
    ConnectionLost,
    Disconnected,
    Event,
    Greeted,
    LoggedOut,
    LoginFailed,
    NotUnderstood,
    Problem,
)
from client.protocol.link import FIRST_LIMIT, Link
from client.protocol.login import Login
from client.protocol.outbox import Pending
from forkchat.errors import AlreadyOnline, BadRequest, NotLoggedIn, RateLimited, Refused, Unavailable
from forkchat.wire import msgid as m

#: Frames from the server that concern no user.
_FOR_ANYBODY = (m.PING, m.BYE, m.ERROR)


class State(Enum):
    OFFLINE = "offline"
    GREETING = "greeting"
    GREETED = "greeted"
    LOGGING_IN = "logging in"
    LOGGED_IN = "logged in"
    DRAINING = "draining"  # the server is stopping; its answers may still come


class Session:
    """A user's session, which outlives its connections.

    `retry_after`: seconds that the server asks the client to stay away; None if it has named none.

    With `follows_all` every message is delivered, whether it comes live or waits at the server. Without it
    only the messages of conversations passed to `follow` are delivered. The server keeps each message for the
    user's next session until it is confirmed.
    """

    def __init__(self, agent: str = "chatcli", *, follows_all: bool = True) -> None:
        self.state = State.OFFLINE
        self.retry_after: float | None = None
        self._link = Link(agent)
        self._chats = Chats(self._link, follows_all)
        self._login: Login | None = None
        self._events: list[Event] = []  # from calls that return no events
        self._handlers: dict[int, Callable[[parse.Frame], list[Event]]] = {
            m.ONE_CHAT: self._chats.on_chat,
            m.GROUP_CHAT: self._chats.on_chat,
            m.ERROR: self._chats.on_error,
            m.CONVS: self._chats.on_standings,
            m.PING: self._on_ping,
            m.BYE: self._on_bye,
            m.EVENT: self._chats.on_notice,
        }

    @property
    def me(self) -> int:
        """The id of the logged-in user, also while the connection is away; else 0."""
        return self._chats.me if self._login else 0

    @property
    def epoch(self) -> str:
        """The last known epoch of the server's database; "" if unknown."""
        return self._chats.epoch

    @property
    def is_wanted(self) -> bool:
        """A user is, or is to be, logged in. If there is no connection, the owner should make one."""
        return self._login is not None

    @property
    def is_ready(self) -> bool:
        """Requests can be made: as the user if a login is wanted, else to log in or register."""
        return self.state is (State.LOGGED_IN if self._login else State.GREETED)

    @property
    def is_idle(self) -> bool:
        """Every message of the user was acknowledged, no message is missing, and no request waits."""
        return self._chats.is_idle and not self._link.is_waiting

    @property
    def unsent(self) -> int:
        """The number of the user's messages that are not acknowledged."""
        return len(self._chats.outbox)

    @property
    def page(self) -> int:
        """The number of messages that a FETCH may ask for."""
        return self._link.limits["page"]

    @property
    def token(self) -> str:
        """The token that logs in again without the password; "" if there is none."""
        return self._login.token if self._login else ""

    @property
    def is_finished(self) -> bool:
        is_drained = self.state is State.DRAINING and not self._link.is_waiting
        return self._link.is_up and (self._link.is_finished or is_drained)

    def connected(self, now: float) -> None:
        self.state = State.GREETING
        self.retry_after = None
        self._link.open(now, self._on_hello)

    def disconnected(self, now: float) -> list[Event]:
        self.state = State.OFFLINE
        return [Disconnected(self.is_wanted, self._link.failure), *self._link.close(now)]

    def receive(self, data: bytes, now: float) -> list[Event]:
        events = self._link.receive(data, now, self._on_frame)
        if self._link.has_missed and self.state is State.LOGGED_IN:
            self._link.has_missed = False
            self._chats.look_again()
        self._advance()
        return events + self._take_events()

    def tick(self, now: float) -> list[Event]:
        if not self._link.is_up or self.is_finished:
            return []
        events = self._link.tick(now)
        self._advance()
        return events + self._take_events()

    def data_to_send(self) -> bytes:
        return self._link.data_to_send()

    @property
    def deadline(self) -> float | None:
        """The time at which `tick` has something to do; None if there is no usable connection."""
        if not self._link.is_up or self.is_finished:
            return None
        times: list[float | None] = [self._link.now if self._events else self._link.deadline]
        if self.state is State.GREETED and self._login:
            times.append(self._login.at)
        elif self.state is State.LOGGED_IN:
            times.append(self._chats.deadline())
        return min(time for time in times if time is not None)

    def login(
        self, who: str | int = "", password: str = "", *, token: str = "", takeover: bool = False
    ) -> None:
        """Log in now, or when there is a connection. LoggedIn or LoginFailed reports the result.

        `who`: name or id. From then on the session logs in again by itself. `takeover` ends a session of the
        same user elsewhere, unless it is withdrawn before the answer comes.

        Raises BadRequest if a login exists already, or if no account can have that name or password.
        """
        if self.state in (State.LOGGING_IN, State.LOGGED_IN):
            raise BadRequest("log out first")
        login = Login(who, password, token, takeover, self._link.now)
        self._link.check_size(m.LOGIN, login.fields(), FIRST_LIMIT)
        self._login = login
        self._advance()

    def restore(self, me: int, name: str, unsent: Iterable[Pending], epoch: str = "") -> None:
        """Continue as this user after the login, with messages that an earlier run left unsent.

        `epoch`: the server's epoch in the earlier run.
        """
        self._chats.restore(me, name, unsent, epoch)

    def withdraw_takeover(self) -> None:
        """Continue the login without ending sessions elsewhere, because the user no longer waits for it."""
        if self._login:
            self._login.takeover = False

    def request(self, msgid: int, **fields: Any) -> str:
        """Send a request and return its `rid`. An Answer with this `rid` reports the result.

        Raises ConnectionLost, NotLoggedIn, BadRequest or TooLarge if it cannot be sent.
        """
        if self.state not in (State.GREETED, State.LOGGED_IN):
            raise ConnectionLost("there is no connection")
        if msgid != m.REG and self.state is State.GREETED:
            raise NotLoggedIn("log in first")
        if msgid == m.LOGINOUT:
            self._chats.flush_cursors()
        self._link.check_size(msgid, fields, None if self.me else FIRST_LIMIT)
        return self._link.ask(msgid, fields, partial(self._on_answer, fields))

    def send(self, to: str | int, text: str, name: str = "", cid: str = "") -> Pending:
        """Send a message to a conversation, or to a user's id, and return it.

        Sent or SendFailed with its `cid` reports the result. Without a connection the message waits for one.

        `name`: the name of the person or group. The server may have another database by the time that the
        message can be sent. The message then goes to the receiver of that name there, or fails with Stranded.

        `cid`: 1 to 64 bytes (docs/wire.md); "" makes a new one. Messages that are sent twice under the same
        `cid` are stored once.

        Raises NotLoggedIn, BadRequest or TooLarge if the message cannot be sent at all. Raises Conflict if
        another message waits under that `cid`.
        """
        if not self.me:
            raise NotLoggedIn("log in first")
        pending = self._chats.send(to, text, name, cid)
        self._advance()
        return pending

    def follow(self, conv: str, first: int, last: int) -> None:
        """Deliver the messages after `last`, because the user has seen those from `first` to `last`.

        No message of the conversation is confirmed while a message before `first` is unconfirmed.
        """
        self._chats.follow(conv, first, last)
        self._advance()

    def confirm(self, conv: str, seq: int) -> None:
        """Confirm the messages up to `seq`. They do not come again, because the user is done with them."""
        self._chats.confirm(conv, seq)

    def make_room(self, has_room: bool) -> None:
        """Set whether more messages are delivered now. Without room they are fetched later."""
        self._chats.make_room(has_room)
        self._advance()

    def read(self, conv: str, seq: int) -> None:
        """Report that the user has read the conversation up to `seq`.

        Raises BadRequest if that cannot be sent.
        """
        self._link.check_size(m.READ, {"conv": conv, "seq": seq})
        self._chats.read(conv, seq)

    def typing(self, conv: str) -> None:
        """Report that the user is typing in the conversation. Do nothing unless logged in."""
        if self.state is State.LOGGED_IN:
            self._link.tell(m.TYPING, {"conv": conv})

    def leave(self) -> None:
        """Send the untold cursors to the server, and want no further login or connection.

        The owner calls this before it closes for good.
        """
        if self.state is State.LOGGED_IN:
            self._chats.flush_cursors()
        self._login = None

    def _advance(self) -> None:
        """Send the login, requests and messages that are due."""
        login = self._login
        if self.state is State.LOGGED_IN:
            self._events += self._chats.advance()
        elif self.state is State.GREETED and login and login.at is not None and login.at <= self._link.now:
            login.at = None
            self.state = State.LOGGING_IN
            self._link.ask(m.LOGIN, login.fields(), partial(self._on_login, login))

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _on_hello(self, answer: Answer) -> list[Event]:
        if answer.refused:
            is_passing = isinstance(answer.refused, Unavailable | RateLimited)
            return [] if is_passing else self._give_up(answer.refused)
        if self._chats.begin(self._link.epoch) and self._login:
            self._login.who = self._chats.name or self._login.who  # the id is another user's now
        self.state = State.GREETED
        if self._login:
            self._login.greeted(self._link.now)
        return [Greeted(self._link.epoch)]

    def _on_login(self, login: Login, answer: Answer) -> list[Event]:
        if answer.refused:
            if isinstance(answer.refused, ConnectionLost):
                return []
            self.state = State.GREETED
            if isinstance(answer.refused, BadRequest | NotUnderstood):
                # Close, because the server may have logged the user in. Neither side knows the other's state.
                self._link.is_finished = True
            if isinstance(answer.refused, NotUnderstood) and login.is_known:
                return [Problem(answer.refused.errmsg)]
            if login.retries(answer.refused, self._link.now):
                return []
            if login.is_resumed and isinstance(answer.refused, AlreadyOnline):
                self._login = None
                return [LoggedOut("replaced")]
            return self._give_up(answer.refused)
        logged_in = parse.logged_in(answer.fields, login.is_resumed)
        standings, token = parse.standings(answer.fields, logged_in.id), parse.text(answer.fields, "token")
        doubt = self._chats.doubt(logged_in, standings) if login.is_resumed else ""
        if doubt != login.doubted:
            login.doubted = doubt  # the same contradiction is believed the second time
            if doubt:
                raise BadRequest(doubt)
        login.succeeded(token)
        self.state = State.LOGGED_IN
        return [logged_in, *self._chats.start(logged_in, standings)]

    def _give_up(self, refused: Refused) -> list[Event]:
        was_wanted, self._login = self.is_wanted, None
        return [LoginFailed(refused)] if was_wanted else []

    def _on_answer(self, asked: dict[str, Any], answer: Answer) -> list[Event]:
        """Return the answer to the owner's request, and the events that follow from it."""
        if answer.refused:
            return [answer]
        if answer.msgid in (m.ADD_GROUP, m.CREATE_GROUP, m.GROUPS):
            return [answer, *self._chats.on_group_answer(asked, answer)]
        if answer.msgid == m.ACCOUNT and "new" in asked and self._login:
            self._login.password = asked["new"]
            self._login.token = parse.text(answer.fields, "token", self._login.token)
        elif answer.msgid == m.LOOKUP:
            self._chats.on_found(answer.fields)
        elif answer.msgid == m.LOGINOUT:
            self._login = None
            self.state = State.GREETED
            return [answer, LoggedOut("logout"), *self._chats.drop("logged out before it was sent")]
        return [answer]

    def _on_frame(self, frame: parse.Frame) -> list[Event]:
        """Handle a frame that answers no request.

        Unknown frames of later servers are ignored. Frames for a user are ignored while there is no user.
        """
        if not self.me and frame["msgid"] not in _FOR_ANYBODY:
            return []
        if to_event := parse.EVENTS.get(frame["msgid"]):
            return [to_event(frame)]
        handle = self._handlers.get(frame["msgid"])
        return handle(frame) if handle else []

    def _on_ping(self, frame: parse.Frame) -> list[Event]:
        self._link.tell(m.PONG, {"rid": frame["rid"]} if "rid" in frame else {})
        return []

    def _on_bye(self, frame: parse.Frame) -> list[Event]:
        reason = parse.text(frame, "reason", "")
        self.retry_after = parse.seconds(frame, "retry_after")
        if reason == "draining":
            self.state = State.DRAINING
            return []
        self._link.is_finished = True
        if reason not in ("replaced", "kicked"):
            return []
        self._login = None
        return [LoggedOut(reason)]
