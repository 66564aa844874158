"""Redis connections from a URL: made and authenticated by redis-py, then used without it."""

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

#: Characters of a run_id that tell two runs apart.
_RUN = 12
#: Parameters of a `rediss://` URL.
_TLS = {"ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}


def parse(url: str) -> dict[str, Any]:
    """What a URL says, as redis-py's arguments. Raises ValueError, whose text may quote a password, and
    StartError for what redis-py would pass over, or fail at later.
    """
    arguments: dict[str, Any] = parse_url(url)
    parts = urlsplit(url)
    known = {"db"} | (_TLS if parts.scheme == "rediss" else set())
    if parse_qs(parts.query).keys() - known:  # not named: it may be half of a password
        raise StartError(f"Redis: its URL has an unknown parameter; known are {', '.join(sorted(known))}")
    if parts.scheme == "unix":
        if not arguments.get("path") or parts.hostname:
            raise StartError("Redis: its URL must be of the form unix:///path")
    elif not re.fullmatch(r"/?\d*", parts.path):
        raise StartError("Redis: its URL must end with the number of a database, as redis://host:port/0")
    return arguments


def connect(url: str, timeout: float) -> tuple[Connection, str]:
    """A connected and authenticated connection that speaks RESP3, and the run of Redis that it leads to.

    `timeout` seconds bound connecting and each call. Nothing is tried twice: whoever holds the
    connection decides when to make another. Raises redis.exceptions.RedisError, also where the URL leads to a
    server that `unsuitable` names.
    """
    connection = _open(url, timeout, client_name="forkchat")
    why = unsuitable(connection)
    if why:
        connection.disconnect()
        raise redis.exceptions.ReadOnlyError(why)
    connection.send_command("INFO", "server")
    return connection, _run_id(connection.read_response())


def open_plain(url: str, timeout: float) -> Connection:
    """The same of any server, without the commands that need a right: neither named nor in its database."""
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
    """A short form of the server's `run_id`: another one after each of its starts."""
    found = re.search(rb"^run_id:(\w+)", info, re.MULTILINE)
    if found is None:
        raise redis.exceptions.InvalidResponse("INFO names no run_id")
    return found[1].decode()[:_RUN]


def metadata(connection: Connection, key: str) -> str:
    """What the server said of itself when the connection was made: its `version`, `mode` or `role`; or ""."""
    said: dict[Any, Any] = connection.handshake_metadata  # with hiredis its keys are bytes
    return str(said.get(key.encode(), b"").decode())


def unsuitable(connection: Connection) -> str:
    """Why this server is not the one to use, and what to do about it; "" if it is."""
    mode, role = metadata(connection, "mode"), metadata(connection, "role")
    if mode == "cluster":
        return "it is a node of a Redis Cluster, which forkchat cannot use: name a Redis of its own"
    if mode == "sentinel":
        return "it is a sentinel: name the Redis that it watches, by an address that follows the primary"
    if role != "master":  # what it is told, the others do not hear
        return "it is a replica of another Redis: name the primary"
    return ""


def socket_of(connection: Connection) -> socket.socket:
    """The socket (over TLS an `ssl.SSLSocket`). redis-py has no public accessor; this is the only use."""
    sock = connection._sock
    assert sock is not None, "not connected"
    return sock
