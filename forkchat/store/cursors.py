"""Columns `recv_seq` and `read_seq` of `member`: gathered here, written every few seconds in batches.

Losing what is not written yet only repeats messages, which a client drops by their numbers.
"""

from __future__ import annotations

from forkchat import log
from forkchat.errors import Refused
from forkchat.runtime import Future, Loop, spawn
from forkchat.store.database import Cursor, Database, flat, values

_INTERVAL = 5.0
#: Rows of one UPDATE, in key order.
_CHUNK = 200

Key = tuple[int, bytes]  # user, conversation


class _Advance:
    """What is to be written for one member.

    `own_from`/`own_to`: the member's own messages up to `own_to` were acknowledged, which confirms
    them if everything up to `own_from` is.
    """

    __slots__ = ("own_from", "own_to", "read", "recv")

    def __init__(self) -> None:
        self.recv = self.read = self.own_from = self.own_to = 0

    def settle(self) -> None:
        if self.recv >= self.own_from:
            self.recv = max(self.recv, self.own_to)
        if self.read >= self.own_from:
            self.read = max(self.read, self.own_to)


class Cursors:
    """Moves cursors forward, never back, and never makes a row: who left a group stays out of it."""

    def __init__(self, loop: Loop, database: Database):
        self._loop = loop
        self._database = database
        self._dirty: dict[Key, _Advance] = {}
        loop.call_later(_INTERVAL, self._flush_in_time)

    def confirm(self, user: int, conv: str, seq: int) -> None:
        """The client has everything up to `seq`."""
        advance = self._advance(user, conv)
        advance.recv = max(advance.recv, seq)
        advance.settle()

    def read(self, user: int, conv: str, seq: int) -> None:
        """The person has read everything up to `seq`."""
        advance = self._advance(user, conv)
        advance.read = max(advance.read, seq)
        advance.settle()

    def acknowledge(self, user: int, conv: str, seq: int) -> None:
        """The member's own message `seq` was acknowledged: their cursors move if they stood before it."""
        advance = self._advance(user, conv)
        if seq != advance.own_to + 1:
            advance.own_from = seq - 1
        advance.own_to = seq
        advance.settle()

    def confirmed(self, user: int, conv: str) -> int:
        """What is confirmed beyond what MySQL has, as far as this worker knows."""
        advance = self._dirty.get((user, conv.encode()))
        return advance.recv if advance else 0

    async def flush(self) -> None:
        """Write what is gathered; what cannot be written stays for the next time."""
        while self._dirty:
            keys = sorted(self._dirty)[:_CHUNK]
            chunk = {key: self._dirty.pop(key) for key in keys}
            try:
                await self._write(chunk)
            except Refused:
                for key, advance in chunk.items():
                    self._restore(key, advance)
                raise

    def close(self) -> None:
        self._database.close()

    def _advance(self, user: int, conv: str) -> _Advance:
        key = user, conv.encode()
        advance = self._dirty.get(key)
        if advance is None:
            advance = self._dirty[key] = _Advance()
        return advance

    def _restore(self, key: Key, advance: _Advance) -> None:
        newer = self._dirty.setdefault(key, advance)
        newer.recv = max(newer.recv, advance.recv)
        newer.read = max(newer.read, advance.read)

    def _write(self, chunk: dict[Key, _Advance]) -> Future[None]:
        rows = [(*key, a.recv, a.read, a.own_from, a.own_to) for key, a in chunk.items()]
        return self._database.run(advance, (rows,), True)

    def _flush_in_time(self) -> None:
        def finished(done: Future[None]) -> None:
            if done.exception() is not None:
                log.warning("cursors.unwritten", waiting=len(self._dirty), why=done.exception())
            self._loop.call_later(_INTERVAL, self._flush_in_time)

        spawn(self.flush()).add_done_callback(finished)


def advance(cursor: Cursor, rows: list[tuple[int, bytes, int, int, int, int]]) -> None:
    """Move the cursors of (user, conv, recv, read, own_from, own_to), never past the last message."""
    table = values(rows, ("user", "conv", "recv", "seen", "own_from", "own_to"))
    cursor.execute(
        f"UPDATE member m JOIN ({table}) v ON m.user = v.user AND m.conv = v.conv"  # noqa: S608 - placeholders alone
        " JOIN conversation c ON c.conv = m.conv SET"
        " m.recv_seq = LEAST(c.last_seq,"
        " GREATEST(m.recv_seq, v.recv, IF(m.recv_seq >= v.own_from, v.own_to, 0))),"
        " m.read_seq = LEAST(c.last_seq,"
        " GREATEST(m.read_seq, v.seen, IF(m.read_seq >= v.own_from, v.own_to, 0)))",
        flat(rows),
    )
