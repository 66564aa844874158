"""Table `chat_group`, and who is a member of a group's conversation.

Each change of members locks the conversation's row and bumps `members_ver`: a message stored before
the change is numbered before it, and a worker that meets an unknown version reads the members anew.
"""

from __future__ import annotations

from typing import NamedTuple

from forkchat.errors import BadRequest, Forbidden, NotFound, NotMember
from forkchat.store.database import Cursor, Pool


class Group(NamedTuple):
    """A group as one of its members has it."""

    id: int
    name: str
    description: str
    role: str


class Joined(NamedTuple):
    group: Group
    last: int  # the conversation's last_seq at the time
    first: int  # where it begins for the new member
    version: int  # members_ver
    is_new: bool


class Groups:
    def __init__(self, pool: Pool):
        self.create = pool.transaction(create)
        self.join = pool.transaction(join)
        self.leave = pool.transaction(leave)
        self.remove = pool.transaction(remove)
        self.readmit = pool.transaction(readmit)
        self.of = pool.batch(of)
        self.page = pool.read(page)
        self.members = pool.read(members)


def _key(group: int) -> bytes:
    return b"g%d" % group


def create(cursor: Cursor, creator: int, name: str, description: str, most: int) -> int:
    """The new group's id; its creator is its first member, who may have `most` groups (0: any number).

    Raises Forbidden.
    """
    cursor.execute("INSERT INTO chat_group (name, description) VALUES (%s, %s)", (name, description))
    group = cursor.lastrowid
    cursor.execute("INSERT INTO conversation (conv, touched) VALUES (%s, UTC_TIMESTAMP(3))", (_key(group),))
    cursor.execute("INSERT INTO member (user, conv, role) VALUES (%s, %s, 'creator')", (creator, _key(group)))
    _check_groups(cursor, creator, most)
    return group


def join(cursor: Cursor, user: int, group: int, caps: tuple[int, int]) -> Joined:
    """Become a member, who sees what comes from now on; twice is once. The first member of an
    empty group is its creator.

    `caps`: the most groups of the user, and members of the group; 0: any number. Raises NotFound, Forbidden.
    """
    last, version = _lock(cursor, group)
    cursor.execute("SELECT 1 FROM removed WHERE conv = %s AND user = %s", (_key(group), user))
    if cursor.fetchone():
        raise Forbidden("you were removed from this group; its creator can let you in again")
    cursor.execute("SELECT 1 FROM member WHERE conv = %s LIMIT 1", (_key(group),))
    role = "normal" if cursor.fetchone() else "creator"
    cursor.execute(
        "INSERT IGNORE INTO member (user, conv, role, first_seq, recv_seq, read_seq, since_ver)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (user, _key(group), role, last + 1, last, last, version + 1),
    )
    is_new = cursor.rowcount == 1
    if is_new:
        _check_groups(cursor, user, caps[0])
        _check_members(cursor, group, caps[1])
        version = _bump(cursor, group, version)
    cursor.execute("SELECT role, first_seq FROM member WHERE user = %s AND conv = %s", (user, _key(group)))
    role, first = cursor.fetchone()
    cursor.execute("SELECT name, description FROM chat_group WHERE id = %s", (group,))
    name, description = cursor.fetchone()
    return Joined(Group(group, name, description, role), last, first, version, is_new)


def leave(cursor: Cursor, user: int, group: int) -> None:
    """A creator is followed by the longest-standing member. Raises NotFound, NotMember."""
    _, version = _lock(cursor, group)
    role = _role(cursor, group, user)
    cursor.execute("DELETE FROM member WHERE user = %s AND conv = %s", (user, _key(group)))
    if role == "creator":
        cursor.execute(
            "UPDATE member SET role = 'creator' WHERE conv = %s ORDER BY since_ver, first_seq, user LIMIT 1",
            (_key(group),),
        )
    _bump(cursor, group, version)


def remove(cursor: Cursor, creator: int, group: int, user: int) -> str:
    """Remove another member, as the creator alone may, until `readmit`; their name.

    Raises NotFound, NotMember, Forbidden, BadRequest.
    """
    _, version = _lock(cursor, group)
    _expect_creator(cursor, group, creator)
    if user == creator:
        raise BadRequest("the creator cannot be removed; leave instead")
    if not cursor.execute("DELETE FROM member WHERE user = %s AND conv = %s", (user, _key(group))):
        raise NotFound("not a member of this group")
    cursor.execute("INSERT IGNORE INTO removed (conv, user) VALUES (%s, %s)", (_key(group), user))
    _bump(cursor, group, version)
    cursor.execute("SELECT name FROM user WHERE id = %s", (user,))
    return cursor.fetchone()[0]


