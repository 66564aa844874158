"""Checks that a MySQL server can serve the store: its version, settings, engines and our rights.

Each right is tried with a statement that changes nothing, because it finds no row or no table. The server
checks rights first.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence

import MySQLdb

from forkchat.store.connection import Connection
from forkchat.store.database import Cursor

#: The oldest server versions that are known to work.
_OLDEST = {"MariaDB": (10, 6), "MySQL": (8, 0)}
#: Bytes of the largest packet with a full batch (see writer.py), and of what surrounds a single message.
_BATCH_PACKET, _AROUND = 2 << 20, 64 << 10
#: Bytes that one byte of text can become. A control character becomes `\\u0001`, with its backslash doubled.
_ESCAPED = 7

_SETTINGS = (
    *("autocommit", "binlog_format", "disabled_storage_engines", "enforce_storage_engine", "log_bin"),
    *("innodb_read_only", "max_allowed_packet", "max_connections", "max_user_connections"),
    *("read_only", "super_read_only"),
    *("transaction_isolation", "tx_isolation"),
)
_READ_ONLY = "it is read-only, as a replica is: name the primary in its URL, or set read_only=0"
_BINLOG = "binlog_format is STATEMENT, which cannot log what forkchat does: set it to ROW or MIXED"
#: Errors caused by the server's state, not by missing rights.
_KNOWN = {1290: _READ_ONLY, 1792: _READ_ONLY, 1836: _READ_ONLY, 1665: _BINLOG}
#: Statements that try our rights on a table. The first also yields the name of a column for the UPDATE.
_ON_TABLES = (
    "SELECT * FROM {table} LIMIT 0 FOR UPDATE SKIP LOCKED",
    "INSERT INTO {table} SELECT * FROM {table} WHERE FALSE",
    "UPDATE {table} SET {column} = {column} WHERE FALSE",
    "DELETE FROM {table} WHERE FALSE",
)
#: Statements that try our rights on the database.
_ON_DATABASE = (
    "CREATE TABLE {new} LIKE {nowhere}",
    "ALTER TABLE {nowhere} ADD COLUMN x INT",
    "CREATE INDEX x ON {nowhere} (x)",
)
_DENIED = re.compile(r"^([A-Z, ]+) command denied")
_DATABASE_DENIED = 1044
#: No such database, column or table. The server reports it only after it has checked the rights.
#: The column is unknown if SELECT was denied.
_NOT_THERE = frozenset([1049, 1054, 1146])


def packet_for(text: int, frame: int) -> int:
    """Return the bytes of the largest packet that stores messages. `text` and `frame` are as in [limits]."""
    return max(_BATCH_PACKET, min(_ESCAPED * text, 2 * frame) + _AROUND)


def problems(
    connection: Connection, database: str, tables: Sequence[str], packet: int, sessions: int
) -> list[str]:
    """Return a sentence for each reason why the server cannot be used.

    `tables` are the schema's, and may be missing. `packet` is the result of `packet_for`.
    `sessions` is the number of connections that all workers hold.

    Raises MySQLdb.Error if the server cannot be queried.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")  # the version in the connection's greeting may be a proxy's
        too_old = _too_old(cursor.fetchone()[0])
        if too_old:
            return [too_old]  # the other queries may not work on it
        found = [*_settings(cursor, packet, sessions), *_engines(cursor, database, tables)]
        found += _rights(cursor, database, tables)
    return list(dict.fromkeys(found))


def _too_old(server: str) -> str:
    kind = "MariaDB" if "MariaDB" in server else "MySQL"
    numbers = re.findall(r"\d+", server.removeprefix("5.5.5-"))
    if tuple(map(int, numbers[:2])) >= _OLDEST[kind]:
        return ""
    return f"{server} is too old: MariaDB 10.6 or MySQL 8, or later, is needed"


