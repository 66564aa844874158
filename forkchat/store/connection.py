"""MySQL connections from a URL, and what the driver's errors mean."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import MySQLdb
import MySQLdb.connections
import MySQLdb.converters  # the driver does so when it connects; a user other than root may not read it then

from forkchat.errors import Unavailable

Connection = Any  # mysqlclient's types know neither `ssl` nor `write_timeout`

_DUPLICATE = 1062
_DEADLOCK = 1213
_LOCK_TIMEOUT = 1205
_READ_ONLY = 1290
_NO_DATABASE = 1049
_OUTSIDE = 1047
_ALREADY_THERE = frozenset([1060, 1061])  # a column, an index
_NO_TABLE = frozenset([1046, 1146])

#: The connection is gone, or was never made; InterfaceError's 0 is a call on a closed one.
_LOST = frozenset(
    [0, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2012, 2013, 2014, 2055]
)
#: The server is there and cannot serve now: full, out of resources, read-only after a failover, not
#: in its cluster, timed out, or it no longer knows our account. Any other error is as transient to us, but
#: is logged as unknown.
_KNOWN = _LOST | {
    *(1021, 1037, 1040, 1041, 1044, 1045, 1114, 1129, 1180, 1203, 1226, 1317, 1792, 1836, 1969),
    *(_READ_ONLY, _NO_DATABASE, _OUTSIDE, _DEADLOCK, _LOCK_TIMEOUT, 3024, 4031),
}

#: Seconds that MySQL may take to answer. Whoever is refused then and asks again has an answer within 10 s.
PATIENCE = 5

#: What our statements rely on, whatever the server's defaults are (DEFAULT would be those). `/*!80000` is
#: read by MySQL alone, `/*M!` by MariaDB alone. A transaction whose client falls silent is ended after 6 s,
#: and a lock, of rows or of all tables (a backup's), is waited for 3 s: a host that loses its network holds
#: locks for less than 10 s. MySQL has no such limit for transactions and ends idle sessions instead. On a
#: Galera node a read sees what any other node has committed (`wsrep_sync_wait`), and fails outside the
#: cluster (`wsrep_dirty_reads`, which would undo the former too).
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
    """What a `mysql://` URL names. An empty `user` is the client library's choice: the system's user."""

    database: str
    host: str
    port: int
    unix_socket: str
    user: str
    password: str = field(repr=False)
    ssl_ca: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ValueError, whose text never contains the URL: there is a password in it."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its text may quote a password
            raise ValueError("its URL cannot be read; special characters are written as %XX") from None
        query = parse_qs(parts.query)
        database = unquote(parts.path.removeprefix("/"))
        if parts.scheme != "mysql" or not database or "/" in database:
            raise ValueError("its URL must be of the form mysql://user:password@host:port/database")
        if query.keys() - {"unix_socket", "ssl_ca"}:
            raise ValueError("its URL has an unknown parameter; known are ssl_ca, unix_socket")
        host = unquote(parts.hostname or "")
        if host == "localhost" and port:
            host = "127.0.0.1"  # the client library would take `localhost` for its default Unix socket
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
        """Those of `MySQLdb.connect` that say where and as whom, but for the database."""
        named = {key: getattr(self, key) for key in ("host", "unix_socket", "user", "password")}
        arguments = {key: value for key, value in named.items() if value}
        if self.ssl_ca:
            arguments |= {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": self.ssl_ca}}
        return arguments | {"port": self.port}


class _Connection(MySQLdb.connections.Connection):
    """The driver's, whose detour by a table of types takes half the time that a message's row costs us."""

    def literal(self, value: Any) -> bytes:
        """As the driver quotes a parameter."""
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
    """A connection that commits each statement by itself and reads what is committed.

    Time-outs are seconds. Raises MySQLdb.Error, which `translate` and the predicates below explain.
    """
    address = Address.parse(url)
    arguments = address.arguments()
    if use_database:
        arguments["database"] = address.database
    connection = _Connection(
        **arguments,
        charset="utf8mb4",
        multi_statements=True,  # of the writer's one packet
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
    """Close it, which may hold locks; whether it can still be reached or not."""
    with suppress(MySQLdb.Error):
        if connection is not None:
            connection.close()


def _number(error: BaseException) -> int | None:
    """MySQL's error number; the driver puts it first, but not where the driver itself complains."""
    first = error.args[0] if isinstance(error, MySQLdb.Error) and error.args else None
    return first if isinstance(first, int) else None


def is_lost(error: BaseException) -> bool:
    """The connection can no longer be used, and what it was doing may or may not have happened."""
    return _number(error) in _LOST


def is_outside_cluster(error: BaseException) -> bool:
    """The server is a Galera node that does not serve now. It says so by a lock time-out where a read of no
    table waits for what other nodes have committed."""
    return _number(error) in (_OUTSIDE, _LOCK_TIMEOUT)


def is_deadlock(error: BaseException) -> bool:
    """The whole transaction was rolled back, and may be repeated."""
    return _number(error) == _DEADLOCK


def is_lock_timeout(error: BaseException) -> bool:
    """Someone held a lock for too long. The statement was rolled back, the transaction was not."""
    return _number(error) == _LOCK_TIMEOUT


def is_duplicate(error: BaseException) -> bool:
    return _number(error) == _DUPLICATE


def is_no_database(error: BaseException) -> bool:
    return _number(error) == _NO_DATABASE


def is_no_table(error: BaseException) -> bool:
    """There is no such table, or no database was chosen that it could be in."""
    return _number(error) in _NO_TABLE


def read_only_error() -> MySQLdb.OperationalError:
    """What a server says that takes no writes: it is no longer the primary."""
    return MySQLdb.OperationalError(_READ_ONLY, "the server is read-only")


def is_read_only(connection: Connection) -> bool:
    """Whether the server takes no writes. Raises MySQLdb.Error."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@global.read_only")
        return bool(cursor.fetchone()[0])


def keeps_connection(error: BaseException) -> bool:
    """Whether the connection is as good as before. After any other error a new one is made: the server's name
    may lead elsewhere by now."""
    return _number(error) in (_DUPLICATE, _DEADLOCK, _LOCK_TIMEOUT)


def is_known(error: BaseException) -> bool:
    """Whether the error's number is one that we expect of a server that cannot serve."""
    return _number(error) in _KNOWN


def is_already_there(error: BaseException) -> bool:
    """The column or the index that was to be added is there."""
    return _number(error) in _ALREADY_THERE


def translate(error: MySQLdb.Error) -> Unavailable:
    """Any error of MySQL is MySQL's: what the client asked for may be asked again."""
    return Unavailable(f"MySQL cannot serve now ({_number(error)})")
