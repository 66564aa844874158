"""Persistent data in MySQL, one module per table. Only this package imports MySQLdb."""

from __future__ import annotations

from collections.abc import Callable

from forkchat.runtime import Lane, Loop
from forkchat.store.addresses import Addresses
from forkchat.store.classic import Classic
from forkchat.store.conversations import Conversations, Located, Standing
from forkchat.store.cursors import Cursors
from forkchat.store.database import Database, Pool, Primary
from forkchat.store.epoch import Epoch
from forkchat.store.friends import Friends
from forkchat.store.groups import Group, Groups
from forkchat.store.messages import Messages
from forkchat.store.names import Names
from forkchat.store.retention import Retention
from forkchat.store.tokens import Tokens
from forkchat.store.users import User, Users
from forkchat.store.writer import Decided, Writer

__all__ = ["Decided", "Group", "Located", "Standing", "Store", "User", "connections"]


def connections(readers: int) -> int:
    """Return how many connections a worker's Store holds: the readers', the cursors' and the writer's."""
    return readers + 2


class Store:
    """A worker's tables. No connection is made before its first use. Each lane has its own connection.

    `on_moved` is called on the loop when the URL may lead to a different server than before.
    """

    def __init__(self, loop: Loop, make_lane: Callable[[str], Lane], url: str, readers: int, pending: int):
        self.on_moved: Callable[[], object] = lambda: None
        primary = Primary()
        primary.on_moved = lambda: loop.post(self._moved)
        readers_ = [Database(url, make_lane(f"reader{n}"), primary) for n in range(readers)]
        self._pool = pool = Pool(loop, readers_)
        self.users = Users(pool)
        self.classic = Classic(pool)
        self.tokens = Tokens(pool)
        self.addresses = Addresses(pool)
        self.names = Names(pool)
        self.friends = Friends(pool)
        self.groups = Groups(pool)
        self.conversations = Conversations(pool)
        self.messages = Messages(pool)
        self.epoch = Epoch(pool)
        self.retention = Retention(pool)
        self.cursors = Cursors(loop, Database(url, make_lane("cursors"), primary))
        self.writer = Writer(loop, url, pending, primary)

    def _moved(self) -> None:
        self.on_moved()

    def close(self) -> None:
        self.writer.close()
        self.cursors.close()
        self._pool.close()
