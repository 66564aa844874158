"""Table `conversation` joined with `member`: the positions of members in conversations."""

from __future__ import annotations

from typing import NamedTuple

from forkchat.store.database import Cursor, Pool, flat, values

#: Conversations on one page of SYNC.
PAGE = 200


class Standing(NamedTuple):
    """A conversation's position, and that of one member in it."""

    user: int
    conv: str
    last: int
    first: int
    recv: int
    read: int
    version: int  # members_ver


class Located(NamedTuple):
    """A conversation's position, and those of the requested users that are members."""

    conv: str
    last: int
    version: int
    members: dict[int, tuple[int, int]]  # user → first_seq, recv_seq


class Touched(NamedTuple):
    """The conversations that changed lately. `now` is the time of the query by the server's clock."""

    now: str
    epoch: str
    conversations: list[tuple[str, int, int]]  # key, last_seq, members_ver


class Conversations:
    def __init__(self, pool: Pool):
        self.of = pool.batch(of)
        self.standing = pool.batch(standing)
        self.page = pool.read(page)
        self.locate = pool.batch(locate)
        self.unconfirmed = pool.read(unconfirmed)
        self.touched_since = pool.read(touched_since)
        self.lasts = pool.read(lasts)


_STANDING = (
    "SELECT m.user, CAST(m.conv AS CHAR), c.last_seq, GREATEST(m.first_seq, c.first_seq), m.recv_seq,"
    " m.read_seq, c.members_ver"
    " FROM member m JOIN conversation c ON c.conv = m.conv"
)


def of(cursor: Cursor, users: list[int]) -> list[list[Standing]]:
    """Return, for each of `users`, their groups, and their pairs with unconfirmed or unread messages.

    The most recently changed conversations come first.
    """
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


def standing(cursor: Cursor, asked: list[tuple[int, str]]) -> list[Standing | None]:
    """Return the standing of each (user, conversation); None where the user is not a member."""
    keys = [(user, conv.encode()) for user, conv in asked]
    cursor.execute(
        _STANDING + f" JOIN ({values(keys, ('user', 'conv'))}) v ON m.user = v.user AND m.conv = v.conv",
        flat(keys),
    )
    found = {(row[0], row[1]): Standing(*row) for row in cursor}
    return [found.get(key) for key in asked]


def page(cursor: Cursor, user: int, after: str) -> tuple[list[Standing], bool]:
    """Return a user's first `PAGE` conversations with keys above `after`, and whether more follow."""
    cursor.execute(
        _STANDING + " WHERE m.user = %s AND m.conv > %s ORDER BY m.conv LIMIT %s",
        (user, after.encode(), PAGE + 1),
    )
    rows = [Standing(*row) for row in cursor]
    return rows[:PAGE], len(rows) > PAGE


def locate(cursor: Cursor, asked: list[tuple[str, tuple[int, ...]]]) -> list[Located | None]:
    """Return, for each (conversation, users), its position and those of the users that are members.

    None stands for a conversation that does not exist.
    """
    keys = [conv.encode() for conv, _ in asked]
    cursor.execute("SELECT conv, last_seq, members_ver FROM conversation WHERE conv IN %s", (keys,))
    found = {row[0]: Located(row[0].decode(), row[1], row[2], {}) for row in cursor}
    for conv, users in asked:
        located = found.get(conv.encode())
        if located is not None and users:
            cursor.execute(
                "SELECT user, first_seq, recv_seq FROM member WHERE conv = %s AND user IN %s",
                (conv.encode(), users),
            )
            located.members.update({user: (first, recv) for user, first, recv in cursor})
    return [found.get(key) for key in keys]


def unconfirmed(cursor: Cursor, users: list[int]) -> list[Standing]:
    """Return the standings of `users` in conversations with unconfirmed messages."""
    cursor.execute(_STANDING + " WHERE m.user IN %s AND m.recv_seq < c.last_seq", (users,))
    return [Standing(*row) for row in cursor]


def touched_since(cursor: Cursor, since: str | None, overlap: int) -> Touched:
    """Return the conversations touched since `overlap` seconds before `since`; none if `since` is None.

    The overlap is needed because a transaction reads the clock before it commits.
    """
    cursor.execute("SELECT CAST(UTC_TIMESTAMP(3) AS CHAR), CAST(value AS CHAR) FROM epoch WHERE one = 1")
    now, epoch = cursor.fetchone()
    if since is None:
        return Touched(now, epoch, [])
    cursor.execute(
        "SELECT CAST(conv AS CHAR), last_seq, members_ver FROM conversation"
        " WHERE touched >= CAST(%s AS DATETIME(3)) - INTERVAL %s SECOND",
        (since, overlap),
    )
    return Touched(now, epoch, list(cursor))


def lasts(cursor: Cursor, convs: list[str]) -> dict[str, int]:
    """Return the last_seq of each of these conversations that exists."""
    cursor.execute(
        "SELECT CAST(conv AS CHAR), last_seq FROM conversation WHERE conv IN %s",
        ([conv.encode() for conv in convs],),
    )
    return dict(cursor)