def _settings(cursor: Cursor, packet: int, sessions: int) -> Iterator[str]:
    cursor.execute("SHOW VARIABLES WHERE Variable_name IN %s", (_SETTINGS,))
    found: dict[str, str] = {name.lower(): str(value) for name, value in cursor.fetchall()}
    room = int(found["max_allowed_packet"])
    if room < packet:
        yield (
            f"max_allowed_packet is {room}, and messages of [limits] text need {packet}: raise it to that, "
            "or lower [limits] text and frame"
        )
    for name in (
        "max_connections",
        "max_user_connections",
    ):  # the latter is the limit of our user; 0 means no limit
        if 0 < int(found[name]) < sessions:
            yield (
                f"{name} is {found[name]}, and the workers hold {sessions}: raise it beyond that, or lower "
                "[server] workers or [mysql] readers"
            )
    if any(found.get(name, "OFF") not in ("OFF", "0") for name in _SETTINGS if name.endswith("read_only")):
        yield _READ_ONLY
    if found.get("log_bin") == "ON" and found.get("binlog_format") == "STATEMENT":
        yield _BINLOG
    isolation = found.get("transaction_isolation") or found.get("tx_isolation")
    if isolation != "READ-COMMITTED" or found["autocommit"] != "ON":
        yield (
            f"a session has isolation {isolation} and autocommit {found['autocommit']} where it has set "
            "READ-COMMITTED and ON: let no proxy share or change sessions"
        )
    enforced = found.get("enforce_storage_engine", "")
    if enforced.lower() not in ("", "innodb"):
        yield f"enforce_storage_engine is {enforced}: set it to InnoDB, or not at all"
    if "innodb" in found.get("disabled_storage_engines", "").lower().split(","):
        yield "disabled_storage_engines has InnoDB: take it out"


def _engines(cursor: Cursor, database: str, tables: Sequence[str]) -> Iterator[str]:
    cursor.execute("SELECT SUPPORT FROM information_schema.ENGINES WHERE ENGINE = 'InnoDB'")
    if cursor.fetchone() not in (("YES",), ("DEFAULT",)):
        yield "InnoDB is switched off: switch it on"
    cursor.execute(
        "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME IN %s AND ENGINE <> 'InnoDB' ORDER BY TABLE_NAME",
        (database, tables),
    )
    for table, engine in cursor.fetchall():
        yield f"the table {table} is {engine}: ALTER TABLE {table} ENGINE = InnoDB"


def _rights(cursor: Cursor, database: str, tables: Sequence[str]) -> list[str]:
    missing: set[str] = set()
    found: dict[str, None] = {}
    for statement in _statements(cursor, database, tables):
        try:
            cursor.execute(statement)
            cursor.fetchall()
        except MySQLdb.Error as error:
            number, text = error.args[0], str(error.args[-1])
            denied = _DENIED.match(text)
            if denied:
                missing.update(denied[1].split(", "))
            elif number == _DATABASE_DENIED:
                found[f"{text}: grant it what docs/operations.md has"] = None
            elif number not in _NOT_THERE:
                found[_KNOWN.get(number, f"{statement.split(maxsplit=1)[0]} fails: {text} ({number})")] = None
    if missing:
        rights = ", ".join(sorted(missing))
        found[f"the user may not {rights}: GRANT {rights} ON {database}.* TO it"] = None
    return list(found)


def _statements(cursor: Cursor, database: str, tables: Sequence[str]) -> Iterator[str]:
    """Yield a statement for each right and table. The statements lock nothing."""
    for name in tables:
        column = ""
        for tried in _ON_TABLES:
            yield tried.format(table=_quoted(database, name), column=column)
            column = column or _quoted(cursor.description[0][0] if cursor.description else "x")
    nowhere = f"check_{secrets.token_hex(8)}"
    for tried in _ON_DATABASE:
        yield tried.format(nowhere=_quoted(database, nowhere), new=_quoted(database, f"{nowhere}_new"))


def _quoted(*names: str) -> str:
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)
