"""Table `epoch`: which life of the database this is."""

from __future__ import annotations

import secrets

from forkchat.store.database import Cursor, Pool


class Epoch:
    def __init__(self, pool: Pool):
        self.get = pool.read(get)
        self.renew = pool.transaction(renew)


def get(cursor: Cursor) -> str:
    cursor.execute("SELECT CAST(value AS CHAR) FROM epoch WHERE one = 1")
    return cursor.fetchone()[0]


def renew(cursor: Cursor, known: str) -> str:
    """A new epoch, unless another worker has made one since `known`."""
    cursor.execute(
        "UPDATE epoch SET value = %s WHERE one = 1 AND value = %s", (secrets.token_hex(4), known.encode())
    )
    return get(cursor)
