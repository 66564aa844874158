"""Table `retention`: the progress of deleting old messages, a few at a time."""

from __future__ import annotations

from itertools import takewhile

from forkchat.store.database import Cursor, Pool

#: Conversations examined, and messages deleted, in one transaction. Both are few so that its locks are short.
_LOOK, _DELETE = 100, 500
#: Minutes between the end of one pass over all conversations and the start of the next.
_REST = 60


class Retention:
    def __init__(self, pool: Pool):
        self.prune = pool.transaction(prune)


def prune(cursor: Cursor, days: int, newest: int) -> bool:
    """Delete some of the old messages. Return True if there is more to do now.

    Messages older than `days` are deleted. So are all but the last `newest` messages of a conversation.
    0 means no limit. The remaining messages keep their numbers, and a conversation begins at its `first_seq`.
    """
    cursor.execute(
        "SELECT done, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000 FROM retention"
        " WHERE one = 1 AND due <= UTC_TIMESTAMP(3) FOR UPDATE SKIP LOCKED"
    )
    row = cursor.fetchone()
    if row is None:  # another worker is doing it, or it is not yet due
        return False
    done, now = row
    oldest = now - days * 86_400_000 if days else 0
    cursor.execute(
        "SELECT conv, first_seq, last_seq FROM conversation WHERE conv > %s ORDER BY conv LIMIT %s",
        (done, _LOOK),
    )
    conversations, room = list(cursor), _DELETE
    for conv, first, last in conversations:
        deleted = _prune(cursor, conv, first, last - newest if newest else 0, oldest, room)
        room -= deleted
        if not room:
            break  # this conversation may have more to delete
        done = conv
    is_over = bool(room) and len(conversations) < _LOOK
    cursor.execute(
        "UPDATE retention SET done = %s, due = UTC_TIMESTAMP(3) + INTERVAL %s MINUTE WHERE one = 1",
        ("" if is_over else done, _REST if is_over else 0),
    )
    return not is_over


def _prune(cursor: Cursor, conv: bytes, first: int, last: int, oldest: int, room: int) -> int:
    """Delete up to `room` of the earliest messages. Return how many were deleted.

    A message is deleted if its number is at most `last`, or its time is before `oldest`. The earliest numbers
    are the oldest messages, because numbers are in the order of times.
    """
    # Look at the first message only, because most conversations have nothing to be deleted.
    found = _count(cursor, conv, first, last, oldest, 1) and _count(cursor, conv, first, last, oldest, room)
    if found:
        first += found
        cursor.execute(
            "UPDATE conversation SET first_seq = GREATEST(first_seq, %s) WHERE conv = %s", (first, conv)
        )
        cursor.execute("DELETE FROM message WHERE conv = %s AND seq < %s", (conv, first))
    return found


def _count(cursor: Cursor, conv: bytes, first: int, last: int, oldest: int, most: int) -> int:
    """Count the messages to be deleted among the earliest `most`."""
    cursor.execute(
        "SELECT seq, ts FROM message WHERE conv = %s AND seq >= %s ORDER BY seq LIMIT %s", (conv, first, most)
    )
    return sum(1 for _ in takewhile(lambda row: row[0] <= last or row[1] < oldest, cursor))
