"""Table `epoch`: a value that changes when the database has gone back in time."""

from __future__ import annotations

import secrets

from forkchat.store.database import Cursor, Pool, flat, values

#: Seconds before a new epoch whose messages count as unconfirmed for all members. A client may have confirmed
#: a lost message that had the same number. Workers notice a loss sooner than that (10 s).
_DOUBTFUL = 60
#: Messages of a conversation that are searched for these, at most.
_MAX_DOUBTFUL = 100_000
#: Rows of one UPDATE.
_CHUNK = 200


class Epoch:
    def __init__(self, pool: Pool):
        self.get = pool.read(get)
        self.renew = pool.transaction(renew)


def get(cursor: Cursor) -> str:
    cursor.execute("SELECT CAST(value AS CHAR) FROM epoch WHERE one = 1")
    return cursor.fetchone()[0]


def renew(cursor: Cursor, known: str) -> str:
    """Begin a new epoch, unless another worker has done so since `known`. Return the current epoch."""
    cursor.execute(
        "UPDATE epoch SET value = %s WHERE one = 1 AND value = %s", (secrets.token_hex(4), known.encode())
    )
    if cursor.rowcount:
        _rewind(cursor)
    return get(cursor)


def hold(cursor: Cursor, known: str) -> bool:
    """Keep the epoch `known` from ending before this transaction. Return False if it has ended already."""
    cursor.execute("SELECT 1 FROM epoch WHERE one = 1 AND value = %s LOCK IN SHARE MODE", (known.encode(),))
    return cursor.fetchone() is not None


def _rewind(cursor: Cursor) -> None:
    """Move all cursors back to before the messages of the last `_DOUBTFUL` seconds."""
    cursor.execute(
        "SELECT conv, last_seq, TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000"
        " FROM conversation WHERE touched >= UTC_TIMESTAMP(3) - INTERVAL %s SECOND",
        (_DOUBTFUL,),
    )
    rows = []
    for conv, last, now in cursor.fetchall():
        cursor.execute(
            "SELECT MIN(seq) - 1 FROM message WHERE conv = %s AND seq > %s AND ts >= %s",
            (conv, max(0, last - _MAX_DOUBTFUL), now - _DOUBTFUL * 1000),
        )
        (before,) = cursor.fetchone()
        if before is not None:
            rows.append((conv, before))
    for at in range(0, len(rows), _CHUNK):
        chunk = rows[at : at + _CHUNK]
        cursor.execute(
            f"UPDATE member m JOIN ({values(chunk, ('conv', 'seq'))}) v ON m.conv = v.conv SET"  # noqa: S608 - placeholders only
            " m.recv_seq = LEAST(m.recv_seq, v.seq), m.read_seq = LEAST(m.read_seq, v.seq)",
            flat(chunk),
        )
