"""Table `friend`: the friends each user has added. One-way and without consent, as in the original."""

from __future__ import annotations

from forkchat.errors import Forbidden, NotFound
from forkchat.store.database import Cursor, Pool, flat, values


class Friends:
    def __init__(self, pool: Pool):
        self.add = pool.transaction(add)
        self.remove = pool.transaction(remove)
        self.of = pool.batch(of)
        self.page = pool.read(page)
        self.watchers = pool.batch(watchers)
        self.has = pool.batch(has)


def add(cursor: Cursor, user: int, friend: int, most: int) -> tuple[str, bool]:
    """Add a friend. Return the friend's name, and whether they are newly added.

    A user has at most `most` friends; 0 means no limit. Raises NotFound if there is no such user, Forbidden
    if the user has too many friends.
    """
    cursor.execute("SELECT name FROM user WHERE id = %s", (friend,))
    row = cursor.fetchone()
    if row is None:
        raise NotFound("no such user")
    cursor.execute("INSERT IGNORE INTO friend (user, friend) VALUES (%s, %s)", (user, friend))
    is_new = cursor.rowcount == 1
    if is_new and most:
        cursor.execute("SELECT COUNT(*) FROM friend WHERE user = %s", (user,))
        if cursor.fetchone()[0] > most:
            raise Forbidden(f"an account has at most {most} friends")
    return row[0], is_new


def remove(cursor: Cursor, user: int, friend: int) -> None:
    """Remove a friend. Raises NotFound if the friend was not added."""
    if not cursor.execute("DELETE FROM friend WHERE user = %s AND friend = %s", (user, friend)):
        raise NotFound("not among your friends")


def of(cursor: Cursor, users: list[int]) -> list[list[tuple[int, str]]]:
    """Return the friends that each of `users` has added, as (id, name) in order of id."""
    cursor.execute(
        "SELECT f.user, u.id, u.name FROM friend f JOIN user u ON u.id = f.friend"
        " WHERE f.user IN %s ORDER BY f.user, u.id",
        (users,),
    )
    found: dict[int, list[tuple[int, str]]] = {user: [] for user in users}
    for user, friend, name in cursor:
        found[user].append((friend, name))
    return [found[user] for user in users]


def has(cursor: Cursor, asked: list[tuple[int, int]]) -> list[bool]:
    """Tell, for each (user, other), whether the user has added the other."""
    cursor.execute(
        "SELECT f.user, f.friend FROM friend f"  # noqa: S608 - placeholders only
        f" JOIN ({values(asked, ('user', 'friend'))}) v ON f.user = v.user AND f.friend = v.friend",
        flat(asked),
    )
    found = set(cursor)
    return [pair in found for pair in asked]


def page(cursor: Cursor, user: int, after: int, size: int) -> list[tuple[int, str]]:
    """Return the first `size` friends of a user with ids above `after`, as (id, name) in order of id."""
    cursor.execute(
        "SELECT u.id, u.name FROM friend f JOIN user u ON u.id = f.friend"
        " WHERE f.user = %s AND f.friend > %s ORDER BY f.friend LIMIT %s",
        (user, after, size),
    )
    return list(cursor)


def watchers(cursor: Cursor, users: list[int]) -> list[list[int]]:
    """Return, for each of `users`, the ids of the users who have added them."""
    cursor.execute("SELECT friend, user FROM friend WHERE friend IN %s", (users,))
    found: dict[int, list[int]] = {user: [] for user in users}
    for friend, watcher in cursor:
        found[friend].append(watcher)
    return [found[user] for user in users]
