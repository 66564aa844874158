"""The dialect of one kind of classic client: its message ids and the names of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.tables import PROFILES, names

#: Names that public clients send for fields, read where the real name is missing. All peers that are not
#: modern may use them. Fields that the server sends get other names only from a profile.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "msgid": ("msgId", "msgID", "msg_id"),
    "id": ("userid", "userId", "user_id"),
    "name": ("username", "userName", "user_name"),
    "password": ("passwd", "pwd"),
    "toid": ("to", "toId", "toID", "to_id"),
    "friendid": ("friendId", "friendID", "friend_id"),
    "groupid": ("groupId", "groupID", "group_id"),
    "groupname": ("groupName", "group_name"),
    "groupdesc": ("groupDesc", "group_desc"),
    "msg": ("message",),
}


class Dialect:
    """A numbering, and a profile of field names as the configuration gives it (see `profile_problems`)."""

    def __init__(self, numbering: m.Numbering, profile: Mapping[str, Any] = PROFILES["original"]):
        self.name = numbering.name
        self.inbound = numbering.inbound
        self.outbound = numbering.outbound
        self._names = {field: names(value) for field, value in profile.items()}
        self._aliases = {
            field: tuple(
                name for name in (*self._names.get(field, ()), *ALIASES.get(field, ())) if name != field
            )
            for field in {**ALIASES, **self._names}
        }

    def understand(self, message: dict[str, Any]) -> dict[str, Any]:
        """Give the fields of `message` their real names where these are missing. Return `message`."""
        for field, aliases in self._aliases.items():
            if field not in message:
                alias = next((alias for alias in aliases if alias in message), None)
                if alias is not None:
                    # A chat needs neither field from its sender, and relays an unknown key unchanged.
                    keeps = field in ("id", "name")
                    message[field] = message[alias] if keeps else message.pop(alias)
        return message

    def copies(self, field: str) -> int:
        """Return the number of names under which `field` is sent."""
        return len(self._names.get(field, (field,)))

    def json(self, message: dict[str, Any]) -> bytes:
        """Encode `message` as the original's JSON library does: sorted keys, no blanks, unescaped UTF-8."""
        if self._names:
            message = self._named(message)
        return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)

    def _named(self, message: dict[str, Any]) -> dict[str, Any]:
        named = {key: value for key, value in message.items() if key not in self._names}
        for field, given in self._names.items():
            if field in message:
                named |= dict.fromkeys(given, message[field])
        return named


def kinds(message: Mapping[str, Any]) -> list[int]:
    """Return the classic requests, as the notes' msgids, whose fields fit those of `message`."""
    return [kind for kind, (needed, foreign) in _SHAPES.items() if _fits(message, needed, foreign)]


def _fits(message: Mapping[str, Any], needed: tuple[str, ...], foreign: frozenset[str]) -> bool:
    return all(field in message for field in needed) and foreign.isdisjoint(message)


#: Fields that tell chats, and requests about groups, from other requests.
_OF_CHATS = frozenset(("msg", "toid"))
_OF_GROUPS = frozenset(("groupid", "groupname"))
#: By request, the fields that it must have and the fields that only other requests have. The shape of a frame
#: tells numberings apart.
_SHAPES: Mapping[int, tuple[tuple[str, ...], frozenset[str]]] = {
    m.LOGIN: (("password",), _OF_CHATS | _OF_GROUPS | {"friendid"}),
    m.REG: (("name", "password"), _OF_CHATS | _OF_GROUPS | {"friendid"}),
    m.ONE_CHAT: (("msg", "toid"), _OF_GROUPS | {"friendid", "password"}),
    m.ADD_FRIEND: (("friendid",), _OF_CHATS | _OF_GROUPS | {"password"}),
    m.CREATE_GROUP: (("groupname",), _OF_CHATS | {"password", "friendid", "groupid"}),
    m.ADD_GROUP: (("groupid",), _OF_CHATS | {"password", "friendid", "groupname"}),
    m.GROUP_CHAT: (("groupid", "msg"), frozenset(("friendid", "groupname", "password", "toid"))),
    m.LOGINOUT: ((), _OF_CHATS | _OF_GROUPS | {"friendid", "password"}),
}
