"""Dialects of classic clients: recognised from the shape of frames, and set in the configuration."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from forkchat.wire import msgid as m
from forkchat.wire.chat import classic_dict, classic_padded, encode_body, modern_frame
from forkchat.wire.classic import PADDED_ROOM, ClassicAnswers, Guess, dialects
from forkchat.wire.dialect import ALIASES, Dialect
from forkchat.wire.msgid import COURSE, NUMBERINGS, Numbering
from forkchat.wire.tables import FIELDS, numbering_problems, profile_problems

MINE = {
    "login": [1, 2],
    "register": [3, 4],
    "chat": 7,
    "add_friend": 5,
    "create_group": 11,
    "add_group": 12,
    "group_chat": 13,
    "logout": 20,
}
#: The requests of classic clients, without the msgid (see the recordings).
REQUESTS: dict[int, dict[str, Any]] = {
    m.LOGIN: {"id": 7, "password": "x"},
    m.REG: {"name": "li", "password": "x"},
    m.ONE_CHAT: {"id": 7, "msg": "hi", "name": "li", "time": "2026-11-23 19:08:37", "toid": 8},
    m.ADD_FRIEND: {"friendid": 8, "id": 7},
    m.CREATE_GROUP: {"groupdesc": "a group", "groupname": "g", "id": 7},
    m.ADD_GROUP: {"groupid": 1, "id": 7},
    m.GROUP_CHAT: {"groupid": 1, "id": 7, "msg": "hi", "name": "li", "time": "2026-11-23 19:08:37"},
    m.LOGINOUT: {"id": 7},
}


def guess(**own: dict[str, Any]) -> Guess:
    return Guess(dialects("auto", own, "original", {}))


def request(numbering: str, kind: int, **own: dict[str, Any]) -> dict[str, Any]:
    """Return a request as a client of this numbering sends it."""
    table = next(each.dialect for each in dialects(numbering, own, "original", {}))
    return {"msgid": table.outbound(kind), **REQUESTS[kind]}


# Recognising the numbering.


@pytest.mark.parametrize("numbering", ["notes", "course"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_any_request_but_login_tells(numbering: str, kind: int) -> None:
    one = guess()
    assert one.hear(request(numbering, kind))
    assert one.is_sure is (kind != m.LOGIN)
    assert one.best.dialect.name == (numbering if one.is_sure else "notes")
    assert one.best.dialect.inbound(NUMBERINGS[numbering][kind]) == kind


@pytest.mark.parametrize(
    ("message", "numbering"),
    [
        ({"msgid": 3, "name": "li", "password": "x"}, "notes"),
        ({"msgid": 3, "id": 7}, "course"),
        ({"msgid": 3, "id": 7, "name": "li"}, "course"),
        ({"msgid": 3, "id": -1, "name": "li", "password": "x", "email": "e"}, "notes"),
        ({"msgid": 4, "id": -1, "name": "li", "password": "x"}, "course"),
        ({"msgid": 3}, "course"),
        ({"msgid": 4, "name": "li", "password": "x"}, "course"),
        ({"msgid": 6, "id": 7, "friendid": 8}, "notes"),
        ({"msgid": 6, "id": 7, "toid": 8, "msg": "hi"}, "course"),
        ({"msgid": 6, "id": 7, "to": 8, "msg": "hi"}, "course"),
        ({"msgid": 10, "id": 7}, "notes"),
        ({"msgid": 10, "groupid": 7, "msg": "hi"}, "course"),
        ({"msgid": 9, "groupid": 7}, "course"),
        ({"msgid": 8, "groupid": 7}, "notes"),
        ({"msgid": 7, "friendId": 7}, "course"),
        ({"msgid": 5, "message": "hi", "toId": 7}, "notes"),
        ({"msgid": 1, "id": 7, "password": "x"}, None),
        ({"msgid": 1, "name": "li", "password": "x"}, None),
        ({"msgid": 6, "msg": "hi"}, None),
        ({"msgid": 6, "friendid": 8, "toid": 8, "msg": "hi"}, None),
        ({"msgid": 99}, None),
        ({"msgid": -1, "id": 7}, None),
    ],
)
def test_what_tells(message: dict[str, Any], numbering: str | None) -> None:
    one = guess()
    assert one.hear(one.best.dialect.understand(message))
    assert (one.best.dialect.name if one.is_sure else None) == numbering


def test_what_is_remembered_holds_until_the_client_shows_another() -> None:
    one = guess()
    one.prefer("course")
    assert one.hear(request("notes", m.LOGIN))
    assert (one.best.dialect.name, one.is_sure) == ("course", False)
    assert one.hear(request("notes", m.ONE_CHAT))
    assert (one.best.dialect.name, one.is_sure) == ("notes", True)
    one.prefer("course")
    assert one.best.dialect.name == "notes"


def test_a_contradiction_has_no_effect_and_the_next_one_has() -> None:
    one = guess()
    assert one.hear(request("notes", m.ONE_CHAT))
    for _ in range(2):  # without `msg`, 9 would be the course's ADD_GROUP
        assert not one.hear({"msgid": 9, "groupid": 1})
        assert one.hear(request("notes", m.GROUP_CHAT))
    assert not one.hear(request("course", m.ADD_FRIEND))
    assert one.hear(request("course", m.ONE_CHAT))
    assert (one.best.dialect.name, one.is_sure) == ("course", True)


def test_a_registration_is_answered_whatever_came_before() -> None:
    one = guess()
    assert one.hear(request("course", m.REG))
    assert one.hear(request("notes", m.REG))
    assert one.best.dialect.name == "notes"


def test_tables_of_ones_own_are_told_too() -> None:
    one = guess(mine=MINE)
    assert one.hear(request("mine", m.REG, mine=MINE))  # as in the notes
    assert (one.best.dialect.name, one.is_sure) == ("notes", False)
    assert one.hear(request("mine", m.ONE_CHAT, mine=MINE))
    assert (one.best.dialect.name, one.is_sure) == ("mine", True)
    assert one.best.dialect.inbound(9) == 0  # other numbers of the notes mean nothing here
    assert {one.best.dialect.inbound(one.best.dialect.outbound(kind)) for kind in REQUESTS} == {*REQUESTS}


def test_one_numbering_needs_no_guess() -> None:
    one = Guess(dialects("course", {}, "original", {}))
    assert one.hear(request("notes", m.REG))
    assert (one.best.dialect.name, one.is_sure) == ("course", False)


def test_no_client_knows_the_sign_of_life() -> None:
    for table in NUMBERINGS.values():
        assert m.CLASSIC_PROBE not in table.values()
    assert numbering_problems({"x": MINE | {"chat": m.CLASSIC_PROBE}}) == {
        "x.chat": "99 is a sign of life to classic clients"
    }


# Names of fields.


@pytest.mark.parametrize(("field", "alias"), [(f, alias) for f, each in ALIASES.items() for alias in each])
def test_common_names_are_understood(field: str, alias: str) -> None:
    dialect = Dialect(Numbering("notes"))
    understood = dialect.understand({alias: 7})
    assert understood[field] == 7
    assert (alias in understood) is (field in ("id", "name"))  # chats relay unknown keys
    assert dialect.understand({field: 1, alias: 2}) == {field: 1, alias: 2}


#: Every name that public clients were seen to read, after the field that it stands for.
READ = [
    ("errno", "error"),
    *(("offlinemsg", name) for name in ("offlinemessage", "offlineMsg", "OfflineMsg")),
    *(("friends", name) for name in ("friend", "friendlist")),
    ("groups", "group"),
    *(("users", name) for name in ("groupusers", "user", "members")),
    *(("msgid", "msgId"), ("id", "userid"), ("msg", "message"), ("errmsg", "errormsg")),
]


def frame(text: str, **extra: Any) -> bytes:
    return modern_frame("d7-8", 1, 7, b"c", 1767225600123, encode_body("li", text, extra, 1 << 20))


def answers(profile: dict[str, Any]) -> ClassicAnswers:
    assert profile_problems({"mine": profile}) == {}
    [one] = dialects("notes", {}, "mine", {"mine": profile})
    return one


def login(one: ClassicAnswers, friends: int = 1) -> bytes:
    json, _, _ = one.logged_in(
        8,
        "bo",
        [{"id": n, "name": "li", "state": "online"} for n in range(friends)],
        [{"id": 3, "groupname": "g", "groupdesc": "", "users": [{"id": 7, "name": "li"}]}],
        [classic_dict(frame("hi"), one.dialect)],
        PADDED_ROOM,
    )
    assert len(json) <= PADDED_ROOM
    return json


@pytest.mark.parametrize("is_both", [False, True])
@pytest.mark.parametrize(("field", "name"), READ)
def test_answers_have_the_names_of_the_profile(field: str, name: str, is_both: bool) -> None:
    one, plain = answers({field: [field, name] if is_both else name}), answers({})

    def renamed(value: Any) -> Any:
        """Return the original's answer with the profile's names."""
        if isinstance(value, list):
            return [
                orjson.dumps(renamed(orjson.loads(each)), option=orjson.OPT_SORT_KEYS).decode()
                for each in value
            ]
        if not isinstance(value, dict):
            return value
        found = {key: renamed(inner) for key, inner in value.items()}
        if field in found:
            found[name] = found[field] if is_both else found.pop(field)
        return found

    for ours, theirs in (
        (login(one), login(plain)),
        (one.registered(7), plain.registered(7)),
        (one.login_refused(2, ""), plain.login_refused(2, "")),
        (
            one.dialect.json(classic_dict(frame("hi"), one.dialect)),
            plain.dialect.json(classic_dict(frame("hi"), plain.dialect)),
        ),
    ):
        assert orjson.loads(ours) == renamed(orjson.loads(theirs))


@pytest.mark.parametrize(("field", "name"), READ)
def test_requests_have_the_names_of_the_profile(field: str, name: str) -> None:
    assert answers({field: name}).dialect.understand({name: 7})[field] == 7


def test_answers_with_two_names_fit_one_recv() -> None:
    one = answers({"friends": ["friends", "friendlist"], "groups": ["groups", "group"]})
    answer = orjson.loads(login(one, friends=100))
    assert answer["friends"] == answer["friendlist"] != []


def test_texts_with_two_names_fit_one_recv() -> None:
    dialect = answers({"msg": ["msg", "message"]}).dialect
    parts = [orjson.loads(each[:-1]) for each in classic_padded(frame("长" * 1000, message="x"), dialect)]
    assert "".join(each["msg"] for each in parts) == "长" * 1000
    assert all(each["message"] == each["msg"] for each in parts)


def test_the_notes_authors_client_and_others_read_one_profile() -> None:
    [author] = dialects("notes", {}, "author", {})
    assert orjson.loads(author.registered(7)) == {"errno": 0, "error": 0, "id": 7, "msgid": 4}
    refused = orjson.loads(author.login_refused(2, ""))
    assert (refused["error"], refused["errmsg"]) == (refused["errno"], refused["errormsg"])
    answer = orjson.loads(login(author))
    assert answer["error"] == answer["errno"] == 0


# Mistakes in the configuration.


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"notes": MINE}, {"notes": "the name is taken"}),
        ({"auto": MINE}, {"auto": "the name is taken"}),
        ({"": MINE}, {"": "its name must have 1 to 32 printable characters"}),
        ({"x": 7}, {"x": "must be a table"}),
        ({"x": {}}, {"x": f"lacks {', '.join(key for key in MINE if key != 'logout')}"}),
        ({"x": MINE | {"log_out": 1}}, {"x.log_out": "no such message"}),
        ({"x": MINE | {"chat": "7"}}, {"x.chat": "must be a whole number"}),
        ({"x": MINE | {"chat": True}}, {"x.chat": "must be a whole number"}),
        ({"x": MINE | {"chat": -1}}, {"x.chat": "must be a whole number"}),
        ({"x": MINE | {"login": 1}}, {"x.login": "must be two whole numbers, request and answer"}),
        ({"x": MINE | {"chat": 100}}, {"x.chat": "100 is HELLO of modern clients"}),
        ({"x": MINE | {"group_chat": 2}}, {"x.group_chat": "2 is login already"}),
        ({"x": MINE | {"login": [1, 1]}}, {}),
        ({"x": {key: value for key, value in MINE.items() if key != "logout"}}, {}),
    ],
)
def test_mistakes_in_a_numbering(tables: dict[str, Any], expected: dict[str, str]) -> None:
    assert numbering_problems(tables) == expected


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({"oops": "x"}, {"mine.oops": "no such field"}),
        ({"errno": 7}, {"mine.errno": "must be a name, or a list of names, of 1 to 32 characters"}),
        ({"errno": []}, {"mine.errno": "must be a name, or a list of names, of 1 to 32 characters"}),
        ({"errno": ["x", ""]}, {"mine.errno": "must be a name, or a list of names, of 1 to 32 characters"}),
        ({"errno": "id"}, {"mine.errno": "id is id already"}),
        ({"errno": "x", "msg": "x"}, {"mine.msg": "x is errno already"}),
        ({"id": "name", "name": "id"}, {}),
    ],
)
def test_mistakes_in_a_profile(profile: dict[str, Any], expected: dict[str, str]) -> None:
    assert profile_problems({"mine": profile}) == expected


def test_the_courses_table_is_the_recorded_one() -> None:
    assert COURSE.keys() == NUMBERINGS["notes"].keys()
    assert sorted(COURSE.values()) == sorted(COURSE)
    assert set(ALIASES) <= FIELDS
