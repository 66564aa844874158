"""The schema: sql/NNN-name.sql, applied in order, once each, even if several hosts start together."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import MySQLdb

from forkchat import log
from forkchat.errors import StartError
from forkchat.store import check
from forkchat.store.connection import (
    Address,
    Connection,
    connect,
    is_already_there,
    is_deadlock,
    is_lock_timeout,
    is_lost,
    is_no_database,
    is_no_table,
    is_outside_cluster,
)

#: Seconds that a statement may take: a whole day, because a table may be large.
_DDL_TIMEOUT = 24 * 3600
#: Seconds of silence after which MySQL ends a migrating session and its lock. So other hosts do not wait for
#: one that has frozen or lost its network. A running statement does not count as silence.
_SILENCE = 6
#: Seconds of one wait for the lock. The wait is repeated until the lock is free.
_LOCK_WAIT = 1
#: Seconds between attempts to connect, and at most between attempts to migrate.
_TRY_AGAIN = 0.1
#: Attempts at a migration that collides with another host's.
_TRIES = 100
#: Finds the tables that a file creates.
_CREATED = re.compile(r"^CREATE TABLE IF NOT EXISTS (\w+)", re.MULTILINE)
_DENIED = ((1044,), (1045,))
_TABLE_NAME = "schema_version"
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_version (
    version INT UNSIGNED NOT NULL,
    name    VARCHAR(100) NOT NULL,
    applied TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (version)
) ENGINE = InnoDB
"""


class Status(NamedTuple):
    server: str  # the server's version
    version: int  # of the schema; 0 if there is none
    newest: int  # the version after all files are applied


class File(NamedTuple):
    version: int
    name: str
    sql: str


def migrate(url: str, files: list[File], deadline: float) -> Status:
    """Wait until the server answers, then bring its schema up to date. `deadline` is monotonic.

    Create the database if it is missing. Raises StartError if that fails, with advice on what to do.
    """
    with _reported(), closing(_open(url, deadline, make_database=True)) as connection:
        _lock(connection, Address.parse(url).database)
        for tries_left in reversed(range(_TRIES)):
            try:
                return _bring_up(connection, files)
            except MySQLdb.Error as error:
                if not (is_deadlock(error) or is_lock_timeout(error)) or not tries_left:
                    raise
            time.sleep(random.uniform(0, _TRY_AGAIN))  # on Galera, hosts can collide in spite of the lock
    raise AssertionError("unreachable")


def status(
    url: str, files: list[File], deadline: float, text: int = 0, frame: int = 0, sessions: int = 0
) -> Status:
    """Return the current status without changing anything. `text` and `frame` are bytes, as in [limits].

    `sessions` is the number of connections that all workers hold.

    Raises StartError if the server cannot be used, with a line for each reason.
    """
    with _reported(), closing(_open(url, deadline, make_database=False)) as connection:
        _examine(connection, url, files, check.packet_for(text, frame), sessions)
        return Status(connection.get_server_info(), _version(connection, files), files[-1].version)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except MySQLdb.Error as error:
        hint = ": its user and rights are in docs/operations.md" if error.args[:1] in _DENIED else ""
        raise StartError(f"MySQL: {_text(error)}{hint}") from error
    except ValueError as error:
        raise StartError(f"MySQL: {error}") from error


def _examine(connection: Connection, url: str, files: list[File], packet: int, sessions: int) -> None:
    tables = [_TABLE_NAME, *(name for file in files for name in _CREATED.findall(file.sql))]
    problems = check.problems(connection, Address.parse(url).database, tables, packet, sessions)
    if problems:
        raise StartError("\n".join(f"MySQL: {problem}" for problem in problems))


def _bring_up(connection: Connection, files: list[File]) -> Status:
    with connection.cursor() as cursor:
        cursor.execute(_TABLE)
    version = _version(connection, files)
    for file in files:
        if file.version > version:
            _apply(connection, file)
    return Status(connection.get_server_info(), files[-1].version, files[-1].version)


