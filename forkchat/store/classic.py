"""Table `classic`: the message numbering of the classic client that an account used last."""

from __future__ import annotations

from forkchat.store.database import Cursor, Pool


class Classic:
    def __init__(self, pool: Pool):
        self.numbering = pool.batch(numbering)
        self.remember = pool.transaction(remember)


def numbering(cursor: Cursor, users: list[int]) -> list[str]:
    """Return the numberings of these accounts, in their order; "" where none is known."""
    cursor.execute("SELECT user, numbering FROM classic WHERE user IN %s", (users,))
    found = dict(cursor)
    return [found.get(user, "") for user in users]


def remember(cursor: Cursor, user: int, numbering: str) -> None:
    cursor.execute(
        "INSERT INTO classic (user, numbering) VALUES (%s, %s)"
        " ON DUPLICATE KEY UPDATE numbering = VALUES(numbering)",
        (user, numbering),
    )
