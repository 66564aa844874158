"""The history of seen messages in SQLite. The client shows it at its start, even without a server.

It is a copy of the server's data. So a damaged file is renamed, and what cannot be written stays in memory.
A locked file raises `Busy` at once. `client.local.lane` waits for the file, on a thread of its own.
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
#: Lines of input that are stored, the latest ones.
_MAX_INPUTS = 1000
#: Messages that may wait to be written. Beyond that the oldest are dropped, and fetched again if needed.
MAX_UNWRITTEN = 20_000


class Busy(Exception):
    """Another program has locked the file."""


@dataclass
class Stand:
    """The state of a conversation, in message numbers.

    `first`: the first message that the server has for the user, 0 if it is not known.
    `last`: the last message.
    `read`: the last message that the user has read.
    `seen`: the last message that the other user of a pair has read.
    """

    conv: str
    first: int = 0
    last: int = 0
    read: int = 0
    seen: int = 0


@dataclass
class Changes:
    """The changes that wait to be written.

    Only the latest value of each is kept, so that they stay few however long writing takes.

    `forgets`: the stored messages and conversations are deleted first.
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
        self.stands[stand.conv] = replace(stand)  # a copy, because the caller goes on changing it

    def add_input(self, text: str) -> None:
        self.inputs = [*self.inputs, text][-_MAX_INPUTS:]

    def forget(self) -> None:
        """Delete the messages and the states of the conversations, also the stored ones."""
        self.forgets = True
        self.messages.clear()
        self.stands.clear()


class History:
    """The history of one user, `me`.

    `on_problem` gets a text for the user when the history continues in memory only.
    `damaged`: the new path of a file that could not be read. A new file replaces it.

    The constructor and all methods except `close` raise Busy while another program has the file locked. They
    have changed nothing then.
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
            with suppress(sqlite3.Error):  # immutable, because SQLite then reads without files beside it
                self._take(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True))

    def write(self, changes: Changes) -> None:
        """Write all changes, or none of them."""
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
        """Return the last `limit` messages before `seq`, ascending."""
        return self._messages("conv = ? AND seq < ? ORDER BY seq DESC LIMIT ?", (conv, seq, limit))[::-1]

    def after(self, conv: str, seq: int, limit: int) -> list[Message]:
        """Return the first `limit` messages after `seq`, ascending."""
        return self._messages("conv = ? AND seq > ? ORDER BY seq LIMIT ?", (conv, seq, limit))

    def find(self, conv: str, text: str, below: int, limit: int) -> tuple[Message | None, int]:
        """Find the latest of the last `limit` messages before `below` that contains the text, ignoring case.

        Return the message or None, and the lowest `seq` that was searched, 0 if there are no earlier ones.
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
        """Return the text that is stored under that name, or "" if there is none."""
        rows = self._run("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows else ""

    def inputs(self) -> list[str]:
        """Return the lines that were typed, the latest first."""
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
        """Execute a statement and fetch all rows, because a damaged page is found only when it is read."""
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
        """Continue in memory, because the disk is full or the file is damaged."""
        old, self._database, self._is_on_disk = self._database, _in_memory(), False
        self._take(old)
        if not isinstance(error, sqlite3.OperationalError):  # the file is at fault, not the disk
            with suppress(OSError):
                _put_aside(self._path)
        self._on_problem(str(error))

    def _take(self, old: sqlite3.Connection) -> None:
        """Copy the readable rows of another database, and close that database."""
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
    """Open the database. Return it, and the new path of a damaged file that was in its place."""
    make_private_folder(path.parent)
    database = sqlite3.connect(path, timeout=0)
    aside = None
    try:
        _check(database)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):  # the disk is at fault, not the file
            raise
        aside = _put_aside(path)
        database = sqlite3.connect(path, timeout=0)
        _check(database)
    return database, aside


def _put_aside(path: Path) -> Path:
    """Rename the file, and return its new path. Raises OSError if that fails."""
    aside = path.rename(path.with_suffix(".damaged"))
    for suffix in "-wal", "-shm":
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def _check(database: sqlite3.Connection) -> None:
    """Prepare the database for use.

    Raises DatabaseError itself if the file is no history, another sqlite3.Error for other failures.
    """
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"version {version}")


def _is_busy(error: Exception) -> bool:
    """Return True if the primary error code means a lock. Extended codes only add the reason."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
