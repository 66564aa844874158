"""MySQL connections from a URL, and the meaning of the driver's errors."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import MySQLdb
import MySQLdb.connections
import MySQLdb.converters  # the driver imports it at connect, when a non-root user may not read it

from forkchat.errors import Unavailable

Connection = Any  # mysqlclient's types know neither `ssl` nor `write_timeout`

#: Error numbers of MySQL.
_DUPLICATE = 1062
_DEADLOCK = 1213
_LOCK_TIMEOUT = 1205
_READ_ONLY = 1290
_NO_DATABASE = 1049
_OUTSIDE = 1047
_ALREADY_THERE = frozenset([1060, 1061])  # a duplicate column, a duplicate index
_NO_TABLE = frozenset([1046, 1146])

#: Errors of a connection that is gone or was never made. InterfaceError's 0 is a call on a closed connection.
_LOST = frozenset(
    [0, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2012, 2013, 2014, 2055]
)
#: Errors of a server that is reachable but cannot serve now. It may be full, read-only after a failover or
#: outside its cluster. It may lack resources, have timed out, or no longer know our account. All other errors
#: are treated as transient too, but are logged as unknown.
_KNOWN = _LOST | {
    *(1021, 1037, 1040, 1041, 1044, 1045, 1114, 1129, 1180, 1203, 1226, 1317, 1792, 1836, 1969),
    *(_READ_ONLY, _NO_DATABASE, _OUTSIDE, _DEADLOCK, _LOCK_TIMEOUT, 3024, 4031),
}

#: Seconds that MySQL may take to answer. A client that is refused then and retries has an answer within 10 s.
PATIENCE = 5

#: Session settings that our statements rely on. Values are explicit, because DEFAULT means the server's own.
#: Only MySQL reads `/*!80000`, and only MariaDB reads `/*M!`.
#: MariaDB ends a transaction after its client has been silent for 6 s. MySQL has no such limit for
#: transactions and ends idle sessions instead. A statement waits 3 s for a lock on rows, or on all tables (a
#: backup's lock). With these limits, a host that loses its network holds locks for less than 10 s.
#: On a Galera node, `wsrep_sync_wait` makes a read see what any other node has committed. A read outside the
#: cluster fails, because `wsrep_dirty_reads` is off. If it were on, `wsrep_sync_wait` would have no effect.
_SESSION = (
    "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', sql_safe_updates = 0,"
    " sql_select_limit = 18446744073709551615, max_join_size = 18446744073709551615, completion_type = 0,"
    " sql_auto_is_null = 0, unique_checks = 1, innodb_lock_wait_timeout = 3, lock_wait_timeout = 3,"
    " lc_messages = 'en_US'"
    " /*!80000 , wait_timeout = 6, transaction_read_only = 0 */"
    " /*M! , idle_transaction_timeout = 6, wsrep_sync_wait = 1, wsrep_dirty_reads = 0, tx_read_only = 0 */"
)


@dataclass(frozen=True)
class Address:
    """The parts of a `mysql://` URL. If `user` is empty, the client library uses the system's user."""

    database: str
    host: str
    port: int
    unix_socket: str
    user: str
    password: str = field(repr=False)
    ssl_ca: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a `mysql://` URL.

        Raises ValueError if it is malformed. The text never contains the URL, because that has a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # the original text may quote a password
            raise ValueError("its URL cannot be read; special characters are written as %XX") from None
        query = parse_qs(parts.query)
        database = unquote(parts.path.removeprefix("/"))
        if parts.scheme != "mysql" or not database or "/" in database:
            raise ValueError("its URL must be of the form mysql://user:password@host:port/database")
        if query.keys() - {"unix_socket", "ssl_ca"}:
            raise ValueError("its URL has an unknown parameter; known are ssl_ca, unix_socket")
        host = unquote(parts.hostname or "")
        if host == "localhost" and port:
            host = "127.0.0.1"  # for `localhost` the client library would use its default Unix socket
        return cls(
            database=database,
            host=host,
            port=port or 3306,
            unix_socket=query.get("unix_socket", [""])[0],
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            ssl_ca=query.get("ssl_ca", [""])[0],
        )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `MySQLdb.connect` for host, user and TLS, without the database."""
        named = {key: getattr(self, key) for key in ("host", "unix_socket", "user", "password")}
        arguments = {key: value for key, value in named.items() if value}
        if self.ssl_ca:
            arguments |= {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": self.ssl_ca}}
        return arguments | {"port": self.port}


class _Connection(MySQLdb.connections.Connection):
    """The driver's connection, with faster quoting.

    The driver's lookup in a table of types takes half the time of writing a message's row.
    """

    def literal(self, value: Any) -> bytes:
        """Quote a parameter, with the same result as the driver's."""
        kind = type(value)
        if kind is int:
            return b"%d" % value
        if kind is bytes:
            return self.string_literal(value)  # type: ignore[return-value]
        if kind is tuple:
            return b"(%b)" % b",".join(map(self.literal, value))
        return super().literal(value)


