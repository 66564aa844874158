"""The exit codes of chatcli."""

from __future__ import annotations

from client.commands.passwords import NoPassword
from client.commands.shell import UsageError
from client.local.settings import BadSettings
from client.protocol.events import ConnectionLost
from forkchat.errors import AlreadyOnline, NotLoggedIn, RateLimited, TokenExpired, Unavailable

OK, USAGE, AUTHENTICATION, NETWORK, REJECTED, TIMEOUT = range(6)


def exit_code(error: BaseException | None, is_login: bool) -> int:
    """Return the exit code for an error. `is_login`: logging in has raised it."""
    match error:
        case NoPassword():
            return AUTHENTICATION
        case UsageError() | BadSettings():
            return USAGE
        case TimeoutError():
            return TIMEOUT
        case OSError() | ConnectionLost():
            return NETWORK
        case Unavailable() | RateLimited():
            return REJECTED
        case NotLoggedIn() | TokenExpired() | AlreadyOnline():
            return AUTHENTICATION
    return AUTHENTICATION if is_login else REJECTED
