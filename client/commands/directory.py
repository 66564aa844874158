"""The names of the users and groups that the client knows."""

from __future__ import annotations

import re
from typing import Any

from client.protocol.events import (
    Disconnected,
    Event,
    Friend,
    FriendState,
    Group,
    LoggedIn,
    LoggedOut,
    Message,
    Notice,
)
from client.text import shown_name
from forkchat.wire.conversation import MAX_ID, parse_key

_ID = re.compile(r"[1-9][0-9]{0,9}")


def parse_id(text: str) -> int:
    """Return the id of a user or group that `text` spells, or 0 if it is not an id."""
    return int(text) if _ID.fullmatch(text) and int(text) <= MAX_ID else 0


def parse_who(who: str) -> int | str:
    """Return the typed id or name: `57`, `bo`, or `@57` for the user named 57."""
    return parse_id(who) or who.removeprefix("@")


class Directory:
    """Names and states of users and groups, as events and answers report them."""

    def __init__(self) -> None:
        self.friends: dict[int, Friend] = {}
        self.groups: dict[int, Group] = {}
        self.me = (0, "")  # id and name
        self._users: dict[int, str] = {}
        self._is_told = False  # the server has sent the friends and groups

    def note(self, event: Event) -> bool:
        """Record an event. Return False if it repeats a friend's known state, else True."""
        match event:
            case LoggedIn():
                self._is_told = True
                self.friends = {friend.id: friend for friend in event.friends}
                self.groups = {group.id: group for group in event.groups}
                self._users |= {friend.id: friend.name for friend in event.friends}
                self._users[event.id] = event.name
                self.me = event.id, event.name
            case FriendState():
                known = self.friends.get(event.id)
                if known is not None:
                    self.friends[event.id] = Friend(event.id, event.name or known.name, event.state)
                    return known.state != event.state
            case Disconnected() | LoggedOut():  # no presence updates arrive from now on
                self.friends = {user: Friend(user, friend.name, "") for user, friend in self.friends.items()}
            case Message():
                self._users[event.sender] = event.name
            case Notice():
                self._users[event.id] = event.name
        return True

    def dump(self) -> dict[str, Any]:
        """Return all names as JSON types, for `load`. States are left out."""
        return {
            "friends": [[friend.id, friend.name] for friend in self.friends.values()],
            "groups": [[group.id, group.name, group.role] for group in self.groups.values()],
            "users": [[user, name] for user, name in self._users.items()],
        }

    def clear(self) -> None:
        """Forget friends, groups and users, because another user's are about to be loaded."""
        self.friends, self.groups, self._users, self._is_told = {}, {}, {}, False

    def load(self, dumped: dict[str, Any]) -> None:
        """Load what `dump` returned earlier. Names that are known already take precedence."""
        if not self._is_told:
            self.friends = {user: Friend(user, name, "") for user, name in dumped.get("friends", [])}
            self.groups = {group: Group(group, name, role) for group, name, role in dumped.get("groups", [])}
        self._users = dict(dumped.get("users", [])) | self._users

    def forget(self) -> None:
        """Forget all ids, because they belong to others in the server's new database."""
        self.friends, self.groups, self._users = {}, {}, {}

    def add_friend(self, friend: Friend) -> None:
        self.friends[friend.id] = friend
        self._users[friend.id] = friend.name

    def add_user(self, user: int, name: str) -> None:
        self._users[user] = name

    def user(self, user: int) -> str:
        return self._users.get(user, str(user))

    def known(self, conv: str) -> str:
        """Return the name of a conversation's group or other user, or "" if it is not known."""
        key = parse_key(conv)
        if key.group:
            group = self.groups.get(key.group)
            return group.name if group else ""
        return self._users.get(key.other(self.me[0]), "")

    def names(self) -> list[str]:
        """Return the names of all known users."""
        return list(self._users.values())

    def users_named(self, name: str) -> list[int]:
        return [user for user, known in self._users.items() if known == name]

    def group(self, group: int) -> str:
        known = self.groups.get(group)
        return known.name if known else f"g{group}"

    def group_names(self) -> list[str]:
        return [group.name for group in self.groups.values()]

    def groups_named(self, name: str) -> list[int]:
        return [group.id for group in self.groups.values() if group.name == name]

    def title(self, conv: str) -> str:
        """Return a conversation's title for display: `[ops]`, or the name of the other user."""
        key = parse_key(conv)
        return (
            f"[{shown_name(self.group(key.group))}]"
            if key.group
            else shown_name(self.user(key.other(self.me[0])))
        )
