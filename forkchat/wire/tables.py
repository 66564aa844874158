"""The tables of message ids and field names that the configuration may have for classic clients.

This module needs no third-party package, because the master reads the tables before it forks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from forkchat.wire import msgid as m

#: Fields that a profile may rename, both in what a client sends and in what it gets.
FIELDS = frozenset(
    "msgid errno errmsg id name password toid friendid groupid groupname groupdesc msg time"
    " offlinemsg friends groups users state role".split()
)
#: The ready-made profiles. The notes' author's own client reads `error`, and its server said `errormsg`. The
#: `author` profile also serves clients that know the original's names, because they ignore other keys.
PROFILES: Mapping[str, Mapping[str, Any]] = {
    "original": {},
    "author": {"errno": ["errno", "error"], "errmsg": ["errmsg", "errormsg"]},
}

#: Message ids that no table may use: the probe of classic clients, and the modern clients' HELLO.
_RESERVED = {m.CLASSIC_PROBE: "a sign of life to classic clients", m.HELLO: "HELLO of modern clients"}
#: The largest message id of a table: the maximum of a signed 32-bit integer.
_MAX_MSGID = 2**31 - 1


def numbering_of(name: str, tables: Mapping[str, Any]) -> m.Numbering:
    """Return the numbering `name`, ready-made or from `[classic.numberings]`, which MUST have no problems."""
    if name in m.NUMBERINGS:
        return m.Numbering(name)
    return m.Numbering(name, dict(pair for key, value in tables[name].items() for pair in _pairs(key, value)))


def numbering_problems(tables: Mapping[str, Any]) -> dict[str, str]:
    """Return the mistakes in `[classic.numberings]`, by `name` or `name.message`."""
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
    """Return the mistakes in `[classic.profiles]`, by `name` or `name.field`."""
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
    """Return the mistake in one message's number or numbers. `users` maps each number to its message."""
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
    """Return the mistake in one field's name or names. `users` maps each name to its field."""
    given = names(value) if isinstance(value, str | list) else ()
    if not given or not all(isinstance(name, str) and 1 <= len(name) <= 32 for name in given):
        return "must be a name, or a list of names, of 1 to 32 characters"
    taken = [f"{name} is {users[name]} already" for name in given if users.setdefault(name, field) != field]
    return "; ".join(taken) or None


def _pairs(key: str, value: Any) -> Iterator[tuple[int, int]]:
    """Pair the notes' msgids of a message with those of a table."""
    return zip(m.CLASSIC[key], value if isinstance(value, list) else [value], strict=True)


def names(value: str | list[str]) -> tuple[str, ...]:
    """Return the names that a profile gives a field."""
    return (value,) if isinstance(value, str) else tuple(value)
