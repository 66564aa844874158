"""Table `known_address`: networks from which an account's owner has logged in by password."""

from __future__ import annotations

from forkchat.store.database import Cursor, Pool

#: Addresses kept per account (home, work, a phone's networks), and days for which an address counts.
_MOST, _DAYS = 20, 90


class Addresses:
    def __init__(self, pool: Pool):
        self.is_known = pool.batch(are_known)
        self.remember = pool.transaction(remember)


def are_known(cursor: Cursor, places: list[bytes]) -> list[bool]:
    """Tell, for each digest of a user and an address, whether the user logged in from there lately."""
    cursor.execute(
        "SELECT address FROM known_address WHERE address IN %s AND seen >= UTC_DATE() - INTERVAL %s DAY",
        (places, _DAYS),
    )
    known = {row[0] for row in cursor}
    return [place in known for place in places]


def remember(cursor: Cursor, user: int, place: bytes) -> None:
    """Note a login. A repeated login from the same place on the same day writes nothing.

    Beyond `_MOST` addresses per account, the oldest are deleted.
    """
    cursor.execute(
        "INSERT INTO known_address (address, user, seen) VALUES (%s, %s, UTC_DATE())"
        " ON DUPLICATE KEY UPDATE seen = UTC_DATE()",
        (place, user),
    )
    cursor.execute(
        "SELECT address FROM known_address WHERE user = %s AND address <> %s ORDER BY seen DESC",
        (user, place),
    )
    oldest = [row[0] for row in cursor][_MOST - 1 :]
    if oldest:
        cursor.execute("DELETE FROM known_address WHERE address IN %s", (oldest,))
