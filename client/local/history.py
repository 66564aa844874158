"""The messages that were seen, in SQLite: the client opens with them at once, also without a server.

It is a copy of what the server has: a damaged file is put aside, what cannot be written stays in memory.
A file that is locked raises `Busy` at once: `client.local.lane` waits for it, on a thread of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
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
_ADD = "INSERT OR IGNORE INTO messages (conv, seq, sender, name, text, ts) VALUES (?, ?, ?, ?, ?, ?)"
_SAVE = "INSERT OR REPLACE INTO conversations (conv, first, last, read, seen) VALUES (?, ?, ?, ?, ?)"
_SELECT = "SELECT conv, seq, sender, name, text, ts FROM messages WHERE "
#: Lines of input that are remembered.
_MAX_INPUTS = 1000
#: Messages that may wait to be written. The oldest are let go then, to be fetched again when they are wanted.
MAX_UNWRITTEN = 20_000


class Busy(Exception):
    """Another program has locked the file."""


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


@dataclass
class Changes:
    """What is to be written, the latest of each alone: however long that takes, they stay few.

    `forgets`: what was kept before is deleted first.
    """

    forgets: bool = False
    messages: dict[tuple[str, int], Message] = field(default_factory=dict)
    stands: dict[str, Stand] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.forgets or self.messages or self.stands or self.facts or self.inputs)

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.messages.setdefault((message.conv, message.seq), message)
        while len(self.messages) > MAX_UNWRITTEN:
            del self.messages[next(iter(self.messages))]

    def save(self, stand: Stand) -> None:
        self.stands[stand.conv] = replace(stand)  # it goes on changing

    def add_input(self, text: str) -> None:
        self.inputs = [*self.inputs, text][-_MAX_INPUTS:]

    def forget(self) -> None:
        """The messages, and where the conversations stand."""
        self.forgets = True
        self.messages.clear()
        self.stands.clear()


class History:
    """Of one user, `me`. `on_problem` is told, in words for people, when it goes on in memory alone.
    `damaged`: where a file was put that could not be read; there is a new one then.

    Everything but `close` raises Busy while another program has the file locked, and has done nothing then.
    """

    def __init__(self, path: Path, me: int, on_problem: Callable[[str], None]):
        self._me = me
        self._path = path
        self._on_problem = on_problem
        self.damaged: Path | None = None
        try:
            self._database, self.damaged = _open(path)
            self._is_on_disk = True
        except (OSError, sqlite3.Error) as error:
            if _is_busy(error):
                raise Busy from error
            on_problem(f"{path}: {error}")
            self._database, self._is_on_disk = _in_memory(), False
            with suppress(sqlite3.Error):  # immutable: reading needs no files beside it then
                self._take(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True))

    def write(self, changes: Changes) -> None:
        """All of it, or nothing."""
        try:
            if changes.forgets:
                self._run("DELETE FROM messages")
                self._run("DELETE FROM conversations")
            for message in changes.messages.values():
                row = message.conv, message.seq, message.sender, message.name, message.text, message.ts
                self._run(_ADD, row)
            for stand in changes.stands.values():
                self._run(_SAVE, (stand.conv, stand.first, stand.last, stand.read, stand.seen))
            for fact in changes.facts.items():
                self._run("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", fact)
            for text in changes.inputs:
                self._run("INSERT INTO inputs (text) VALUES (?)", (text,))
            if changes.inputs:
                self._run("DELETE FROM inputs WHERE id <= (SELECT max(id) FROM inputs) - ?", (_MAX_INPUTS,))
            self._commit()
        except Busy:
            self._database.rollback()
            raise

    def before(self, conv: str, seq: int, limit: int) -> list[Message]:
        """The last of those below `seq`, ascending."""
        return self._messages("conv = ? AND seq < ? ORDER BY seq DESC LIMIT ?", (conv, seq, limit))[::-1]

    def after(self, conv: str, seq: int, limit: int) -> list[Message]:
        """The first of those above `seq`, ascending."""
        return self._messages("conv = ? AND seq > ? ORDER BY seq LIMIT ?", (conv, seq, limit))

    def find(self, conv: str, text: str, below: int, limit: int) -> tuple[Message | None, int]:
        """Look through the last `limit` messages below `seq` for the latest with the text in it, whatever its
        case; with the lowest `seq` that was looked at, 0 when there are no earlier ones.
        """
        part = text.casefold()
        rows = self._run(
            "SELECT seq, text FROM messages WHERE conv = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
            (conv, below, limit),
        )
        for seq, said in rows:
            if part in said.casefold():
                return self.before(conv, seq + 1, 1)[0], seq
        return None, rows[-1][0] if len(rows) == limit else 0

    def stands(self) -> list[Stand]:
        return [Stand(*row) for row in self._run("SELECT conv, first, last, read, seen FROM conversations")]

    def fact(self, name: str) -> str:
        """A text that was kept under that name; "" if none was."""
        rows = self._run("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows else ""

    def inputs(self) -> list[str]:
        """Lines that were typed, the latest first."""
        return [
            row[0] for row in self._run("SELECT text FROM inputs ORDER BY id DESC LIMIT ?", (_MAX_INPUTS,))
        ]

    def close(self) -> None:
        self._database.close()

    def _commit(self) -> None:
        try:
            self._database.commit()
        except sqlite3.Error as error:
            if _is_busy(error):
                raise Busy from error
            self._move_to_memory(error)

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
            if _is_busy(error):
                raise Busy from error
            if not self._is_on_disk:
                raise
            self._move_to_memory(error)
            return self._database.execute(sql, parameters).fetchall()

    def _move_to_memory(self, error: sqlite3.Error) -> None:
        """The disk is full, or the file damaged."""
        old, self._database, self._is_on_disk = self._database, _in_memory(), False
        self._take(old)
        if not isinstance(error, sqlite3.OperationalError):  # the file's fault, not the disk's
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
    return database


def _open(path: Path) -> tuple[sqlite3.Connection, Path | None]:
    """And where a damaged one is now that was there."""
    make_private_folder(path.parent)
    database = sqlite3.connect(path, timeout=0)
    aside = None
    try:
        _check(database)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):  # the disk's fault, not the file's
            raise
        aside = _put_aside(path)
        database = sqlite3.connect(path, timeout=0)
        _check(database)
    return database, aside


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
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"version {version}")


def _is_busy(error: Exception) -> bool:
    """By the primary code: the extended ones say why."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
