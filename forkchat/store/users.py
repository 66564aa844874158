"""Table `user`: accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import MySQLdb

from forkchat.errors import Conflict
from forkchat.store.connection import is_duplicate
from forkchat.store.database import Cursor, Pool


class User(NamedTuple):
    id: int
    name: str
    password: str


class Users:
    def __init__(self, pool: Pool):
        self.create = pool.transaction(create)
        self.find = pool.batch(find)
        self.rehash = pool.transaction(rehash)


def create(cursor: Cursor, name: str, password: str, skeletons: Sequence[bytes] = ()) -> int:
    """Create an account and return its id. `password` is a hash.

    Look-alike names share a skeleton. A name without skeletons gets them later (`forkchat.store.names`).

    Raises Conflict if the name is taken, or looks like that of another account.
    """
    why = "the name is taken"
    try:
        cursor.execute("INSERT INTO user (name, password) VALUES (%s, %s)", (name, password))
        user: int = cursor.lastrowid
        why = "the name looks like that of another account"
        for skeleton in skeletons:
            cursor.execute("INSERT INTO name_skeleton (skeleton, user) VALUES (%s, %s)", (skeleton, user))
    except MySQLdb.IntegrityError as error:
        if is_duplicate(error):
            raise Conflict(why) from None
        raise
    return user


def find(cursor: Cursor, keys: list[int | str]) -> list[User | None]:
    """Return the accounts of these ids (int) or names (str), in their order; None where there is none."""
    found: dict[int | str, User] = {}
    ids = [key for key in keys if isinstance(key, int)]
    names = [key for key in keys if isinstance(key, str)]
    if ids:
        cursor.execute("SELECT id, name, password FROM user WHERE id IN %s", (ids,))
        found.update((row[0], User(*row)) for row in cursor)
    if names:
        cursor.execute("SELECT id, name, password FROM user WHERE name IN %s", (names,))
        found.update((row[1], User(*row)) for row in cursor)
    return [found.get(key) for key in keys]


def rehash(cursor: Cursor, user: int, old: str, new: str) -> None:
    """Replace the hash `old` with `new`, of the same password. A password changed meanwhile stays."""
    cursor.execute("UPDATE user SET password = %s WHERE id = %s AND password = %s", (new, user, old))
