"""Table `token`: tokens with which a client logs in without its password. Only digests are stored."""

from __future__ import annotations

from forkchat.errors import Unavailable
from forkchat.store.database import Cursor, Pool
from forkchat.store.users import User

#: Expired tokens deleted with each new token, so that the table stays small without a separate job.
_PURGE = 10
#: Tokens over an account's limit deleted with each new token. An account older than the limit may have many.
_TRIM = 1000


class Tokens:
    def __init__(self, pool: Pool):
        self.issue = pool.transaction(issue)
        self.redeem = pool.batch(redeem)
        self.revoke = pool.transaction(revoke)
        self.begin_anew = pool.transaction(begin_anew)
        self.revoke_others = pool.transaction(revoke_others)


def issue(cursor: Cursor, user: int, password: str, digest: bytes, lifetime: int, most: int) -> None:
    """Store a token's digest for `lifetime` seconds. If the user has more than `most`, the oldest end.

    Raises Unavailable if `password`, the hash that was checked, is no longer the user's. A new password ends
    all tokens, including those that are being issued.
    """
    # The lock lets each transaction see the tokens of the others.
    cursor.execute("SELECT password FROM user WHERE id = %s FOR UPDATE", (user,))
    if cursor.fetchone() != (password,):
        raise Unavailable("the password was changed meanwhile")
    cursor.execute("DELETE FROM token WHERE expires < UTC_TIMESTAMP() LIMIT %s", (_PURGE,))
    cursor.execute(
        "INSERT INTO token (digest, user, expires) VALUES (%s, %s, UTC_TIMESTAMP(6) + INTERVAL %s SECOND)",
        (digest, user, lifetime),
    )
    cursor.execute(
        "SELECT digest FROM token WHERE user = %s ORDER BY expires DESC LIMIT %s", (user, most + _TRIM)
    )
    oldest = [row[0] for row in cursor if row[0] != digest][most - 1 :]
    if oldest:
        cursor.execute("DELETE FROM token WHERE digest IN %s", (oldest,))


def redeem(cursor: Cursor, digests: list[bytes]) -> list[User | None]:
    """Return the users of these tokens, in their order; None for an unknown or expired token."""
    cursor.execute(
        "SELECT t.digest, u.id, u.name, u.password FROM token t JOIN user u ON u.id = t.user"
        " WHERE t.digest IN %s AND t.expires > UTC_TIMESTAMP()",
        (digests,),
    )
    found = {row[0]: User(*row[1:]) for row in cursor}
    return [found.get(digest) for digest in digests]


def revoke(cursor: Cursor, digest: bytes) -> None:
    cursor.execute("DELETE FROM token WHERE digest = %s", (digest,))


def begin_anew(cursor: Cursor, user: int, password: str, digest: bytes, lifetime: int) -> None:
    """Set a new password, end all of the user's tokens, and issue this one, in one transaction."""
    cursor.execute("UPDATE user SET password = %s WHERE id = %s", (password, user))
    cursor.execute("DELETE FROM token WHERE user = %s", (user,))
    issue(cursor, user, password, digest, lifetime, 1)


def revoke_others(cursor: Cursor, user: int, digest: bytes) -> None:
    cursor.execute("DELETE FROM token WHERE user = %s AND digest <> %s", (user, digest))
