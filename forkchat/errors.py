"""Every error that crosses a layer, with the wire's errno and code for those a peer is told of.

Whose fault an error is stands in its type: a `Refused` (but `Unavailable`) is the peer's and is
answered; `Unavailable` is a dependency's, and is answered with when to try again; anything else is
ours, is logged with its trace, and is answered as `Unavailable`.
"""


class ConfigError(Exception):
    """The configuration cannot be used; `problems` names every bad key at once."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


class StartError(Exception):
    """The server cannot start or go on; the text says why and what to do about it."""


class Refused(Exception):
    """A request was refused. `errmsg` is for people, `code` for programs (docs/wire.md)."""

    errno = 1
    code = "failed"

    def __init__(self, errmsg: str, retry_after: float | None = None):
        super().__init__(errmsg)
        self.errmsg = errmsg
        self.retry_after = retry_after


class Failed(Refused):
    """Wrong name or password, and what else has no code of its own."""


class AlreadyOnline(Refused):
    """`may_be_orphaned`: whether the worker of the other session may have died."""

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
    """MySQL, Redis or a full queue: the same request, with the same `cid`, may be sent again."""

    errno, code = 11, "unavailable"

    def __init__(self, errmsg: str, retry_after: float | None = 1.0):
        super().__init__(errmsg, retry_after)


class Unsupported(Refused):
    errno, code = 12, "unsupported"


class TokenExpired(Refused):
    errno, code = 13, "token_expired"
