"""What one kind of classic client calls things: its message ids and the names of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from forkchat.wire import msgid as m

#: Fields that a profile may give other names, in what a client sends and in what it gets.
FIELDS = frozenset(
    "msgid errno errmsg id name password toid friendid groupid groupname groupdesc msg time"
    " offlinemsg friends groups users state role".split()
)
#: Names that public clients use in what they send, where the real name is missing. All peers that are not
#: modern may use them; what the server sends needs a profile.
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
#: Ready profiles. The notes' author's own client reads `error`, and its server said `errormsg`; clients that
#: know the original's names are served by this profile too, because they ignore other keys.
PROFILES: Mapping[str, Mapping[str, Any]] = {
    "original": {},
    "author": {"errno": ["errno", "error"], "errmsg": ["errmsg", "errormsg"]},
}

#: Message ids that no table may use: the sign of life, and the modern clients' HELLO.
_RESERVED = {m.CLASSIC_PROBE: "a sign of life to classic clients", m.HELLO: "HELLO of modern clients"}
_MAX_MSGID = 2**31 - 1


class Dialect:
    """A numbering, and a profile of field names as the configuration has it (see `profile_problems`)."""

    def __init__(self, numbering: m.Numbering, profile: Mapping[str, Any] = PROFILES["original"]):
        self.name = numbering.name
        self.inbound = numbering.inbound
        self.outbound = numbering.outbound
        self._names = {field: _names(value) for field, value in profile.items()}
        self._aliases = {
            field: tuple(
                name for name in (*self._names.get(field, ()), *ALIASES.get(field, ())) if name != field
            )
            for field in {**ALIASES, **self._names}
        }

    def understand(self, message: dict[str, Any]) -> dict[str, Any]:
        """Give the fields of `message` their real names, where these are missing."""
        for field, aliases in self._aliases.items():
            if field not in message:
                alias = next((alias for alias in aliases if alias in message), None)
                if alias is not None:
                    # Chats relay an unknown key as it is, and need neither of these from the sender.
                    keeps = field in ("id", "name")
                    message[field] = message[alias] if keeps else message.pop(alias)
        return message

    def copies(self, field: str) -> int:
        """Under how many names `field` is sent."""
        return len(self._names.get(field, (field,)))

    def json(self, message: dict[str, Any]) -> bytes:
        """Write `message`: keys sorted, no blanks, UTF-8 as it is, as the original's JSON library does."""
        if self._names:
            message = self._named(message)
        return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)

    def _named(self, message: dict[str, Any]) -> dict[str, Any]:
        named = {key: value for key, value in message.items() if key not in self._names}
        for field, names in self._names.items():
            if field in message:
                named |= dict.fromkeys(names, message[field])
        return named


def kinds(message: Mapping[str, Any]) -> list[int]:
    """The classic requests (notes' msgids) that have the fields of `message`."""
    return [kind for kind, (needed, foreign) in _SHAPES.items() if _fits(message, needed, foreign)]


def _fits(message: Mapping[str, Any], needed: tuple[str, ...], foreign: frozenset[str]) -> bool:
    return all(field in message for field in needed) and foreign.isdisjoint(message)


#: What tells numberings apart: the fields that a request must have, and those that only others have.
_OF_CHATS = frozenset(("msg", "toid"))
_OF_GROUPS = frozenset(("groupid", "groupname"))
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


# What the configuration says.


def numbering_of(name: str, tables: Mapping[str, Any]) -> m.Numbering:
    """The numbering of this name, ready-made or from `[classic.numberings]`, which MUST have no problems."""
    if name in m.NUMBERINGS:
        return m.Numbering(name)
    return m.Numbering(name, dict(pair for key, value in tables[name].items() for pair in _pairs(key, value)))


def numbering_problems(tables: Mapping[str, Any]) -> dict[str, str]:
    """The mistakes in `[classic.numberings]`, by `name` or `name.message`."""
    problems: dict[str, str] = {}
    for name, table in tables.items():
        if why := _name_problem(name, {"auto", *m.NUMBERINGS}, table):
            problems[name] = why
            continue
        problems |= {f"{name}.{key}": "no such message" for key in table.keys() - m.CLASSIC.keys()}
        missing = [key for key in m.CLASSIC if key not in table and key != "logout"]
        if missing:
            problems[name] = f"lacks {', '.join(missing)}"
        users: dict[int, str] = {}
        for key in [key for key in m.CLASSIC if key in table]:
            if why := _number_problem(key, table[key], users):
                problems[f"{name}.{key}"] = why
    return problems


def profile_problems(profiles: Mapping[str, Any]) -> dict[str, str]:
    """The mistakes in `[classic.profiles]`, by `name` or `name.field`."""
    problems: dict[str, str] = {}
    for name, profile in profiles.items():
        if why := _name_problem(name, PROFILES, profile):
            problems[name] = why
            continue
        users = {field: field for field in FIELDS - profile.keys()}
        for field, value in profile.items():
            if field not in FIELDS:
                problems[f"{name}.{field}"] = "no such field"
            elif why := _field_problem(field, value, users):
                problems[f"{name}.{field}"] = why
    return problems


def _name_problem(name: str, taken: Iterable[str], table: object) -> str | None:
    if name in taken:
        return "the name is taken"
    if not 1 <= len(name) <= 32 or not name.isprintable():
        return "its name must have 1 to 32 printable characters"
    return None if isinstance(table, dict) else "must be a table"


def _number_problem(key: str, value: Any, users: dict[int, str]) -> str | None:
    """The mistake in one message's number or numbers. `users` says which message has which number."""
    wanted = len(m.CLASSIC[key])
    numbers = value if isinstance(value, list) else [value]
    if len(numbers) != wanted or any(
        type(each) is not int or not 0 <= each <= _MAX_MSGID for each in numbers
    ):
        return "must be " + ("a whole number" if wanted == 1 else "two whole numbers, request and answer")
    found = []
    for number in dict.fromkeys(numbers):
        if number in _RESERVED:
            found.append(f"{number} is {_RESERVED[number]}")
        elif users.setdefault(number, key) != key:
            found.append(f"{number} is {users[number]} already")
    return "; ".join(found) or None


def _field_problem(field: str, value: Any, users: dict[str, str]) -> str | None:
    """The mistake in one field's name or names. `users` says which field has which name."""
    names = _names(value) if isinstance(value, str | list) else ()
    if not names or not all(isinstance(name, str) and 1 <= len(name) <= 32 for name in names):
        return "must be a name, or a list of names, of 1 to 32 characters"
    taken = [f"{name} is {users[name]} already" for name in names if users.setdefault(name, field) != field]
    return "; ".join(taken) or None


def _pairs(key: str, value: Any) -> Iterator[tuple[int, int]]:
    """The notes' msgids of a message with those of a table."""
    return zip(m.CLASSIC[key], value if isinstance(value, list) else [value], strict=True)


def _names(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
