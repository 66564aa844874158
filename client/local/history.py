"""The messages that were seen, in SQLite: the client opens with them at once, also without a server.

It is a copy of what the server has: a damaged file is put aside, what cannot be written stays in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.local.files import make_private_folder
from client.protocol.events import Message

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE messages (
    conv TEXT, seq INTEGER, sender INTEGER, name TEXT, text TEXT, ts INTEGER, PRIMARY KEY (conv, seq)
) WITHOUT ROWID;
CREATE TABLE conversations (
    conv TEXT PRIMARY KEY, first INTEGER, last INTEGER, read INTEGER, seen INTEGER
) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE inputs (id INTEGER PRIMARY KEY, text TEXT);
PRAGMA user_version = {_VERSION};
"""
_ADD = (
    "INSERT OR IGNORE INTO messages (conv, seq, sender, name, text, ts)"
    " VALUES (?, ?, ?, ?, ?, ?) RETURNING seq"
)
_SELECT = "SELECT conv, seq, sender, name, text, ts FROM messages WHERE "
#: Lines of input that are remembered.
_MAX_INPUTS = 1000


@dataclass
class Stand:
    """How far a conversation goes: `first` is the first that the server has for us (0: not known), `read`
    what the user has read, `seen` what the other side of a pair has.
    """

    conv: str
    first: int = 0
    last: int = 0
    read: int = 0
    seen: int = 0


class History:
    """Of one user, `me`. `on_problem` is told, in words for people, when it goes on in memory alone."""

    def __init__(self, path: Path | None, me: int, on_problem: Callable[[str], None]):
        self._me = me
        self._path = path
        self._on_problem = on_problem
        self._database = _in_memory()
        self._is_on_disk = False
        if path:
            try:
                self._database = _open(path, on_problem)
                self._is_on_disk = True
            except (OSError, sqlite3.Error) as error:
                on_problem(f"{path}: {error}")
                with suppress(sqlite3.Error):  # immutable: reading needs no files beside it then
                    self._take(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True))

    def add(self, messages: Iterable[Message]) -> list[Message]:
        """Keep them; returns those that were not here."""
        return [
            message
            for message in messages
            if self._run(
                _ADD, (message.conv, message.seq, message.sender, message.name, message.text, message.ts)
            )
        ]

    def before(self, conv: str, seq: int, limit: int) -> list[Message]:
        """The last of those below `seq`, ascending."""
        return self._messages("conv = ? AND seq < ? ORDER BY seq DESC LIMIT ?", (conv, seq, limit))[::-1]

    def after(self, conv: str, seq: int, limit: int) -> list[Message]:
        """The first of those above `seq`, ascending."""
        return self._messages("conv = ? AND seq > ? ORDER BY seq LIMIT ?", (conv, seq, limit))

    def find(self, conv: str, text: str, below: int, limit: int = 1) -> list[Message]:
        """The latest below `seq` that have the text in them, whatever its case; latest first."""
        return self._messages(
            "conv = ? AND seq < ? AND contains(text, ?) ORDER BY seq DESC LIMIT ?",
            (conv, below, text.casefold(), limit),
        )

    def stands(self) -> list[Stand]:
        return [Stand(*row) for row in self._run("SELECT conv, first, last, read, seen FROM conversations")]

    def save(self, stand: Stand) -> None:
        self._run(
            "INSERT OR REPLACE INTO conversations (conv, first, last, read, seen) VALUES (?, ?, ?, ?, ?)",
            (stand.conv, stand.first, stand.last, stand.read, stand.seen),
        )

    def forget(self, conv: str | None = None) -> None:
        """One conversation, or all of them."""
        self._run("DELETE FROM messages WHERE conv = coalesce(?, conv)", (conv,))
        self._run("DELETE FROM conversations WHERE conv = coalesce(?, conv)", (conv,))

    def fact(self, name: str) -> str:
        """A text that was kept under that name; "" if none was."""
        rows = self._run("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows else ""

    def set_fact(self, name: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    def inputs(self) -> list[str]:
        """Lines that were typed, the latest first."""
        return [
            row[0] for row in self._run("SELECT text FROM inputs ORDER BY id DESC LIMIT ?", (_MAX_INPUTS,))
        ]

    def add_input(self, text: str) -> None:
        self._run("INSERT INTO inputs (text) VALUES (?)", (text,))
        self._run("DELETE FROM inputs WHERE id <= (SELECT max(id) FROM inputs) - ?", (_MAX_INPUTS,))

    def commit(self) -> None:
        if self._database.in_transaction:
            try:
                self._database.commit()
            except sqlite3.Error as error:
                self._move_to_memory(error)

    def close(self) -> None:
        self.commit()
        self._database.close()

    def _messages(self, where: str, parameters: tuple[object, ...]) -> list[Message]:
        return [
            Message(conv, seq, sender, name, text, ts, is_own=sender == self._me)
            for conv, seq, sender, name, text, ts in self._run(_SELECT + where, parameters)
        ]

    def _run(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """All rows of the result: a damaged page is found only when it is read."""
        try:
            return self._database.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            if not self._is_on_disk:
                raise
            self._move_to_memory(error)
            return self._database.execute(sql, parameters).fetchall()

    def _move_to_memory(self, error: sqlite3.Error) -> None:
        """The disk is full, or the file damaged."""
        old, self._database, self._is_on_disk = self._database, _in_memory(), False
        self._take(old)
        if self._path and not isinstance(error, sqlite3.OperationalError):  # the file's fault, not the disk's
            with suppress(OSError):
                _put_aside(self._path)
        self._on_problem(str(error))

    def _take(self, old: sqlite3.Connection) -> None:
        """What can be read there is taken along."""
        with suppress(sqlite3.Error):
            for line in old.iterdump():
                if line.startswith("INSERT"):
                    self._database.execute(line)
        with suppress(sqlite3.Error):
            old.close()


def _in_memory() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.executescript(_SCHEMA)
    _prepare(database)
    return database


def _open(path: Path, on_problem: Callable[[str], None]) -> sqlite3.Connection:
    make_private_folder(path.parent)
    database = sqlite3.connect(path)
    try:
        _check(database)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):  # the disk's fault, not the file's
            raise
        on_problem(f"{path}: {error} -> {_put_aside(path)}")
        database = sqlite3.connect(path)
        _check(database)
    return database


def _put_aside(path: Path) -> Path:
    """Where it is now. Raises OSError."""
    aside = path.rename(path.with_suffix(".damaged"))
    for suffix in "-wal", "-shm":
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def _check(database: sqlite3.Connection) -> None:
    """Make it ready. Raises sqlite3.Error, DatabaseError alone for a file that is none of ours."""
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(_SCHEMA)
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"version {version}")
    _prepare(database)


def _prepare(database: sqlite3.Connection) -> None:
    database.create_function("contains", 2, lambda text, part: part in text.casefold(), deterministic=True)
