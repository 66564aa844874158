"""Redis connections from a URL: opened and authenticated by redis-py, then used without redis-py."""

from __future__ import annotations

import re
import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis.exceptions
from redis.backoff import NoBackoff
from redis.connection import Connection, UnixDomainSocketConnection, parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from forkchat.errors import StartError

#: Characters of a run_id that are kept: enough to tell two runs apart.
_RUN = 12
#: Query parameters that a `rediss://` URL may have.
_TLS = {"ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}


def parse(url: str) -> dict[str, Any]:
    """Parse a URL into redis-py's arguments.

    Raises ValueError, whose text may quote a password, if redis-py cannot parse the URL. Raises StartError
    for parts of the URL that redis-py would ignore, or fail at later.
    """
    arguments: dict[str, Any] = parse_url(url)
    parts = urlsplit(url)
    known = {"db"} | (_TLS if parts.scheme == "rediss" else set())
    if parse_qs(parts.query).keys() - known:  # not quoted: it may be part of a password
        raise StartError(f"Redis: its URL has an unknown parameter; known are {', '.join(sorted(known))}")
    if parts.scheme == "unix":
        if not arguments.get("path") or parts.hostname:
            raise StartError("Redis: its URL must be of the form unix:///path")
    elif not re.fullmatch(r"/?\d*", parts.path):
        raise StartError("Redis: its URL must end with the number of a database, as redis://host:port/0")
    return arguments


def connect(url: str, timeout: float) -> tuple[Connection, str]:
    """Open an authenticated RESP3 connection. Return it and the run of Redis that it leads to.

    `timeout` is in seconds and bounds connecting and each call. Nothing is retried, because the caller
    decides when to open another connection. Raises redis.exceptions.RedisError, also if the server is
    `unsuitable`.
    """
    connection = _open(url, timeout, client_name="forkchat")
    why = unsuitable(connection)
    if why:
        connection.disconnect()
        raise redis.exceptions.ReadOnlyError(why)
    connection.send_command("INFO", "server")
    return connection, _run_id(connection.read_response())


def open_plain(url: str, timeout: float) -> Connection:
    """Open a connection to any server, without commands that need a right.

    The connection sets no client name and does not select the URL's database.
    """
    return _open(url, timeout, db=0)


def _open(url: str, timeout: float, **more: Any) -> Connection:
    arguments = parse(url)
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
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
            **more,
        }
    )
    connection.connect()
    return connection


def _run_id(info: bytes) -> str:
    """Return a short form of the server's `run_id`, which changes at each start of the server."""
    found = re.search(rb"^run_id:(\w+)", info, re.MULTILINE)
    if found is None:
        raise redis.exceptions.InvalidResponse("INFO names no run_id")
    return found[1].decode()[:_RUN]


def metadata(connection: Connection, key: str) -> str:
    """Return the server's `version`, `mode` or `role` as it gave it in the handshake; "" if it gave none."""
    said: dict[Any, Any] = connection.handshake_metadata  # keys are bytes with hiredis
    return str(said.get(key.encode(), b"").decode())


def unsuitable(connection: Connection) -> str:
    """Return why this server cannot be used, and what to do about it; "" if it can be used."""
    mode, role = metadata(connection, "mode"), metadata(connection, "role")
    if mode == "cluster":
        return "it is a node of a Redis Cluster, which forkchat cannot use: name a Redis of its own"
    if mode == "sentinel":
        return "it is a sentinel: name the Redis that it watches, by an address that follows the primary"
    if role != "master":  # publishes to a replica do not reach the other servers
        return "it is a replica of another Redis: name the primary"
    return ""


def socket_of(connection: Connection) -> socket.socket:
    """Return the socket, over TLS an `ssl.SSLSocket`.

    Only this function uses the private attribute, because redis-py has no public accessor.
    """
    sock = connection._sock
    assert sock is not None, "not connected"
    return sock
