"""The login of a session: the user, the credentials, and the time of the next attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from client.protocol.backoff import Backoff
from forkchat.errors import AlreadyOnline, BadRequest, RateLimited, Refused, TokenExpired, Unavailable
from forkchat.wire.names import MAX_TYPED
from forkchat.wire.requests import MAX_PASSWORD

#: Seconds between two attempts if the server names no time.
RETRY_TIME = 1.0
#: Seconds in which a server notices that the client's older connection is dead, and ends its session.
#: A session that still exists afterwards is another client's.
OWN_SESSION_TIME = 15.0


@dataclass
class Login:
    """A login that the user wants, with its retries.

    `who`: name or id. The server gives a `token` for the next login. The password stays in memory for when
    the token has expired. `at`: the time of the next attempt; None while an answer is on its way.
    `is_resumed`: a login has succeeded, so the next one resumes the session.

    `doubted`: the contradiction between the last answer and the known state; "" for none.

    `takeover` ends a session of the same user elsewhere. It MUST be what the user wants just now. A login
    that is retried automatically, perhaps hours later, waits for the client's own old session to end.
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
        """Return the fields of the LOGIN request."""
        if self.token:
            return {"token": self.token, "takeover": self.takeover}
        key = "id" if isinstance(self.who, int) else "name"
        return {key: self.who, "password": self.password, "takeover": self.takeover}

    def greeted(self, now: float) -> None:
        """Plan an attempt at once, because there is a connection."""
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
        """Plan another attempt after a refusal. Return False if there will be none.

        The first login with a password is not retried, because that is up to the user.
        """
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
