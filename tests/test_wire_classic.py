"""Classic answers: two numberings, lists of dumped strings, and a login that fits one `recv`."""

from __future__ import annotations

import random
import time
from typing import Any

import orjson
import pytest

from forkchat.wire import msgid as m
from forkchat.wire.classic import PADDED_ROOM, ClassicAnswers
from forkchat.wire.dialect import Dialect
from forkchat.wire.msgid import Numbering

NOTES, COURSE = (ClassicAnswers(Dialect(Numbering(name))) for name in ("notes", "course"))
CLASSIC = range(1, 11)


# Numberings.


def test_notes_numbering_is_the_one_used_inside() -> None:
    numbering = Numbering("notes")
    assert [numbering.inbound(msgid) for msgid in range(200)] == [*range(200)]
    assert [numbering.outbound(msgid) for msgid in range(200)] == [*range(200)]


def test_course_numbering() -> None:
    """The course numbers these kinds of messages 1, 2, 3, … in this order."""
    ours = [
        *(m.LOGIN, m.LOGIN_ACK, m.LOGINOUT, m.REG, m.REG_ACK, m.ONE_CHAT),
        *(m.ADD_FRIEND, m.CREATE_GROUP, m.ADD_GROUP, m.GROUP_CHAT),
    ]
    numbering = Numbering("course")
    assert [numbering.outbound(msgid) for msgid in ours] == [*CLASSIC]
    assert [numbering.inbound(msgid) for msgid in CLASSIC] == ours


@pytest.mark.parametrize("name", ["notes", "course"])
def test_numberings_translate_there_and_back(name: str) -> None:
    numbering = Numbering(name)
    assert sorted(map(numbering.inbound, CLASSIC)) == [*CLASSIC]
    assert [numbering.outbound(numbering.inbound(msgid)) for msgid in range(200)] == [*range(200)]


# Short answers, as recorded from the original.


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (NOTES.registered(7), '{"errno":0,"id":7,"msgid":4}'),
        (COURSE.registered(7), '{"errno":0,"id":7,"msgid":5}'),
        (NOTES.not_registered("taken"), '{"errmsg":"taken","errno":1,"msgid":4}'),
        (COURSE.not_registered("taken"), '{"errmsg":"taken","errno":1,"msgid":5}'),
        (NOTES.login_refused(1, "x"), '{"errmsg":"用户名或者密码错误","errno":1,"msgid":2}'),
        (NOTES.login_refused(2, "x"), '{"errmsg":"该账号已经登录，请重新输入新账号","errno":2,"msgid":2}'),
        (COURSE.login_refused(1, "x"), '{"errmsg":"id or password is invalid!","errno":1,"msgid":2}'),
        (
            COURSE.login_refused(2, "x"),
            '{"errmsg":"this account is using, input another!","errno":2,"msgid":2}',
        ),
        (NOTES.login_refused(11, "later"), '{"errmsg":"later","errno":1,"msgid":2}'),
        (COURSE.login_refused(8, "slower"), '{"errmsg":"slower","errno":1,"msgid":2}'),
    ],
)
def test_short_answers(answer: bytes, expected: str) -> None:
    assert answer == expected.encode()


# The login answer.


def friend(user: int, name: str = "friend") -> dict[str, Any]:
    return {"id": user, "name": f"{name}{user}", "state": "online"}


def group(number: int, members: int, name: str = "group") -> dict[str, Any]:
    users = [
        {"id": n, "name": f"user{n}", "role": "normal", "state": "offline"} for n in range(1, members + 1)
    ]
    return {"id": number, "groupname": f"{name}{number}", "groupdesc": "a group", "users": users}


def missed(number: int, text: str = "text") -> dict[str, Any]:
    return {
        "msgid": 5,
        "id": 7,
        "name": "li",
        "toid": 8,
        "msg": f"{text}{number}",
        "time": "2026-01-01 08:00:00",
    }


def log_in(
    friends: int, groups: list[tuple[int, int]], offline: int, limit: int | None = PADDED_ROOM
) -> tuple[dict[str, Any], int, bool]:
    json, taken, is_short = NOTES.logged_in(
        8,
        "bo",
        [friend(n) for n in range(1, friends + 1)],
        [group(number, members) for number, members in groups],
        [missed(n) for n in range(offline)],
        limit,
    )
    assert limit is None or len(json) <= limit
    answer = orjson.loads(json)
    for key in ("friends", "groups", "offlinemsg"):
        answer[key] = [orjson.loads(each) for each in answer.get(key, [])]
    for each in answer["groups"]:
        each["users"] = [orjson.loads(user) for user in each["users"]]
    assert answer["offlinemsg"] == [missed(n) for n in range(taken)]
    return answer, taken, is_short


def ids(entries: list[dict[str, Any]]) -> list[int]:
    return [entry["id"] for entry in entries]


