"""Table `token`: what a client logs in with instead of the password. Only digests are stored."""

from __future__ import annotations

from forkchat.store.database import Cursor, Pool
from forkchat.store.users import User

#: Expired tokens removed with each new one, so that the table stays small without a job of its own.
_PURGE = 10


class Tokens:
    def __init__(self, pool: Pool):
        self.issue = pool.transaction(issue)
        self.redeem = pool.batch(redeem)
        self.revoke = pool.transaction(revoke)
        self.revoke_all = pool.transaction(revoke_all)


def issue(cursor: Cursor, user: int, digest: bytes, lifetime: int) -> None:
    """Store a token's digest for `lifetime` seconds."""
    cursor.execute("DELETE FROM token WHERE expires < UTC_TIMESTAMP() LIMIT %s", (_PURGE,))
    cursor.execute(
        "INSERT INTO token (digest, user, expires) VALUES (%s, %s, UTC_TIMESTAMP() + INTERVAL %s SECOND)",
        (digest, user, lifetime),
    )


def redeem(cursor: Cursor, digests: list[bytes]) -> list[User | None]:
    """Whose valid tokens these are, in their order; None for an unknown or expired one."""
    cursor.execute(
        "SELECT t.digest, u.id, u.name, u.password FROM token t JOIN user u ON u.id = t.user"
        " WHERE t.digest IN %s AND t.expires > UTC_TIMESTAMP()",
        (digests,),
    )
    found = {row[0]: User(*row[1:]) for row in cursor}
    return [found.get(digest) for digest in digests]


def revoke(cursor: Cursor, digest: bytes) -> None:
    cursor.execute("DELETE FROM token WHERE digest = %s", (digest,))


def revoke_all(cursor: Cursor, user: int) -> None:
    cursor.execute("DELETE FROM token WHERE user = %s", (user,))
