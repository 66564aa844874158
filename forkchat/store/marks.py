"""Table `lane`: the last committed transaction of each `Database`.

Each `Database` has a lane and numbers its transactions. Each transaction writes its number into the lane's
row. When the answer to a commit is lost, the number is written again on another connection. If that changes
nothing, the transaction was committed. Otherwise the transaction was not committed and never will be, because
both write the same row.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from forkchat.store.database import Cursor


class Mark(NamedTuple):
    """The mark of a transaction: its lane, and its number in that lane."""

    lane: bytes
    number: int

    @classmethod
    def of_new_lane(cls) -> Mark:
        return cls(secrets.token_bytes(16), 0)

    def next(self) -> Mark:
        return self._replace(number=self.number + 1)


def put(cursor: Cursor, mark: Mark) -> bool:
    """Write the mark. Return False if it was already there.

    The first mark of a lane deletes the lanes of workers that are gone.
    """
    cursor.execute(
        "INSERT INTO lane (id, number, used) VALUES (%s, %s, UTC_DATE())"
        " ON DUPLICATE KEY UPDATE used = IF(number < VALUES(number), VALUES(used), used),"
        " number = GREATEST(number, VALUES(number))",
        mark,
    )
    changed: int = cursor.rowcount  # 0 for no change, 1 for a new row, 2 for a new number
    if changed == 1:
        cursor.execute("DELETE FROM lane WHERE used < UTC_DATE() - INTERVAL 1 DAY")
    return changed > 0
