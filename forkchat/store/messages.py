"""Table `message`, read side: history for members, and messages that a worker is missing."""

from __future__ import annotations

from typing import NamedTuple

from forkchat.errors import NotMember
from forkchat.store.database import Cursor, Pool, flat, values

_SELECT = "SELECT CAST(conv AS CHAR), seq, sender, cid, ts, body FROM message WHERE conv = %s"
#: Bytes at which a page ends, however few messages it has.
PAGE_BYTES = 256 * 1024
#: Bytes of overhead that this limit counts for each row, in addition to its body.
_ROW = 160

Row = tuple[str, int, int, bytes, int, bytes]  # conv, seq, sender, cid, ts, body


class Page(NamedTuple):
    first: int
    last: int
    rows: list[Row]
    has_more: bool


class Gap(NamedTuple):
    """Messages that a worker is missing. They may be shown to the members as of `version` (members_ver)."""

    rows: list[Row]
    first: int
    last: int
    version: int


class Messages:
    def __init__(self, pool: Pool):
        self.page = pool.read(page)
        self.between = pool.read(between)


def page(cursor: Cursor, user: int, conv: str, after: int | None, before: int | None, limit: int) -> Page:
    """Return at most `limit` messages in ascending order: the first ones above `after`.

    If `after` is None, they are the last ones below `before`. If that is None too, they are the newest.

    Raises NotMember if the user is not in the conversation.
    """
    cursor.execute(
        "SELECT GREATEST(m.first_seq, c.first_seq), c.last_seq FROM member m"
        " JOIN conversation c ON c.conv = m.conv WHERE m.user = %s AND m.conv = %s",
        (user, conv.encode()),
    )
    row = cursor.fetchone()
    if row is None:
        raise NotMember("you are not in this conversation")
    first, last = row  # messages stored from now on are not in this page
    if after is not None:
        cursor.execute(
            _SELECT + " AND seq > %s AND seq BETWEEN %s AND %s ORDER BY seq LIMIT %s",
            (conv.encode(), after, first, last, limit + 1),
        )
    else:
        cursor.execute(
            _SELECT + " AND seq < %s AND seq BETWEEN %s AND %s ORDER BY seq DESC LIMIT %s",
            (conv.encode(), last + 1 if before is None else before, first, last, limit + 1),
        )
    found = list(cursor)
    rows = _within(found[:limit], PAGE_BYTES)
    has_more = len(found) > len(rows)
    return Page(first, last, rows if after is not None else rows[::-1], has_more)


def between(cursor: Cursor, conv: str, after: int, upto: int, limit: int) -> Gap:
    """Return the earliest messages with `after < seq <= upto`: at most `limit`, and at most `PAGE_BYTES`.

    The version is read after the messages, because with a later version, members who have left see nothing.
    """
    cursor.execute(
        _SELECT + " AND seq > %s AND seq <= %s ORDER BY seq LIMIT %s",
        (conv.encode(), after, upto, limit),
    )
    rows = _within(list(cursor), PAGE_BYTES)
    cursor.execute(
        "SELECT first_seq, last_seq, members_ver FROM conversation WHERE conv = %s", (conv.encode(),)
    )
    return Gap(rows, *(cursor.fetchone() or (1, 0, 0)))


def times(cursor: Cursor, asked: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the time (ms since 1970) of each (conversation, number) that exists."""
    keys = [(conv.encode(), seq) for conv, seq in asked]
    cursor.execute(
        "SELECT CAST(m.conv AS CHAR), m.seq, m.ts FROM message m"  # noqa: S608 - placeholders only
        f" JOIN ({values(keys, ('conv', 'seq'))}) v ON m.conv = v.conv AND m.seq = v.seq",
        flat(keys),
    )
    return {(conv, seq): ts for conv, seq, ts in cursor}


def _within(rows: list[Row], limit: int) -> list[Row]:
    """Return the leading rows that fit in `limit` bytes, but at least one row."""
    size = 0
    for at, row in enumerate(rows):
        size += len(row[5]) + _ROW
        if size > limit and at:
            return rows[:at]
    return rows
