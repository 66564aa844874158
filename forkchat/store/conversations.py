"""Table `conversation` joined with `member`: where conversations stand, for whom."""

from __future__ import annotations

from typing import NamedTuple

from forkchat.store.database import Cursor, Pool

#: Conversations on one page of SYNC.
PAGE = 200


class Standing(NamedTuple):
    """Where a conversation stands for one member."""

    user: int
    conv: str
    last: int
    first: int
    recv: int
    read: int


class Located(NamedTuple):
    """A conversation, and where those of its members stand who were asked for."""

    conv: str
    last: int
    version: int
    members: dict[int, int]  # user → recv_seq


class Conversations:
    def __init__(self, pool: Pool):
        self.of = pool.batch(of)
        self.page = pool.read(page)
        self.locate = pool.batch(locate)
        self.unconfirmed = pool.read(unconfirmed)
        self.touched_since = pool.read(touched_since)
        self.last = pool.read(last)


_STANDING = (
    "SELECT m.user, CAST(m.conv AS CHAR), c.last_seq, GREATEST(m.first_seq, c.first_seq), m.recv_seq,"
    " m.read_seq"
    " FROM member m JOIN conversation c ON c.conv = m.conv"
)


def of(cursor: Cursor, users: list[int]) -> list[list[Standing]]:
    """Of each of `users`: their groups, and the pairs in which something is unread; the newest first."""
    cursor.execute(
        _STANDING + " WHERE m.user IN %s"
        " AND (m.recv_seq < c.last_seq OR m.read_seq < c.last_seq OR m.conv LIKE 'g%%')"
        " ORDER BY c.touched DESC",
        (users,),
    )
    found: dict[int, list[Standing]] = {user: [] for user in users}
    for row in cursor:
        found[row[0]].append(Standing(*row))
    return [found[user] for user in users]


def page(cursor: Cursor, user: int, after: str) -> tuple[list[Standing], bool]:
    """A page of all of a user's conversations in key order, and whether there are more."""
    cursor.execute(
        _STANDING + " WHERE m.user = %s AND m.conv > %s ORDER BY m.conv LIMIT %s",
        (user, after.encode(), PAGE + 1),
    )
    rows = [Standing(*row) for row in cursor]
    return rows[:PAGE], len(rows) > PAGE


def locate(cursor: Cursor, asked: list[tuple[str, tuple[int, ...]]]) -> list[Located | None]:
    """Each (conversation, users): where it stands and where those of the users do who are its members."""
    keys = [conv.encode() for conv, _ in asked]
    cursor.execute("SELECT conv, last_seq, members_ver FROM conversation WHERE conv IN %s", (keys,))
    found = {row[0]: Located(row[0].decode(), row[1], row[2], {}) for row in cursor}
    for conv, users in asked:
        located = found.get(conv.encode())
        if located is not None and users:
            cursor.execute(
                "SELECT user, recv_seq FROM member WHERE conv = %s AND user IN %s", (conv.encode(), users)
            )
            located.members.update(cursor)
    return [found.get(key) for key in keys]


def unconfirmed(cursor: Cursor, users: list[int]) -> list[Standing]:
    """The conversations of `users` in which something is not confirmed."""
    cursor.execute(_STANDING + " WHERE m.user IN %s AND m.recv_seq < c.last_seq", (users,))
    return [Standing(*row) for row in cursor]


def touched_since(cursor: Cursor, since: str | None, overlap: int) -> tuple[str, list[tuple[str, int]]]:
    """Now by the server's clock, and (conversation, last_seq) of those touched since `overlap` seconds
    before `since`: a transaction's clock is read before it commits. None: nothing but the time."""
    cursor.execute("SELECT CAST(UTC_TIMESTAMP(3) AS CHAR)")
    now = cursor.fetchone()[0]
    if since is None:
        return now, []
    cursor.execute(
        "SELECT CAST(conv AS CHAR), last_seq FROM conversation"
        " WHERE touched >= CAST(%s AS DATETIME(3)) - INTERVAL %s SECOND",
        (since, overlap),
    )
    return now, list(cursor)


def last(cursor: Cursor, conv: str) -> int:
    """A conversation's last_seq; 0 if there is none."""
    cursor.execute("SELECT last_seq FROM conversation WHERE conv = %s", (conv.encode(),))
    row = cursor.fetchone()
    return row[0] if row else 0