def test_lists_are_strings_and_empty_ones_absent() -> None:
    alone = NOTES.logged_in(1, "aliceA1", [], [], [], PADDED_ROOM)
    assert alone == (b'{"errno":0,"id":1,"msgid":2,"name":"aliceA1"}', 0, False)
    one, _, _ = NOTES.logged_in(
        1, "aliceA1", [{"id": 2, "name": "bobA1", "state": "online"}], [], [], PADDED_ROOM
    )
    assert one == (
        b'{"errno":0,"friends":["{\\"id\\":2,\\"name\\":\\"bobA1\\",\\"state\\":\\"online\\"}"],'
        b'"id":1,"msgid":2,"name":"aliceA1"}'
    )


def test_id_stands_before_users_in_each_group() -> None:
    json, _, _ = NOTES.logged_in(1, "li", [], [group(3, 2)], [], None)
    [dumped] = orjson.loads(json)["groups"]
    assert [*orjson.loads(dumped)] == ["groupdesc", "groupname", "id", "users"]


def test_everything_without_a_limit() -> None:
    answer, taken, is_short = log_in(100, [(1, 50), (2, 50)], 70, None)
    assert (len(answer["friends"]), taken, is_short) == (100, 70, False)
    assert [len(each["users"]) for each in answer["groups"]] == [50, 50]


def test_offline_messages_take_what_room_is_left() -> None:
    answer, taken, is_short = log_in(3, [], 50)
    assert not is_short
    assert len(answer["friends"]) == 3
    assert 0 < taken < 50
    longer, _, _ = NOTES.logged_in(
        8, "bo", [friend(n) for n in (1, 2, 3)], [], [missed(n) for n in range(taken + 1)], None
    )
    assert len(longer) > PADDED_ROOM


def test_a_long_message_ends_what_the_answer_holds() -> None:
    """Messages after a long message are left out too, however short they are, to keep the order."""
    messages = [missed(0), missed(1, "x" * 2000), missed(2)]
    _, taken, _ = NOTES.logged_in(8, "bo", [], [], messages, PADDED_ROOM)
    assert taken == 1


def test_first_the_last_groups_users_give_way() -> None:
    answer, _, is_short = log_in(3, [(1, 5), (2, 5)], 0)
    assert is_short
    assert ids(answer["friends"]) == [1, 2, 3]
    assert ids(answer["groups"]) == [1, 2]
    first, second = (ids(each["users"]) for each in answer["groups"])
    assert first == [1, 2, 3, 4, 5]
    assert second == [*range(1, len(second) + 1)]
    assert len(second) < 5


def test_then_groups_then_friends() -> None:
    answer, _, is_short = log_in(5, [(n, 2) for n in range(1, 21)], 5)
    assert is_short
    assert ids(answer["friends"]) == [1, 2, 3, 4, 5]
    assert ids(answer["groups"]) == [*range(1, len(answer["groups"]) + 1)] != []
    assert all(each["users"] == [] for each in answer["groups"])

    answer, _, is_short = log_in(100, [(n, 2) for n in range(1, 21)], 5)
    assert is_short
    assert answer["groups"] == []
    assert ids(answer["friends"]) == [*range(1, len(answer["friends"]) + 1)] != []


def test_whatever_there_is_it_fits_and_loses_from_the_ends_alone() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(40):
        groups = [(n, rng.randrange(12)) for n in range(1, rng.randrange(2, 12))]
        friends = rng.randrange(30)
        answer, _, is_short = log_in(friends, groups, rng.randrange(30))
        assert ids(answer["friends"]) == [*range(1, len(answer["friends"]) + 1)]
        assert ids(answer["groups"]) == [*range(1, len(answer["groups"]) + 1)]
        users = [len(each["users"]) for each in answer["groups"]]
        given = [count for _, count in groups]
        is_whole = len(answer["friends"]) == friends and users == given
        assert is_short is not is_whole
        if len(users) < len(given):
            assert sum(users) == 0
        if len(answer["friends"]) < friends:
            assert users == []


def test_long_lists_are_cut() -> None:
    answer, _, is_short = log_in(5000, [(1, 5000)], 200)
    assert is_short
    assert len(answer["friends"]) > 3


def test_an_account_with_all_that_it_may_have_is_answered_at_once() -> None:
    """As many friends and groups as the default limits allow do not block the event loop."""
    friends, groups = [friend(n) for n in range(1, 1001)], [group(n, 4) for n in range(1, 501)]
    begun = time.thread_time()
    for count in (0, 3, 1000):
        json, _, is_short = NOTES.logged_in(8, "bo", friends[:count], groups, [], PADDED_ROOM)
        assert (len(json) <= PADDED_ROOM, is_short) == (True, True)
    assert time.thread_time() - begun < 0.3  # seconds: 0.03 measured; cutting list by list took 1.5