def connect(
    url: str,
    *,
    use_database: bool = True,
    connect_timeout: int = 3,
    read_timeout: int = PATIENCE,
    write_timeout: int = PATIENCE,
) -> Connection:
    """Return a connection that commits each statement by itself and reads what is committed.

    Timeouts are in seconds. Raises MySQLdb.Error if it cannot connect. `translate` and the predicates below
    interpret that error.
    """
    address = Address.parse(url)
    arguments = address.arguments()
    if use_database:
        arguments["database"] = address.database
    connection = _Connection(
        **arguments,
        charset="utf8mb4",
        multi_statements=True,  # the writer sends several statements in one packet
        autocommit=True,
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        write_timeout=write_timeout,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(_SESSION)
    except BaseException:
        close(connection)
        raise
    return connection


def close(connection: Connection | None) -> None:
    """Close the connection, which may hold locks. Ignore errors, because the server may be unreachable."""
    with suppress(MySQLdb.Error):
        if connection is not None:
            connection.close()


def _number(error: BaseException) -> int | None:
    """Return MySQL's error number, or None. The driver puts the number first, except in its own errors."""
    first = error.args[0] if isinstance(error, MySQLdb.Error) and error.args else None
    return first if isinstance(first, int) else None


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection is lost. Its last statement may or may not have been executed."""
    return _number(error) in _LOST


def is_outside_cluster(error: BaseException) -> bool:
    """Tell whether the server is a Galera node that does not serve now.

    Such a node reports a lock timeout even for a read of no table. The read waits for other nodes' commits.
    """
    return _number(error) in (_OUTSIDE, _LOCK_TIMEOUT)


def is_deadlock(error: BaseException) -> bool:
    """Tell whether the whole transaction was rolled back. It may be repeated."""
    return _number(error) == _DEADLOCK


def is_lock_timeout(error: BaseException) -> bool:
    """Tell whether another session held a lock too long. Only the statement was rolled back."""
    return _number(error) == _LOCK_TIMEOUT


def is_duplicate(error: BaseException) -> bool:
    return _number(error) == _DUPLICATE


def is_no_database(error: BaseException) -> bool:
    return _number(error) == _NO_DATABASE


def is_no_table(error: BaseException) -> bool:
    """Tell whether the table does not exist, or no database was selected."""
    return _number(error) in _NO_TABLE


def read_only_error() -> MySQLdb.OperationalError:
    """Return the error of a server that takes no writes because it is no longer the primary."""
    return MySQLdb.OperationalError(_READ_ONLY, "the server is read-only")


def is_read_only(connection: Connection) -> bool:
    """Ask the server whether it is read-only. Raises MySQLdb.Error if the query fails."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@global.read_only")
        return bool(cursor.fetchone()[0])


def keeps_connection(error: BaseException) -> bool:
    """Tell whether the connection is still usable after the error.

    After any other error the caller reconnects, because the server's name may lead elsewhere by now.
    """
    return _number(error) in (_DUPLICATE, _DEADLOCK, _LOCK_TIMEOUT)


def is_known(error: BaseException) -> bool:
    """Tell whether the error's number is expected of a server that cannot serve."""
    return _number(error) in _KNOWN


def is_already_there(error: BaseException) -> bool:
    """Tell whether the column or index to be added already exists."""
    return _number(error) in _ALREADY_THERE


def translate(error: MySQLdb.Error) -> Unavailable:
    """Return `Unavailable` for any error of MySQL, so that the client may retry its request."""
    return Unavailable(f"MySQL cannot serve now ({_number(error)})")
