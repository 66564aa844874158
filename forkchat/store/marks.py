"""Table `lane`: which transactions were committed.

Each `Database` has a lane, and numbers its transactions: each writes its number into the lane's row. When
the answer to a commit is lost, the number is written again on another connection. If that changes nothing,
the transaction was committed. Otherwise it was not, and never will be, because both write the same row.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from forkchat.store.database import Cursor


class Mark(NamedTuple):
    """A transaction's."""

    lane: bytes
    number: int

    @classmethod
    def of_new_lane(cls) -> Mark:
        return cls(secrets.token_bytes(16), 0)

    def next(self) -> Mark:
        return self._replace(number=self.number + 1)


def put(cursor: Cursor, mark: Mark) -> bool:
    """Write the mark; False if it was there. The first one of a lane removes lanes whose workers are gone."""
    cursor.execute(
        "INSERT INTO lane (id, number, used) VALUES (%s, %s, UTC_DATE())"
        " ON DUPLICATE KEY UPDATE used = IF(number < VALUES(number), VALUES(used), used),"
        " number = GREATEST(number, VALUES(number))",
        mark,
    )
    changed: int = cursor.rowcount  # 1: a new row, 2: another number
    if changed == 1:
        cursor.execute("DELETE FROM lane WHERE used < UTC_DATE() - INTERVAL 1 DAY")
    return changed > 0
