"""Whom a session logs in, with what, and when again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from client.protocol.backoff import Backoff
from forkchat.errors import AlreadyOnline, BadRequest, RateLimited, Refused, TokenExpired, Unavailable
from forkchat.wire.names import MAX_TYPED
from forkchat.wire.requests import MAX_PASSWORD

#: Seconds between two tries when the server names none.
RETRY_TIME = 1.0
#: Seconds in which a server finds out that our own older connection is dead, and ends its session. A session
#: that is still there after them is another client's.
OWN_SESSION_TIME = 15.0


@dataclass
class Login:
    """`who`: name or id. The server gives a `token` for the next time (`is_resumed`); the password
    stays in memory for when that has expired. `at`: when to try; None: an answer is on its way.

    `doubted`: what the last answer said that contradicts what was known.

    `takeover` ends a session of the same user elsewhere. It MUST be what the user wants just now. A login
    that is tried again by itself, hours later perhaps, waits for what is left of our own session to end.
    """

    who: str | int
    password: str
    token: str
    takeover: bool
    at: float | None
    is_resumed: bool = False
    doubted: str = ""
    _greeted_at: float = 0.0
    _backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if len(str(self.who)) > MAX_TYPED or len(self.password) > MAX_PASSWORD:
            raise BadRequest("the name or the password is too long")

    def fields(self) -> dict[str, Any]:
        """Of the LOGIN request."""
        if self.token:
            return {"token": self.token, "takeover": self.takeover}
        key = "id" if isinstance(self.who, int) else "name"
        return {key: self.who, "password": self.password, "takeover": self.takeover}

    def greeted(self, now: float) -> None:
        """There is a connection: try at once."""
        self.at = self._greeted_at = now

    def succeeded(self, token: str) -> None:
        self.token = token
        self.is_resumed = True
        self.doubted = ""
        self.takeover = False
        self._backoff = Backoff()

    @property
    def is_known(self) -> bool:
        """The server has logged this user in before."""
        return self.is_resumed or bool(self.token)

    def retries(self, refused: Refused, now: float) -> bool:
        """Whether to go on by ourselves after a refusal; a password's first try is for the user to repeat."""
        if not self.is_known:
            return False
        if isinstance(refused, TokenExpired) and self.token and self.password:
            self.token = ""
            self.at = now
            return True
        pause = self._backoff.pause(refused.retry_after)
        may_be_own = self.is_resumed and now < self._greeted_at + OWN_SESSION_TIME
        if isinstance(refused, AlreadyOnline) and may_be_own:
            self.at = now + min(pause, RETRY_TIME)
        elif isinstance(refused, Unavailable | RateLimited):
            self.at = now + pause
        else:
            return False
        self._backoff.ended()
        return True
