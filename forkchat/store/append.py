"""Tables `conversation` and `message`, write side: one batch in one transaction.

The rules that keep the delivery promise are in `forkchat.store.writer`.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import MySQLdb

from forkchat.errors import Conflict, NotFound, NotMember, Refused
from forkchat.store.connection import is_duplicate, read_only_error
from forkchat.store.database import Cursor, flat, values


class Draft:
    """A message to be stored. Its `cid` makes a retry safe.

    `ticket` is any value that the caller wants back with the outcome.
    """

    __slots__ = ("body", "born", "cid", "conv", "sender", "ticket", "users")

    def __init__(self, conv: str, users: tuple[int, ...], sender: int, cid: bytes, body: bytes, ticket: Any):
        self.conv = conv
        self.users = users  # the two users of a pair; empty for a group
        self.sender = sender
        self.cid = cid
        self.body = body
        self.ticket = ticket
        self.born = time.monotonic()


class Outcome(NamedTuple):
    """The result of a draft that is stored, now or earlier (`is_dup`). `version` is members_ver."""

    seq: int
    ts: int  # milliseconds since 1970, by MySQL's clock, because the hosts' clocks may differ
    version: int
    is_dup: bool


class Stored(NamedTuple):
    """The result of a batch. Drafts in neither field were skipped because of a lock."""

    outcomes: dict[Draft, Outcome | Refused]
    absent: list[Draft]  # drafts whose conversation does not exist yet


def store(connection: Any, drafts: list[Draft], contended: set[str]) -> Stored:
    """Store and commit the drafts whose conversations can be locked.

    The locks of `contended` conversations are waited for. Other locked conversations are skipped.
    Resends are rare, so they are looked up only after the unique key reports one.

    Raises MySQLdb.Error if MySQL fails.
    """
    try:
        return _store(connection, drafts, contended, may_be_sent=False)
    except MySQLdb.IntegrityError as error:
        if not is_duplicate(error):
            raise
        connection.rollback()
        return _store(connection, drafts, contended, may_be_sent=True)


def _store(connection: Any, drafts: list[Draft], contended: set[str], may_be_sent: bool) -> Stored:
    with connection.cursor() as cursor:
        convs = sorted({draft.conv.encode() for draft in drafts})
        # Lock in key order, so that transactions cannot deadlock.
        locked = _lock(cursor, [conv for conv in convs if conv.decode() in contended], may_wait=True)
        others = [conv for conv in convs if conv.decode() not in contended]
        locked |= _lock(cursor, others, may_wait=False)
        unlocked = [conv for conv in convs if conv.decode() not in locked]
        existing = _existing(cursor, unlocked) if unlocked else set()
        mine = [draft for draft in drafts if draft.conv in locked]
        outcomes: dict[Draft, Outcome | Refused] = {}
        if mine:
            sent = _sent_before(cursor, mine) if may_be_sent else {}
            _number(mine, locked, sent, _memberships(cursor, mine), outcomes)
        _insert_and_commit(connection, cursor, outcomes)
    absent = [d for d in drafts if d.conv not in locked and d.conv not in existing]
    return Stored(outcomes, absent)


def create_conversations(connection: Any, drafts: list[Draft]) -> dict[Draft, Outcome | Refused]:
    """Create the pairs that these drafts begin, in a separate transaction. Return refusals for the others."""
    users = sorted({user for draft in drafts for user in draft.users})
    with connection.cursor() as cursor:
        existing: set[int] = set()
        if users:
            cursor.execute("SELECT id FROM user WHERE id IN %s", (users,))
            existing = {row[0] for row in cursor}
        pairs = sorted(
            {(d.conv.encode(), d.users) for d in drafts if d.users and existing.issuperset(d.users)}
        )
        if pairs:
            cursor.executemany(
                "INSERT IGNORE INTO conversation (conv, touched) VALUES (%s, %s)",
                [(conv, "2000-01-01") for conv, _ in pairs],
            )
            cursor.executemany(
                "INSERT IGNORE INTO member (user, conv) VALUES (%s, %s)",
                sorted((user, conv) for conv, both in pairs for user in both),
            )
    connection.commit()
    made = {conv.decode() for conv, _ in pairs}
    return {
        draft: NotFound("no such user" if draft.users else "no such group")
        for draft in drafts
        if draft.conv not in made
    }


class _Locked:
    __slots__ = ("last", "now", "version")

    def __init__(self, last: int, version: int, now: int):
        self.last = last
        self.version = version
        self.now = now


_ROWS = (
    "SELECT CAST(conv AS CHAR), last_seq, members_ver,"
    " TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000, @@global.read_only"
    " FROM conversation WHERE conv IN %s ORDER BY conv"
)


def _lock(cursor: Cursor, convs: list[bytes], may_wait: bool) -> dict[str, _Locked]:
    if not convs:
        return {}
    cursor.execute(_ROWS + (" FOR UPDATE" if may_wait else " FOR UPDATE SKIP LOCKED"), (convs,))
    locked = {}
    for conv, last, version, now, is_read_only in cursor:
        if is_read_only:  # a privileged account could still write to the server
            raise read_only_error()
        locked[conv] = _Locked(last, version, now)
    return locked


def _existing(cursor: Cursor, convs: list[bytes]) -> set[str]:
    cursor.execute("SELECT CAST(conv AS CHAR) FROM conversation WHERE conv IN %s", (convs,))
    return {row[0] for row in cursor}


_Sent = tuple[str, bytes, Outcome]  # conversation, body, outcome


def _sent_before(cursor: Cursor, drafts: list[Draft]) -> dict[tuple[int, bytes], _Sent]:
    """Return what is already stored under the (sender, cid) of these drafts."""
    keys = [(draft.sender, draft.cid) for draft in drafts]
    cursor.execute(
        "SELECT m.sender, m.cid, CAST(m.conv AS CHAR), m.body, m.seq, m.ts"  # noqa: S608 - placeholders only
        f" FROM ({values(keys, ('sender', 'cid'))}) v"
        " JOIN message m ON m.sender = v.sender AND m.cid = v.cid",
        flat(keys),
    )
    return {
        (sender, cid): (conv, body, Outcome(seq, ts, 0, True)) for sender, cid, conv, body, seq, ts in cursor
    }


def _memberships(cursor: Cursor, drafts: list[Draft]) -> set[tuple[str, int]]:
    """Return the (group, sender) pairs of these drafts whose sender is a member of the group."""
    keys = list({(draft.conv.encode(), draft.sender) for draft in drafts if not draft.users})
    if not keys:
        return set()
    cursor.execute(
        "SELECT CAST(m.conv AS CHAR), m.user"  # noqa: S608 - placeholders only
        f" FROM ({values(keys, ('conv', 'user'))}) v"
        " JOIN member m ON m.user = v.user AND m.conv = v.conv",
        flat(keys),
    )
    return set(cursor)


def _number(
    drafts: list[Draft],
    locked: dict[str, _Locked],
    sent: dict[tuple[int, bytes], _Sent],
    members: set[tuple[str, int]],
    outcomes: dict[Draft, Outcome | Refused],
) -> None:
    """Decide each draft. A draft that is to be inserted gets the next number of its conversation."""
    for draft in drafts:
        row = locked[draft.conv]
        key = (draft.sender, draft.cid)
        earlier = sent.get(key)
        if earlier is not None:
            conv, body, outcome = earlier
            is_same = conv == draft.conv and body == draft.body
            outcomes[draft] = (
                outcome._replace(version=row.version, is_dup=True)
                if is_same
                else Conflict("another message was sent with this cid")
            )
        elif not draft.users and (draft.conv, draft.sender) not in members:
            outcomes[draft] = NotMember("you are not in this group")
        else:
            row.last += 1
            outcomes[draft] = outcome = Outcome(row.last, row.now, row.version, False)
            sent[key] = (draft.conv, draft.body, outcome)


def _insert_and_commit(connection: Any, cursor: Cursor, outcomes: dict[Draft, Outcome | Refused]) -> None:
    """Insert the new messages and commit, all in one packet.

    Each round trip to MySQL costs as much as several rows.
    """
    new = [
        (draft.conv.encode(), outcome.seq, draft.sender, draft.cid, outcome.ts, draft.body)
        for draft, outcome in outcomes.items()
        if isinstance(outcome, Outcome) and not outcome.is_dup
    ]
    if not new:
        connection.commit()
        return
    ends = {row[0]: row[1] for row in new}
    cursor.execute(
        "UPDATE conversation SET touched = UTC_TIMESTAMP(3), last_seq = CASE conv"
        + " WHEN %s THEN %s" * len(ends)
        + " END WHERE conv IN %s; INSERT INTO message (conv, seq, sender, cid, ts, body) VALUES %s"
        + ", %s" * (len(new) - 1)
        + "; COMMIT",
        (*flat(list(ends.items())), sorted(ends), *new),
    )
    while cursor.nextset():
        pass  # an error of a later statement is raised here
