"""Redis connections from a URL: made and authenticated by redis-py, then used without it."""

from __future__ import annotations

import socket
import time
from typing import Any

import redis.exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, UnixDomainSocketConnection, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from forkchat.errors import StartError

_TRY_AGAIN = 0.1


def connect(url: str, timeout: float) -> Connection:
    """A connected and authenticated connection that speaks RESP3.

    `timeout` seconds bound connecting and each call. Nothing is tried twice: whoever holds the
    connection decides when to make another. Raises redis.exceptions.RedisError, also where the URL leads to a
    replica: what it is told, the others do not hear.
    """
    arguments: dict[str, Any] = parse_url(url)
    kind = arguments.pop("connection_class", Connection)
    if kind is not UnixDomainSocketConnection:
        arguments["socket_connect_timeout"] = timeout
    connection: Connection = kind(
        **{
            **arguments,
            "socket_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            "protocol": 3,
            "client_name": "forkchat",
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
    )
    connection.connect()
    if role_of(connection) != "master":
        connection.disconnect()
        raise redis.exceptions.ReadOnlyError("it is a replica of another Redis")
    return connection


def role_of(connection: Connection) -> str:
    """What the server said of itself when the connection was made: `master` or `replica`."""
    metadata: dict[Any, Any] = connection.handshake_metadata  # with hiredis its keys are bytes
    return str(metadata[b"role"].decode())


def socket_of(connection: Connection) -> socket.socket:
    """The socket (over TLS an `ssl.SSLSocket`). redis-py has no public accessor; this is the only use."""
    sock = connection._sock
    assert sock is not None, "not connected"
    return sock


def check(url: str, deadline: float) -> str:
    """Wait until Redis answers (monotonic `deadline`); its version.

    Raises StartError, with whether it was unreachable or would not have us.
    """
    while True:
        try:
            return _version(connect(url, timeout=3.0))
        except redis.exceptions.AuthenticationError as error:
            raise StartError(f"Redis refuses the user or password that its URL names: {error}") from error
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            # Among them BusyLoadingError: it reads its data after a start.
            if time.monotonic() > deadline:
                raise StartError(f"Redis cannot be reached: {error}") from error
        except ValueError:  # its text may quote half of a password
            raise StartError("Redis: its URL cannot be read; special characters are written as %XX") from None
        except redis.exceptions.RedisError as error:
            raise StartError(f"Redis: {error}") from error
        time.sleep(_TRY_AGAIN)


def _version(connection: Connection) -> str:
    try:
        connection.send_command("PING")
        connection.read_response()
        metadata: dict[Any, Any] = connection.handshake_metadata  # with hiredis its keys are bytes
        return str(metadata[b"version"].decode())
    finally:
        connection.disconnect()
