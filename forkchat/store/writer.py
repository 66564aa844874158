"""Group commit: the only way in which a message is stored. Each worker has one thread and one connection.

The delivery promise depends on these rules:
1. A sequence number MUST be given under the conversation's row lock, in the transaction that inserts the
   message. Then commit order is sequence order, and a rollback leaves no hole.
2. A resend MUST be looked up in a statement that begins after the lock was acquired. Only such a statement
   sees what another worker committed. (The unique key reports when there is something to look up.)
3. Drafts of one conversation MUST be stored in the order in which they came. Drafts that are skipped because
   of a lock go back to the front.
4. Drafts of a batch whose outcome is unknown MUST be retried unchanged. A draft that was stored is found by
   its `cid`.
5. On a new connection, the worker MUST look up what it has stored before it numbers anything. A replica that
   lacks those messages would give their numbers again.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import MySQLdb

from forkchat import log
from forkchat.errors import Refused, Unavailable
from forkchat.runtime import STAGE_STORE, Loop, start_thread
from forkchat.store.append import Draft, Outcome, create_conversations, store
from forkchat.store.connection import (
    PATIENCE,
    Connection,
    close,
    connect,
    is_deadlock,
    is_known,
    is_lock_timeout,
    translate,
)
from forkchat.store.database import Primary
from forkchat.store.messages import times

#: Messages of one transaction, and bytes of their bodies. A batch must fit into MySQL's max_allowed_packet.
_MAX_BATCH, _MAX_BYTES = 512, 1 << 20
#: Times that a locked conversation is skipped before its lock is waited for.
_MAX_SKIPS = 3
#: Seconds for which a conversation is left out after a lock timeout, or after its message failed on its own.
#: Seconds between attempts when only skipped drafts are left.
#: Seconds between attempts to connect. A message waits for MySQL for at most `PATIENCE`.
_COOL_DOWN, _RETRY, _RECONNECT = 1.0, 0.003, 0.2
#: Seconds of a wait for a lock, the minimum that MySQL allows.
_LOCK_WAIT_S = 1
#: Seconds of lag above which only `_MAX_BATCH` messages may wait, so that accepted ones are stored in time.
_LATE = 1.0
#: Seconds between pings on an idle connection, because MySQL ends it after 6 s of silence.
_PING = 2.0
#: Conversations whose last message is remembered, to be looked up after a failover.
#: Conversations of one query that looks them up.
_MAX_ENDS, _LOOK = 8192, 500

_End = tuple[int, int]  # number, time
Decided = list[tuple[Draft, Outcome | Refused]]


class Writer:
    """A thread that stores appended messages in as few transactions as possible, without added delay.

    A batch is what has come while the batch before it was committed. `on_decided` is called on the loop with
    the outcomes. `on_missing(conv, seq, ts)` is called on the loop when MySQL may have lost a message stored
    here.
    """

    def __init__(self, loop: Loop, url: str, limit: int, primary: Primary | None = None):
        self._loop = loop
        self._url = url
        self._limit = limit
        self._unfinished = 0
        self._appended: list[Draft] = []
        self._queue: SimpleQueue[list[Draft] | None] = SimpleQueue()
        self._batches = _Batches(self._queue)
        self.on_decided: Callable[[Decided], object] = lambda decided: None
        self.on_missing: Callable[[str, int, int], object] = lambda conv, seq, ts: None
        self._primary = primary or Primary()
        self._generation = 0
        self._connection: Connection | None = None
        self._has_served = False  # of this connection
        self._ends: dict[str, _End] = {}  # by conversation, the last message stored here
        self._failure = ""  # why MySQL cannot store now; logged once
        self._thread = start_thread(self._work, "writer")

    def append(
        self, conv: str, users: tuple[int, ...], sender: int, cid: bytes, body: bytes, ticket: Any
    ) -> None:
        """Store a message (see `Draft`). Raises Unavailable if too many messages wait."""
        limit = self._limit if self._batches.lag <= _LATE else min(self._limit, _MAX_BATCH)
        if self._unfinished >= limit:
            raise Unavailable("too many messages wait to be stored")
        self._unfinished += 1
        self._appended.append(Draft(conv, users, sender, cid, body, ticket))
        if len(self._appended) == 1:
            self._loop.at_turn_end(STAGE_STORE, self._hand_over)

    @property
    def unfinished(self) -> int:
        """The number of drafts whose outcome has not been reported yet."""
        return self._unfinished

    def forget(self) -> None:
        """Forget what was stored so far, because the database has a new epoch.

        Messages stored so far are no longer looked up or reported as missing.
        """
        self._ends = {}

    def close(self) -> None:
        """Let the thread finish the drafts it has. Their outcomes are still posted to the loop."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join(timeout=PATIENCE + 1)

    def _hand_over(self) -> None:
        if self._appended:
            self._queue.put(self._appended)
            self._appended = []

    def _finish(self, decided: Decided, ends: dict[str, _End]) -> None:
        if ends is not self._ends:  # the answer came from the database before `forget`
            decided = [(draft, Unavailable("not known to be stored")) for draft, _ in decided]
        self._unfinished -= len(decided)
        self.on_decided(decided)

    # The writer's thread.

    def _work(self) -> None:
        while (batch := self._batches.next(self._keep_alive)) is not None:
            try:
                self._store(self._connected(), batch)
            except MySQLdb.Error as error:
                self._failed(error, batch)
            except Exception as error:
                self._drop()
                log.exception("writer.error", error, messages=len(batch.drafts))
                self._tell([(draft, Unavailable("not stored")) for draft in batch.drafts], self._ends)
                batch.drafts = []
            finally:
                self._batches.put_back(batch)
            if expired := self._batches.expire():
                self._tell(expired, self._ends)
        self._drop()

    def _store(self, connection: Connection, batch: _Batch) -> None:
        ends = self._ends  # `forget` may be called before MySQL answers
        result = store(connection, batch.drafts, batch.contended)
        outcomes = result.outcomes
        if result.absent:
            outcomes |= create_conversations(connection, result.absent)
        if not self._has_served:
            self._has_served = True
            self._generation = self._primary.led_to(self._generation, is_read_only=False)
        decided = [(draft, outcomes[draft]) for draft in batch.drafts if draft in outcomes]
        self._tell(decided, ends)  # first, so that each outcome is reported even if a later step fails
        batch.drafts = [draft for draft in batch.drafts if draft not in outcomes]
        batch.skipped = {draft.conv for draft in batch.drafts} - {draft.conv for draft in result.absent}
        self._batches.succeeded()
        self._remember(ends, decided)
        if self._failure:
            log.info("writer.recovered", after=self._failure)
            self._failure = ""

    def _failed(self, error: MySQLdb.Error, batch: _Batch) -> None:
        """Prepare to retry the batch after `error`."""
        connection = self._connection
        if connection is not None and (is_deadlock(error) or is_lock_timeout(error)):
            self._batches.cool_down(is_lock_timeout(error))
            try:
                connection.rollback()
                return
            except MySQLdb.Error as lost:
                error = lost
        why = translate(error)
        if str(why) != self._failure:
            self._failure = str(why)
            level = log.warning if is_known(error) else log.error
            level("writer.failed", why=why, error=error, waiting=self._unfinished)
        if connection is not None:
            self._batches.suspect(batch)
        self._give_up()
        self._batches.rest = _RECONNECT

    # The connection of the writer's thread.

    def _connected(self) -> Connection:
        """Return a connection to the server that the URL leads to now. Raises MySQLdb.Error if that fails."""
        if self._generation != self._primary.generation:
            self._drop()
        if self._connection is None:
            self._generation = self._primary.generation
            self._has_served = False
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Connection:
        connection = connect(self._url)
        try:
            connection.autocommit(False)
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", (_LOCK_WAIT_S,))
                self._look(cursor)
            connection.commit()
        except BaseException:
            close(connection)
            raise
        return connection

    def _look(self, cursor: Any) -> None:
        """Look up the last stored messages. Report those not found: a failover may have lost them."""
        known = self._ends
        ends = list(known.items())
        for at in range(0, len(ends), _LOOK):
            found = times(cursor, [(conv, seq) for conv, (seq, _) in ends[at : at + _LOOK]])
            for conv, (seq, ts) in ends[at : at + _LOOK]:
                if found.get((conv, seq)) != ts:
                    self._loop.post(self._miss, known, conv, seq, ts)

    def _remember(self, ends: dict[str, _End], decided: Decided) -> None:
        """Remember the last message stored in each conversation.

        If MySQL gives a number again, it has lost the earlier message, which is reported as missing.
        """
        for draft, outcome in decided:
            if isinstance(outcome, Outcome) and not outcome.is_dup:
                seq, ts = ends.get(draft.conv, (0, 0))
                if outcome.seq <= seq:
                    self._loop.post(self._miss, ends, draft.conv, seq, ts)
                ends[draft.conv] = outcome.seq, outcome.ts
        if len(ends) > _MAX_ENDS:
            for conv in list(ends)[: len(ends) // 2]:
                del ends[conv]

    def _miss(self, known: dict[str, _End], conv: str, seq: int, ts: int) -> None:
        """Call `on_missing`, unless `forget` was called meanwhile."""
        if known is self._ends:
            self.on_missing(conv, seq, ts)

    def _keep_alive(self) -> None:
        """Ping MySQL while idle, to learn early whether it can store the next message."""
        try:
            if self._has_served or self._ends:
                self._connected().ping()
        except Exception as error:
            if not isinstance(error, MySQLdb.Error):
                log.exception("writer.error", error)
            self._give_up()

    def _give_up(self) -> None:
        if self._has_served:
            self._primary.doubt(self._generation)
        self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._has_served = False
        close(connection)

    def _tell(self, decided: Decided, ends: dict[str, _End]) -> None:
        if decided:
            self._loop.post(self._finish, decided, ends)


class _Batch:
    """The drafts of one transaction. After the transaction, only drafts that are not yet stored remain."""

    def __init__(self, drafts: list[Draft], contended: set[str]):
        self.drafts = drafts
        self.contended = contended  # conversations whose locks are to be waited for
        self.skipped: set[str] = set()


class _Batches:
    """The drafts that wait to be stored, in order, and the choice of the next batch."""

    def __init__(self, queue: SimpleQueue[list[Draft] | None]):
        self.rest = 0.0  # seconds to wait before the next attempt
        self.lag = 0.0  # seconds that the first draft of the last batch had waited
        self._queue = queue
        self._waiting: deque[Draft] = deque()
        self._skips: Counter[str] = Counter()
        self._cooling: dict[str, float] = {}
        self._contended: set[str] = set()
        self._most = _MAX_BATCH
        self._is_closed = False

    def next(self, on_idle: Callable[[], object]) -> _Batch | None:
        """Wait for the next batch; return None if closed and empty. Call `on_idle` while nothing waits."""
        time.sleep(self.rest)
        self.rest = 0.0
        while True:
            self._take(self._timeout())
            if self._waiting:
                batch = self._select()
                if batch.drafts:
                    return batch
            elif self._is_closed:
                return None
            else:
                on_idle()

    def put_back(self, batch: _Batch) -> None:
        """Put the drafts that were not stored back to the front, in their order."""
        self._waiting.extendleft(reversed(batch.drafts))
        for conv in batch.skipped:
            self._skips[conv] += 1

    def cool_down(self, has_waited: bool) -> None:
        """Leave contended conversations out for a while, if their locks timed out (`has_waited`)."""
        if has_waited:
            self._cooling |= dict.fromkeys(self._contended, time.monotonic() + _COOL_DOWN)
            for conv in self._contended:
                del self._skips[conv]

    def suspect(self, batch: _Batch) -> None:
        """Halve the size of the next batch, because a message of this batch may have made it fail.

        A message that fails on its own delays only its own conversation.
        """
        self._most = max(1, len(batch.drafts) // 2)
        if len(batch.drafts) == 1:
            self._cooling[batch.drafts[0].conv] = time.monotonic() + _COOL_DOWN

    def succeeded(self) -> None:
        self._most = min(_MAX_BATCH, self._most * 2)

    def expire(self) -> Decided:
        """Remove and refuse drafts that have waited for `PATIENCE`. Their outcome in MySQL may be unknown."""
        oldest = time.monotonic() - PATIENCE
        if not self._waiting or min(draft.born for draft in self._waiting) > oldest:
            return []
        expired = [draft for draft in self._waiting if draft.born <= oldest]
        self._waiting = deque(draft for draft in self._waiting if draft.born > oldest)
        return [(draft, Unavailable("MySQL does not answer")) for draft in expired]

    def _timeout(self) -> float:
        if not self._waiting:
            return _PING
        return _RETRY if self._skips or self._cooling else 0.0

    def _take(self, timeout: float) -> None:
        """Take the drafts that were handed over. Wait up to `timeout` seconds for the first."""
        if self._is_closed:
            time.sleep(min(timeout, _RETRY))
            return
        try:
            taken = self._queue.get(timeout > 0, timeout or None)
            while taken is not None:
                self._waiting.extend(taken)
                taken = self._queue.get_nowait()
            self._is_closed = True
        except Empty:
            return

    def _select(self) -> _Batch:
        """Return a batch of the drafts at the front. Conversations skipped too often are marked contended."""
        now = time.monotonic()
        self._cooling = {conv: until for conv, until in self._cooling.items() if until > now}
        waiting = {draft.conv for draft in self._waiting}
        for conv in [conv for conv in self._skips if conv not in waiting]:
            del self._skips[conv]
        chosen: list[Draft] = []
        left: deque[Draft] = deque()
        size = 0
        for draft in self._waiting:
            if draft.conv in self._cooling:
                left.append(draft)
                continue
            size += len(draft.body)  # even if it does not fit, so that no smaller draft overtakes it
            fits = not chosen or (len(chosen) < self._most and size <= _MAX_BYTES)
            (chosen if fits else left).append(draft)
        self._waiting = left
        self.lag = now - chosen[0].born if chosen else 0.0
        self._contended = {draft.conv for draft in chosen if self._skips[draft.conv] >= _MAX_SKIPS}
        for conv in self._contended:
            del self._skips[conv]
        return _Batch(chosen, self._contended)
