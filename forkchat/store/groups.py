"""Table `chat_group`, and the members of a group's conversation.

Each change of members locks the conversation's row and increments `members_ver`. A message stored before the
change is therefore numbered before it. A worker that meets an unknown version reads the members again.
"""

from __future__ import annotations

from typing import NamedTuple

from forkchat.errors import BadRequest, Forbidden, NotFound, NotMember
from forkchat.store.database import Cursor, Pool


class Group(NamedTuple):
    """A group as one of its members sees it. `role` is that member's."""

    id: int
    name: str
    description: str
    role: str


class Joined(NamedTuple):
    group: Group
    last: int  # the conversation's last_seq at the time of joining
    first: int  # the first seq that the member may see
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
    """Create a group with its creator as first member. Return the group's id.

    A user may have at most `most` groups; 0 means no limit. Raises Forbidden if the creator has too many.
    """
    cursor.execute("INSERT INTO chat_group (name, description) VALUES (%s, %s)", (name, description))
    group = cursor.lastrowid
    cursor.execute("INSERT INTO conversation (conv, touched) VALUES (%s, UTC_TIMESTAMP(3))", (_key(group),))
    cursor.execute("INSERT INTO member (user, conv, role) VALUES (%s, %s, 'creator')", (creator, _key(group)))
    _check_groups(cursor, creator, most)
    return group


def join(cursor: Cursor, user: int, group: int, caps: tuple[int, int]) -> Joined:
    """Make the user a member who sees only later messages. A member who joins again stays as they were.

    The first member of an empty group becomes its creator. `caps` are the most groups of the user, and the
    most members of the group; 0 means no limit.

    Raises NotFound if there is no such group. Raises Forbidden if the user was removed from it, or if a limit
    is exceeded.
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
    """End a user's membership. If they were the creator, the longest-standing member becomes creator.

    Raises NotFound if there is no such group, NotMember if the user is not in it.
    """
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
    """Remove another member, who cannot join again until `readmit`. Return the member's name.

    Raises NotFound if there is no such group or member, NotMember if `creator` is not in the group. Raises
    Forbidden if they are not its creator, BadRequest if they would remove themselves.
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
    """Let a removed user join again.

    Raises NotFound if there is no such group, or the user was not removed. Raises NotMember if `creator` is
    not in the group, Forbidden if they are not its creator.
    """
    _lock(cursor, group)
    _expect_creator(cursor, group, creator)
    if not cursor.execute("DELETE FROM removed WHERE conv = %s AND user = %s", (_key(group), user)):
        raise NotFound("not removed from this group")


def _role(cursor: Cursor, group: int, user: int) -> str:
    """Return the user's role in the group. Raises NotMember if they are not in it."""
    cursor.execute("SELECT role FROM member WHERE user = %s AND conv = %s", (user, _key(group)))
    row = cursor.fetchone()
    if row is None:
        raise NotMember("you are not in this group")
    return row[0]


def _expect_creator(cursor: Cursor, group: int, user: int) -> None:
    if _role(cursor, group, user) != "creator":
        raise Forbidden("only the group's creator removes members and lets them in again")


def of(cursor: Cursor, users: list[int]) -> list[list[Group]]:
    """Return the groups of each of `users`, in order of id."""
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
    """Return the first `size` groups of a user with ids above `after`, in order of id."""
    cursor.execute(
        "SELECT g.id, g.name, g.description, m.role FROM member m"
        " JOIN chat_group g ON g.id = CAST(SUBSTR(m.conv, 2) AS UNSIGNED)"
        " WHERE m.user = %s AND m.conv LIKE 'g%%' AND g.id > %s ORDER BY g.id LIMIT %s",
        (user, after, size),
    )
    return [Group(*row) for row in cursor]


def members(cursor: Cursor, group: int, asker: int, after: int, size: int) -> list[tuple[int, str, str]]:
    """Return (id, name, role) of the first `size` members with ids above `after`, in order of id.

    Raises NotMember if `asker` is not in the group.
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
    """Check the number of the user's groups, including the one just joined.

    Raises Forbidden if there are more than `most`; 0 means no limit.
    """
    cursor.execute("SELECT COUNT(*) FROM member WHERE user = %s AND conv LIKE 'g%%'", (user,))
    if 0 < most < cursor.fetchone()[0]:
        raise Forbidden(f"an account is in at most {most} groups")


def _check_members(cursor: Cursor, group: int, most: int) -> None:
    """Check the number of the group's members, including the newest.

    Raises Forbidden if there are more than `most`; 0 means no limit.
    """
    cursor.execute("SELECT COUNT(*) FROM member WHERE conv = %s", (_key(group),))
    if 0 < most < cursor.fetchone()[0]:
        raise Forbidden(f"a group has at most {most} members")


def _lock(cursor: Cursor, group: int) -> tuple[int, int]:
    """Lock the conversation's row until the transaction ends. Return (last_seq, members_ver).

    Raises NotFound if there is no such group.
    """
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
