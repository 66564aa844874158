"""Whom and which groups we know by name."""

from __future__ import annotations

from client.events import Event, Friend, FriendState, Group, LoggedIn, Message, Notice
from client.text import shown_name
from forkchat.wire.conversation import parse_key


class Directory:
    """Names and states, as events and answers bring them."""

    def __init__(self) -> None:
        self.friends: dict[int, Friend] = {}
        self.groups: dict[int, Group] = {}
        self._users: dict[int, str] = {}

    def note(self, event: Event) -> bool:
        """Take in what the event says; whether it was news."""
        match event:
            case LoggedIn():
                self.friends = {friend.id: friend for friend in event.friends}
                self.groups = {group.id: group for group in event.groups}
                self._users |= {friend.id: friend.name for friend in event.friends}
                self._users[event.id] = event.name
            case FriendState():
                known = self.friends.get(event.id)
                if known is not None:
                    self.friends[event.id] = Friend(event.id, event.name or known.name, event.state)
                    return known.state != event.state
            case Message():
                self._users[event.sender] = event.name
            case Notice():
                self._users[event.id] = event.name
        return True

    def add_friend(self, friend: Friend) -> None:
        self.friends[friend.id] = friend
        self._users[friend.id] = friend.name

    def add_user(self, user: int, name: str) -> None:
        self._users[user] = name

    def user(self, user: int) -> str:
        return self._users.get(user, str(user))

    def users_named(self, name: str) -> list[int]:
        return [user for user, known in self._users.items() if known == name]

    def group(self, group: int) -> str:
        known = self.groups.get(group)
        return known.name if known else f"g{group}"

    def groups_named(self, name: str) -> list[int]:
        return [group.id for group in self.groups.values() if group.name == name]

    def title(self, conv: str, me: int) -> str:
        """How a conversation is shown: `[ops]`, or the other's name."""
        key = parse_key(conv)
        return f"[{shown_name(self.group(key.group))}]" if key.group else shown_name(self.user(key.other(me)))