def statements(sql: str) -> list[str]:
    """Split SQL into statements.

    A statement ends with a `;` at the end of a line. Lines that begin with `--` are comments.
    """
    code = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--"))
    parts = re.split(r";[ \t]*$", code, flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]


def read(sql_dir: Path) -> list[File]:
    """Return the schema's files. Raises StartError if their names are wrong or not numbered 1, 2, 3, …"""
    files = []
    for path in sorted(sql_dir.glob("*.sql")):
        number, _, name = path.stem.partition("-")
        if not number.isdecimal() or not name:
            raise StartError(f"{path}: not named like 001-name.sql")
        files.append(File(int(number), name, path.read_text(encoding="utf-8")))
    if not files or [file.version for file in files] != list(range(1, len(files) + 1)):
        raise StartError(f"{sql_dir}: its files must be numbered 1, 2, 3, …")
    return files


def _open(url: str, deadline: float, make_database: bool) -> Connection:
    while True:
        try:
            return _serving(connect(url, read_timeout=_DDL_TIMEOUT))
        except MySQLdb.Error as error:
            if is_no_database(error):
                _expect_makeable(url)
                if make_database:
                    _make_database(url)
                    continue
                return connect(url, use_database=False)
            if not (is_lost(error) or is_outside_cluster(error)) or time.monotonic() > deadline:
                raise
        time.sleep(_TRY_AGAIN)


def _expect_makeable(url: str) -> None:
    """Check that the name of the database is harmless. Raises StartError if it is not.

    The name becomes part of a statement, because an identifier cannot be a parameter.
    """
    name = Address.parse(url).database
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", name):
        raise StartError(
            f"MySQL: there is no database {name!r}, and forkchat makes none of that name: make it yourself"
        )


def _serving(connection: Connection) -> Connection:
    """Return the connection, if its server answers a query. Raises MySQLdb.Error if it does not.

    A Galera node outside its cluster accepts connections but answers no query.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except MySQLdb.Error:
        connection.close()
        raise
    return connection


def _make_database(url: str) -> None:
    name = Address.parse(url).database
    with closing(connect(url, use_database=False)) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4")


def _lock(connection: Connection, database: str) -> None:
    """Take the lock under which the hosts that share the database migrate it one after another.

    The server releases the lock when the connection ends. Lock names are global to the server and have at
    most 64 bytes.
    """
    name = "forkchat.schema." + hashlib.sha256(database.encode()).hexdigest()[:16]
    told = None
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION wait_timeout = %s", (_SILENCE,))
        while True:
            cursor.execute("SELECT GET_LOCK(%s, %s), IS_USED_LOCK(%s)", (name, _LOCK_WAIT, name))
            is_locked, holder = cursor.fetchone()
            if is_locked:
                return
            if holder != told:
                log.warning("schema.waiting", why="another host migrates the database", connection=holder)
                told = holder


def _version(connection: Connection, files: list[File]) -> int:
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT COALESCE(MAX(version), 0) FROM schema_version")
        except MySQLdb.Error as error:
            if is_no_table(error):
                return 0
            raise
        version = int(cursor.fetchone()[0])
    if version > files[-1].version:
        raise StartError(
            f"MySQL: the schema has version {version}, and this forkchat knows {files[-1].version}: "
            "a newer forkchat has been here; run that one, or restore a backup"
        )
    return version


def _apply(connection: Connection, file: File) -> None:
    with connection.cursor() as cursor:
        for statement in statements(file.sql):
            try:
                cursor.execute(statement)
            except MySQLdb.Error as error:
                if not is_already_there(error):
                    raise
        cursor.execute(
            "INSERT IGNORE INTO schema_version (version, name) VALUES (%s, %s)", (file.version, file.name)
        )


def _text(error: MySQLdb.Error) -> str:
    number, *rest = error.args or ("",)
    return f"{rest[0]} ({number})" if rest else str(number)
