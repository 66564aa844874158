"""Every error that crosses a layer. Those that a peer is told of have an errno and a code on the wire.

An error's type tells whose fault it is. A `Refused`, except `Unavailable`, is the peer's fault and is
answered. `Unavailable` is a dependency's fault, and is answered with when to retry. Any other error is our
own fault. It is logged with its trace and answered as `Unavailable`.
"""


class ConfigError(Exception):
    """An unusable configuration. `problems` names every bad key at once."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(Exception):
    """The server cannot start or go on. The text says why, and what to do about it."""


class Refused(Exception):
    """A request was refused. `errmsg` is for people, `code` for programs (docs/wire.md)."""

    errno = 1
    code = "failed"

    def __init__(self, errmsg: str, retry_after: float | None = None):
        super().__init__(errmsg)
        self.errmsg = errmsg
        self.retry_after = retry_after


class Failed(Refused):
    """A wrong name or password, or a refusal that has no code of its own."""


class AlreadyOnline(Refused):
    """The account already has a session.

    `may_be_orphaned` is true if the worker of that session may have died.
    """

    errno, code = 2, "already_online"
    may_be_orphaned = True


class BadRequest(Refused):
    errno, code = 3, "bad_request"


class NotLoggedIn(Refused):
    errno, code = 4, "not_logged_in"


class Forbidden(Refused):
    errno, code = 5, "forbidden"


class NotFound(Refused):
    errno, code = 6, "not_found"


class Conflict(Refused):
    errno, code = 7, "conflict"


class RateLimited(Refused):
    errno, code = 8, "rate_limited"


class TooLarge(Refused):
    errno, code = 9, "too_large"


class NotMember(Refused):
    errno, code = 10, "not_member"


class Unavailable(Refused):
    """MySQL or Redis is away, or a queue is full.

    The client may send the same request again, with the same `cid`.
    """

    errno, code = 11, "unavailable"

    def __init__(self, errmsg: str, retry_after: float | None = 1.0):
        super().__init__(errmsg, retry_after)


class Unsupported(Refused):
    errno, code = 12, "unsupported"


class TokenExpired(Refused):
    errno, code = 13, "token_expired"
