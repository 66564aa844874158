"""Whom and which groups we know by name."""

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
    """The id of a user or group that is written there; 0 if none can be."""
    return int(text) if _ID.fullmatch(text) and int(text) <= MAX_ID else 0


def parse_who(who: str) -> int | str:
    """The id or the name that was typed: `57`, `bo`, and `@57` for someone who is called 57."""
    return parse_id(who) or who.removeprefix("@")


class Directory:
    """Names and states, as events and answers bring them."""

    def __init__(self) -> None:
        self.friends: dict[int, Friend] = {}
        self.groups: dict[int, Group] = {}
        self.me = (0, "")  # id and name
        self._users: dict[int, str] = {}
        self._is_told = False  # by the server, of friends and groups

    def note(self, event: Event) -> bool:
        """Take in what the event says; whether it was news."""
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
            case Disconnected() | LoggedOut():  # nobody tells us of those who come and go
                self.friends = {user: Friend(user, friend.name, "") for user, friend in self.friends.items()}
            case Message():
                self._users[event.sender] = event.name
            case Notice():
                self._users[event.id] = event.name
        return True

    def dump(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "friends": [[friend.id, friend.name] for friend in self.friends.values()],
            "groups": [[group.id, group.name, group.role] for group in self.groups.values()],
            "users": [[user, name] for user, name in self._users.items()],
        }

    def clear(self) -> None:
        """Another user is here now."""
        self.friends, self.groups, self._users, self._is_told = {}, {}, {}, False

    def load(self, dumped: dict[str, Any]) -> None:
        """What `dump` returned, of a time before anything that is known now."""
        if not self._is_told:
            self.friends = {user: Friend(user, name, "") for user, name in dumped.get("friends", [])}
            self.groups = {group: Group(group, name, role) for group, name, role in dumped.get("groups", [])}
        self._users = dict(dumped.get("users", [])) | self._users

    def forget(self) -> None:
        """The server has another database: all ids are someone else's."""
        self.friends, self.groups, self._users = {}, {}, {}

    def add_friend(self, friend: Friend) -> None:
        self.friends[friend.id] = friend
        self._users[friend.id] = friend.name

    def add_user(self, user: int, name: str) -> None:
        self._users[user] = name

    def user(self, user: int) -> str:
        return self._users.get(user, str(user))

    def known(self, conv: str) -> str:
        """The name of whom the conversation is with, or of the group; "" if it is not known."""
        key = parse_key(conv)
        if key.group:
            group = self.groups.get(key.group)
            return group.name if group else ""
        return self._users.get(key.other(self.me[0]), "")

    def names(self) -> list[str]:
        """Of everyone we know."""
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
        """How a conversation is shown: `[ops]`, or the other's name."""
        key = parse_key(conv)
        return (
            f"[{shown_name(self.group(key.group))}]"
            if key.group
            else shown_name(self.user(key.other(self.me[0])))
        )
