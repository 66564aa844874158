"""Whom a session logs in, with what, and when again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forkchat.errors import BadRequest, RateLimited, Refused, TokenExpired, Unavailable
from forkchat.wire.names import MAX_TYPED
from forkchat.wire.requests import MAX_PASSWORD

#: The pause before a second try when the server names none.
RETRY_TIME = 1.0


@dataclass
class Login:
    """`who`: name or id. The server gives a `token` for the next time (`is_resumed`); the password
    stays in memory for when that has expired. `at`: when to try; None: an answer is on its way.
    """

    who: str | int
    password: str
    token: str
    takeover: bool
    at: float | None
    is_resumed: bool = False

    def __post_init__(self) -> None:
        if len(str(self.who)) > MAX_TYPED or len(self.password) > MAX_PASSWORD:
            raise BadRequest("the name or the password is too long")

    def fields(self) -> dict[str, Any]:
        """Of the LOGIN request. Our own older connection may be half dead: a resumption takes over."""
        takeover = {"takeover": self.takeover or self.is_resumed}
        if self.token:
            return {"token": self.token} | takeover
        key = "id" if isinstance(self.who, int) else "name"
        return {key: self.who, "password": self.password} | takeover

    def succeeded(self, token: str) -> None:
        self.token = token
        self.is_resumed = True

    def retries(self, refused: Refused, now: float) -> bool:
        """Whether to go on by ourselves after a refusal; a password's first try is for the user to repeat."""
        if not self.is_resumed and not self.token:
            return False
        if isinstance(refused, TokenExpired) and self.password:
            self.token = ""
            self.at = now
            return True
        if isinstance(refused, Unavailable | RateLimited):
            self.at = now + (refused.retry_after or RETRY_TIME)
            return True
        return False