def readmit(cursor: Cursor, creator: int, group: int, user: int) -> None:
    """Let someone who was removed join again, as the creator alone may. Raises NotFound, NotMember,
    Forbidden."""
    _lock(cursor, group)
    _expect_creator(cursor, group, creator)
    if not cursor.execute("DELETE FROM removed WHERE conv = %s AND user = %s", (_key(group), user)):
        raise NotFound("not removed from this group")


def _role(cursor: Cursor, group: int, user: int) -> str:
    """Raises NotMember."""
    cursor.execute("SELECT role FROM member WHERE user = %s AND conv = %s", (user, _key(group)))
    row = cursor.fetchone()
    if row is None:
        raise NotMember("you are not in this group")
    return row[0]


def _expect_creator(cursor: Cursor, group: int, user: int) -> None:
    if _role(cursor, group, user) != "creator":
        raise Forbidden("only the group's creator removes members and lets them in again")


def of(cursor: Cursor, users: list[int]) -> list[list[Group]]:
    """The groups of each of `users`, by id."""
    cursor.execute(
        "SELECT m.user, g.id, g.name, g.description, m.role FROM member m"
        " JOIN chat_group g ON g.id = CAST(SUBSTR(m.conv, 2) AS UNSIGNED)"
        " WHERE m.user IN %s AND m.conv LIKE 'g%%' ORDER BY m.user, g.id",
        (users,),
    )
    found: dict[int, list[Group]] = {user: [] for user in users}
    for user, *group in cursor:
        found[user].append(Group(*group))
    return [found[user] for user in users]


def page(cursor: Cursor, user: int, after: int, size: int) -> list[Group]:
    """The first `size` groups of a user with ids above `after`, by id."""
    cursor.execute(
        "SELECT g.id, g.name, g.description, m.role FROM member m"
        " JOIN chat_group g ON g.id = CAST(SUBSTR(m.conv, 2) AS UNSIGNED)"
        " WHERE m.user = %s AND m.conv LIKE 'g%%' AND g.id > %s ORDER BY g.id LIMIT %s",
        (user, after, size),
    )
    return [Group(*row) for row in cursor]


def members(cursor: Cursor, group: int, asker: int, after: int, size: int) -> list[tuple[int, str, str]]:
    """(id, name, role) of the first `size` members with ids above `after`, by id, for one of them.

    Raises NotMember.
    """
    cursor.execute("SELECT 1 FROM member WHERE user = %s AND conv = %s", (asker, _key(group)))
    if cursor.fetchone() is None:
        raise NotMember("you are not in this group")
    cursor.execute(
        "SELECT m.user, u.name, m.role FROM member m JOIN user u ON u.id = m.user"
        " WHERE m.conv = %s AND m.user > %s ORDER BY m.user LIMIT %s",
        (_key(group), after, size),
    )
    return list(cursor)


def _check_groups(cursor: Cursor, user: int, most: int) -> None:
    """Raises Forbidden if the user, in the last one just now, is in too many groups."""
    cursor.execute("SELECT COUNT(*) FROM member WHERE user = %s AND conv LIKE 'g%%'", (user,))
    if 0 < most < cursor.fetchone()[0]:
        raise Forbidden(f"an account is in at most {most} groups")


def _check_members(cursor: Cursor, group: int, most: int) -> None:
    """Raises Forbidden if the group, with its newest member, has too many."""
    cursor.execute("SELECT COUNT(*) FROM member WHERE conv = %s", (_key(group),))
    if 0 < most < cursor.fetchone()[0]:
        raise Forbidden(f"a group has at most {most} members")


def _lock(cursor: Cursor, group: int) -> tuple[int, int]:
    """(last_seq, members_ver), with the row locked to the transaction's end. Raises NotFound."""
    cursor.execute(
        "SELECT last_seq, members_ver FROM conversation WHERE conv = %s FOR UPDATE", (_key(group),)
    )
    row = cursor.fetchone()
    if row is None:
        raise NotFound("no such group")
    return row


def _bump(cursor: Cursor, group: int, version: int) -> int:
    cursor.execute(
        "UPDATE conversation SET members_ver = %s, touched = UTC_TIMESTAMP(3) WHERE conv = %s",
        (version + 1, _key(group)),
    )
    return version + 1
