"""The check that a Redis is usable: its kind, its settings, and the rights of its user.

A limited user may query neither its rights nor a dry run. The check therefore runs each command, on keys and
channels with a random name. It deletes the keys; where deleting is not allowed, they expire.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import redis.exceptions

from forkchat.bus import keys
from forkchat.bus.connect import Connection, metadata, open_plain, parse, unsuitable
from forkchat.errors import StartError

#: Seconds between attempts to reach Redis.
_TRY_AGAIN = 0.1
#: Seconds after which a key of the check expires, in case the check cannot delete it.
_TTL = 30
#: The oldest major version whose protocol and rights this module knows.
_OLDEST = 6
#: The maxmemory-policy that evicts nothing.
_KEEPS_ALL = "noeviction"
#: Connections to Redis that each worker holds.
_CONNECTIONS = 2

_UNAUTHENTICATED = "HELLO must be called with the client already authenticated"
_UNKNOWN = "unknown command"

_Command = tuple[Any, ...]


def check(url: str, deadline: float, workers: int = 1) -> str:
    """Wait for Redis until the monotonic `deadline`, check it for `workers` workers, and return its version.

    Raises StartError if Redis is unreachable, refuses the credentials, is unsuitable, or denies rights. The
    error's text has a line for each problem.
    """
    while True:
        try:
            return _examine(url, workers)
        except redis.exceptions.AuthenticationError as error:
            if _UNAUTHENTICATED in str(error):
                raise StartError("Redis asks for a password, and its URL names none") from error
            raise StartError(f"Redis refuses the user or password that its URL names: {error}") from error
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            # This includes BusyLoadingError: Redis still reads its data after a start.
            if time.monotonic() > deadline:
                raise StartError(f"Redis cannot be reached: {error}") from error
        except ValueError:  # not shown, because its text may quote part of a password
            raise StartError("Redis: its URL cannot be read; special characters are written as %XX") from None
        except redis.exceptions.ResponseError as error:
            if _UNKNOWN in str(error):  # Redis does not know HELLO
                raise StartError(f"Redis is too old: version {_OLDEST} or later is needed") from error
            raise StartError(f"Redis: {error}") from error
        except redis.exceptions.RedisError as error:
            raise StartError(f"Redis: {error}") from error
        time.sleep(_TRY_AGAIN)


def commands(database: int) -> list[_Command]:
    """Return every command that the bus sends or its scripts call, in an order in which each succeeds."""
    name = f"check:{secrets.token_hex(8)}"
    text, number, users, scores = (f"{name}:{kind}" for kind in ("text", "number", "users", "scores"))
    # User and group 0 do not exist.
    families = [
        *(keys.session(0), keys.left(0), keys.told(0), keys.burst(0), f"rate:{name}"),
        *(keys.lease(name), keys.users(name), keys.reap(name), keys.LEASES, keys.BORN),
    ]
    channels = [keys.user_channel(0), "g0", keys.worker_channel(name), keys.ALL]
    return [
        ("CLIENT", "SETNAME", "forkchat"),
        *([("SELECT", database)] if database else []),
        ("PING",),
        ("INFO", "server"),
        ("TIME",),
        ("SET", text, "", "EX", _TTL),
        ("SET", number, "0", "EX", _TTL),
        ("GET", text),
        ("MGET", text, number),
        ("EXISTS", text),
        ("EXPIRE", text, _TTL),
        ("TTL", text),
        ("PTTL", text),
        ("INCR", number),
        ("ZADD", scores, 0, "0"),
        ("EXPIRE", scores, _TTL),
        ("ZCARD", scores),
        ("ZRANGE", scores, 0, 0),
        ("ZREMRANGEBYSCORE", scores, 1, 1),
        ("ZREM", scores, "0"),
        ("SADD", users, "0"),
        ("EXPIRE", users, _TTL),
        ("SMEMBERS", users),
        ("SRANDMEMBER", users, 1),
        ("SREM", users, "0"),
        ("EVAL", "return 1", len(families), *families),
        ("SUBSCRIBE", *channels),
        ("UNSUBSCRIBE", *channels),
        ("PUBLISH", keys.worker_channel(name), ""),
        ("DEL", text, number, users, scores),
    ]


def _examine(url: str, workers: int) -> str:
    connection = open_plain(url, timeout=3.0)
    try:
        version = metadata(connection, "version")
        if int(version.split(".")[0]) < _OLDEST:
            raise StartError(f"Redis {version} is too old: version {_OLDEST} or later is needed")
        why = unsuitable(connection)
        problems = [why] if why else _refusals(connection, url) or _settings(connection, workers)
        if problems:
            raise StartError("\n".join(f"Redis: {problem}" for problem in problems))
        return version
    finally:
        connection.disconnect()


def _refusals(connection: Connection, url: str) -> list[str]:
    """Return a sentence for each missing right, and for each other reason why Redis refuses commands."""
    denied: dict[str, None] = {}
    failed: dict[str, list[str]] = {}
    for command in commands(_database(url)):
        try:
            _run(connection, command)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            raise
        except redis.exceptions.NoPermissionError as error:
            denied[_missing(command[0], str(error))] = None
        except redis.exceptions.RedisError as error:
            why = f"{_UNKNOWN}: it must not be renamed" if _UNKNOWN in str(error) else str(error)
            failed.setdefault(why, []).append(command[0])
    return [*denied, *(f"{', '.join(dict.fromkeys(names))}: {error}" for error, names in failed.items())]


def _run(connection: Connection, command: _Command) -> None:
    connection.send_command(*command)
    is_push = command[0] in ("SUBSCRIBE", "UNSUBSCRIBE")
    for _ in command[1:] if is_push else [None]:  # Redis sends a push for each channel
        connection.read_response(push_request=is_push)


def _missing(name: str, error: str) -> str:
    """Return a sentence that names the missing right and how to grant it."""
    if re.search(r"\brun the\b", error):
        right = "client|setname" if name == "CLIENT" else name.lower()
        return f"the user may not call {name}: add +{right} to its rights (docs/operations.md has them all)"
    if "channel" in error:
        return "the user may not use all channels: add &* to its rights"
    return "the user may not use all keys: add ~* to its rights"


def _settings(connection: Connection, workers: int) -> list[str]:
    """Return the server-wide settings that would drop sessions or keep workers out, a sentence for each."""
    found = _info(connection, "memory") | _info(connection, "clients")
    problems, policy = [], found.get("maxmemory_policy", _KEEPS_ALL)
    if policy != _KEEPS_ALL and found.get("maxmemory", "0") != "0":
        problems.append(
            f"maxmemory-policy is {policy}, which drops sessions at random: set it to {_KEEPS_ALL}"
        )
    needed, allowed = _CONNECTIONS * workers, found.get("maxclients", "")
    if allowed and int(allowed) < needed:
        problems.append(
            f"maxclients is {allowed}, and the workers hold {needed} connections: raise it beyond that, or "
            "lower [server] workers"
        )
    return problems


def _info(connection: Connection, section: str) -> dict[str, str]:
    connection.send_command("INFO", section)
    text: bytes = connection.read_response()
    return dict(line.split(":", 1) for line in text.decode().split("\r\n") if ":" in line)


def _database(url: str) -> int:
    return int(parse(url).get("db", 0))
