"""Columns `recv_seq` and `read_seq` of `member`: gathered in memory, written in batches every few seconds.

If unwritten cursors are lost, messages are only delivered again, and the client deduplicates them by number.
A cursor belongs to an epoch, because its number may be another message's in the next epoch.
"""

from __future__ import annotations

from forkchat.jobs import Job
from forkchat.runtime import Future, Loop
from forkchat.store import epoch
from forkchat.store.database import Cursor, Database, flat, values

#: Seconds between writes.
_INTERVAL = 5.0
#: Rows of one UPDATE, in key order.
_CHUNK = 200


class _Advance:
    """The cursor positions to be written for one member.

    The member's own messages from `own_from` + 1 to `own_to` were acknowledged. They count as confirmed once
    everything up to `own_from` is confirmed.
    """

    __slots__ = ("own_from", "own_to", "read", "recv")

    def __init__(self) -> None:
        self.recv = self.read = self.own_from = self.own_to = 0

    def absorb(self, older: _Advance) -> None:
        """Merge the positions of an earlier advance that was not written."""
        self.recv = max(self.recv, older.recv)
        self.read = max(self.read, older.read)
        if not self.own_to:
            self.own_from, self.own_to = older.own_from, older.own_to
        elif self.own_from == older.own_to:
            self.own_from = older.own_from
        self.settle()

    def settle(self) -> None:
        if self.recv >= self.own_from:
            self.recv = max(self.recv, self.own_to)
        if self.read >= self.own_from:
            self.read = max(self.read, self.own_to)


_Rows = list[tuple[int, bytes, _Advance]]


class Cursors:
    """The cursors of a worker's users. A cursor moves only forward.

    No row is ever created, because a user who left a group must stay out of it.
    Callers MUST report only existing messages in the user's own conversations. Neither is checked before the
    write.
    """

    def __init__(self, loop: Loop, database: Database):
        self._loop = loop
        self._database = database
        self._epoch = ""
        self._dirty: dict[int, dict[bytes, _Advance]] = {}  # by user and conversation
        self._in_flight: dict[int, Future[None]] = {}  # by user, the write in progress
        self._flushing = Job(loop, "cursors.flush", self.flush)
        loop.call_later(_INTERVAL, self._flush_in_time)

    def begin(self, known: str) -> None:
        """Begin the epoch `known`. Forget what was gathered in another epoch."""
        self._epoch = known
        self._dirty.clear()

    def confirm(self, user: int, conv: str, seq: int) -> None:
        """Note that the client has received everything up to `seq`."""
        advance = self._advance(user, conv)
        advance.recv = max(advance.recv, seq)
        advance.settle()

    def read(self, user: int, conv: str, seq: int) -> None:
        """Note that the user has read everything up to `seq`."""
        advance = self._advance(user, conv)
        advance.read = max(advance.read, seq)
        advance.settle()

    def acknowledge(self, user: int, conv: str, seq: int) -> None:
        """Note that the member's own message `seq` was acknowledged. A cursor just before it moves to it."""
        advance = self._advance(user, conv)
        if seq != advance.own_to + 1:
            advance.own_from = seq - 1
        advance.own_to = seq
        advance.settle()

    def confirmed(self, user: int, conv: str) -> int:
        """Return the last confirmed number that this worker has yet to write; 0 if there is none."""
        advance = self._dirty.get(user, {}).get(conv.encode())
        return advance.recv if advance else 0

    async def flush(self) -> None:
        """Write everything gathered so far.

        Raises Unavailable if MySQL fails. Rows that cannot be written stay for the next flush.
        """
        rows: _Rows = []
        for user in sorted(self._dirty):
            if user not in self._in_flight:  # `flush_user` may have begun meanwhile
                rows += self._take(user)
            if len(rows) >= _CHUNK:
                await self._write(rows)
                rows = []
        if rows:
            await self._write(rows)

    async def flush_user(self, user: int) -> None:
        """Write everything gathered for one user, after any write in progress for them.

        Raises Unavailable if MySQL fails.
        """
        while (writing := self._in_flight.get(user)) is not None:
            await writing
        if rows := self._take(user):
            await self._write(rows)

    def close(self) -> None:
        self._database.close()

    def _advance(self, user: int, conv: str) -> _Advance:
        mine = self._dirty.get(user)
        if mine is None:
            mine = self._dirty[user] = {}
        key = conv.encode()
        advance = mine.get(key)
        if advance is None:
            advance = mine[key] = _Advance()
        return advance

    def _take(self, user: int) -> _Rows:
        """Remove and return the rows gathered for the user, in key order."""
        return [(user, conv, advance) for conv, advance in sorted(self._dirty.pop(user, {}).items())]

    def _put_back(self, rows: _Rows) -> None:
        for user, conv, older in rows:
            mine = self._dirty.setdefault(user, {})
            if conv in mine:
                mine[conv].absorb(older)
            else:
                mine[conv] = older

    async def _write(self, taken: _Rows) -> None:
        """Write all rows taken from some users. Put them back if that fails, unless the epoch has changed."""
        over: Future[None] = Future()
        known = self._epoch
        users = {user for user, _, _ in taken}
        self._in_flight |= dict.fromkeys(users, over)
        rows = [(user, conv, a.recv, a.read, a.own_from, a.own_to) for user, conv, a in taken]
        try:
            await self._database.run(advance, (known, rows), True)
        except BaseException:
            if known == self._epoch:
                self._put_back(taken)
            raise
        finally:
            for user in users:
                del self._in_flight[user]
            over.set_result(None)

    def _flush_in_time(self) -> None:
        self._loop.call_later(_INTERVAL, self._flush_in_time)
        self._flushing.want()


def advance(cursor: Cursor, known: str, rows: list[tuple[int, bytes, int, int, int, int]]) -> None:
    """Move the cursors of `rows`: (user, conv, recv, read, own_from, own_to).

    A cursor never moves past the last message. Nothing moves if the epoch is no longer `known`.
    A new epoch waits until this transaction ends.
    """
    if not epoch.hold(cursor, known):
        return
    for at in range(0, len(rows), _CHUNK):
        _advance_some(cursor, rows[at : at + _CHUNK])


def _advance_some(cursor: Cursor, rows: list[tuple[int, bytes, int, int, int, int]]) -> None:
    table = values(rows, ("user", "conv", "recv", "seen", "own_from", "own_to"))
    cursor.execute(
        f"UPDATE member m JOIN ({table}) v ON m.user = v.user AND m.conv = v.conv"  # noqa: S608 - placeholders only
        " JOIN conversation c ON c.conv = m.conv SET"
        " m.recv_seq = LEAST(c.last_seq,"
        " GREATEST(m.recv_seq, v.recv, IF(m.recv_seq >= v.own_from, v.own_to, 0))),"
        " m.read_seq = LEAST(c.last_seq,"
        " GREATEST(m.read_seq, v.seen, IF(m.read_seq >= v.own_from, v.own_to, 0)))",
        flat(rows),
    )
