"""Tables `name_skeleton` and `name_indexed`: skeletons for accounts made without them, a few at a time.

Such accounts are older than the tables, or were created by a host with an older version of forkchat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forkchat.store.database import Cursor, Pool

#: Accounts of one transaction, few so that its locks are short.
_MOST = 500


class Names:
    def __init__(self, pool: Pool):
        self.index = pool.transaction(index)


def index(cursor: Cursor, skeletons: Callable[[str], Sequence[bytes]]) -> bool:
    """Store the skeletons of the next accounts. Return True if there is more to do now.

    Older accounts may look alike. The first of them holds their common skeleton, and all stay as they are.
    """
    cursor.execute("SELECT done FROM name_indexed WHERE one = 1 FOR UPDATE SKIP LOCKED")
    row = cursor.fetchone()
    if row is None:  # another worker is doing it
        return False
    cursor.execute("SELECT id, name FROM user WHERE id > %s ORDER BY id LIMIT %s", (row[0], _MOST))
    users = list(cursor)
    if users:
        # Insert in key order, so that transactions cannot deadlock.
        rows = sorted((skeleton, user) for user, name in users for skeleton in skeletons(name))
        cursor.executemany("INSERT IGNORE INTO name_skeleton (skeleton, user) VALUES (%s, %s)", rows)
        cursor.execute("UPDATE name_indexed SET done = %s WHERE one = 1", (users[-1][0],))
    return len(users) == _MOST
