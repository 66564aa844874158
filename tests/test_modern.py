"""Modern sessions: every message with its answer, its errors, and what others see of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import pytest

from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.server import Server, until
from tests.talk import PASSWORD, Message, Modern, come_back, elsewhere, new_name

CODES = {
    1: "failed",
    2: "already_online",
    3: "bad_request",
    4: "not_logged_in",
    5: "forbidden",
    6: "not_found",
    7: "conflict",
    8: "rate_limited",
    9: "too_large",
    10: "not_member",
    11: "unavailable",
    12: "unsupported",
    13: "token_expired",
}
NOBODY = 4294967295


class People(NamedTuple):
    """li is on one worker, bo and cy on another. Tests share them, and make groups of their own."""

    li: Modern
    bo: Modern
    cy: Modern

    @property
    def pair(self) -> str:
        return pair_key(self.li.id, self.bo.id)


@pytest.fixture(scope="module")
def crowd(server: Server) -> People:
    li = Modern(server.port)
    bo = elsewhere(server, li, lambda: Modern(server.port))
    cy = elsewhere(server, bo, lambda: Modern(server.port), is_same=True)
    return People(*(each.join_in(new_name(stem)) for each, stem in ((li, "li"), (bo, "bo"), (cy, "cy"))))


@pytest.fixture
def people(crowd: People) -> Iterator[People]:
    for each in crowd:
        each.pushed()
    yield crowd
    for each in crowd:
        each.done(m.PING)


def refused(answer: Message, errno: int) -> None:
    assert (answer["errno"], answer["code"]) == (errno, CODES[errno]), answer
    assert isinstance(answer["errmsg"], str)


def new_group(people: People) -> int:
    """A group that li has made and the others have joined."""
    group: int = people.li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    for each in (people.bo, people.cy):
        each.done(m.ADD_GROUP, groupid=group)
    return group


def texts(messages: list[Message], key: str = "msg") -> list[Any]:
    return [message[key] for message in messages]


def chats(client: Modern, conv: str) -> list[Message]:
    """What was shown of a conversation, as far as it has come; other events are lost."""
    return [each for each in client.pushed() if each.get("conv") == conv and "seq" in each]


# HELLO, PING.


def test_hello(server: Server) -> None:
    client = Modern(server.port)  # has said one
    refused(client.ask(m.HELLO, ver=1), 3)
    other = Modern.__new__(Modern)
    super(Modern, other).__init__(server.port)
    other.send(b'{"msgid":100,"rid":"1","ver":1,"ua":"chatcli/0.1"}\n')
    answer = orjson.loads(other.frame())
    assert len(answer.pop("epoch")) > 0
    assert answer == {
        **{"msgid": 101, "rid": "1", "errno": 0, "ver": 1, "min": 1, "heartbeat": 30},
        "limits": {"frame": 65536, "text": 8192, "page": 200},
    }


def test_hello_of_no_version_that_is_spoken(server: Server) -> None:
    client = Modern(server.port, greet=False)
    refused(client.ask(m.HELLO, ver=0), 12)


def test_second_hello_changes_nothing(people: People) -> None:
    refused(people.li.ask(m.HELLO, ver=1), 3)
    assert people.li.done(m.LOOKUP, id=people.li.id)["name"] == people.li.name


def test_ping_before_and_after_login(server: Server, people: People) -> None:
    for client in (Modern(server.port), people.li):
        assert client.ask(m.PING) == {"msgid": m.PONG, "rid": f"r{client.requests}", "errno": 0}


@pytest.mark.parametrize("rid", ["", "x" * 64, "é" * 32, '"\\\n\0', 7, 0, -1])
def test_rid_comes_back_as_it_was(people: People, rid: str | int) -> None:
    people.li.tell(m.LOOKUP, rid=rid, id=people.li.id)
    people.li.tell(m.LOOKUP, rid=rid, id=NOBODY)
    for errno in (0, 6):
        answer = people.li.next()
        assert (answer["rid"], answer["errno"]) == (rid, errno)


@pytest.mark.parametrize("rid", ["x" * 65, True, 1.5, [], {}])
def test_bad_rid(people: People, rid: Any) -> None:
    people.li.tell(m.LOOKUP, rid=rid, id=people.li.id)
    refused(people.li.push(m.ERROR), 3)


def test_answers_without_rid(people: People) -> None:
    """Those that have a msgid of their own come all the same; acknowledgements are for who asks."""
    people.li.tell(m.LOOKUP, id=people.li.id)
    people.li.tell(m.SYNC)
    people.li.tell(m.PING)
    assert texts(people.li.pushed(), "msgid") == [m.CONVS, m.PONG]


def test_unknown_msgid(people: People) -> None:
    for msgid in (0, -1, 11, 99, 2**63, m.ACK, m.BYE, m.PRESENCE):
        refused(people.li.answer(people.li.say(msgid)), 12)
    people.li.tell(99)
    refused(people.li.push(m.ERROR), 12)


def test_unknown_fields_are_ignored(people: People) -> None:
    people.li.done(m.LOOKUP, id=people.li.id, unknown=[1, {"x": None}])


# Accounts, sessions, tokens.


def test_register(server: Server) -> None:
    client, name = Modern(server.port), new_name("李")
    assert client.done(m.REG, name=name, password=PASSWORD)["id"] > 0
    refused(client.ask(m.REG, name=name, password="other"), 7)
    assert client.done(m.REG, name=name.upper(), password=PASSWORD)["id"] > 0  # names are told apart by case
    refused(client.ask(m.REG, name=name + " ", password=PASSWORD), 3)


def test_login_answer(server: Server, people: People) -> None:
    client = Modern(server.port).register()
    answer = client.login()
    assert len(answer.pop("token")) >= 32
    del answer["rid"]
    assert answer == {
        **{"msgid": m.LOGIN_ACK, "errno": 0, "id": client.id, "name": client.name},
        **{"friends": [], "groups": [], "convs": []},
    }
    client.done(m.ADD_FRIEND, friendid=people.bo.id)
    group = client.done(m.CREATE_GROUP, groupname="ops", groupdesc="the team")["groupid"]
    client.done(m.LOGINOUT)
    people.bo.done(m.ONE_CHAT, toid=client.id, msg="hi")
    answer = client.login(id=client.id, password=PASSWORD)
    assert answer["friends"] == [{"id": people.bo.id, "name": people.bo.name, "state": "online"}]
    assert answer["groups"] == [{"id": group, "groupname": "ops", "groupdesc": "the team", "role": "creator"}]
    conv = pair_key(client.id, people.bo.id)
    assert answer["convs"] == [{"conv": conv, "last": 1, "recv": 0, "read": 0, "first": 1}]


@pytest.mark.parametrize(
    ("fields", "errno"),
    [
        ({"name": "<li>", "password": "wrong"}, 1),
        ({"name": "<li>", "password": ""}, 1),
        ({"name": "nobody at all", "password": PASSWORD}, 1),
        ({"id": NOBODY, "password": PASSWORD}, 1),
        ({"name": "' OR 1=1 -- ", "password": PASSWORD}, 1),
        ({"name": "\x1b[31m", "password": PASSWORD}, 1),
        ({"name": "x" * 2000, "password": PASSWORD}, 1),
        ({"name": "<li>"}, 3),
        ({"password": PASSWORD}, 3),
        ({}, 3),
        ({"token": "wrong"}, 13),
        ({"token": ""}, 13),
        ({"token": 7}, 3),
        ({"name": "<li>", "password": PASSWORD, "takeover": 1}, 3),
        ({"name": "<li>", "password": PASSWORD}, 2),
    ],
)
def test_login_refused(server: Server, people: People, fields: dict[str, Any], errno: int) -> None:
    client = Modern(server.port)
    refused(client.login(**{key: people.li.name if value == "<li>" else value for key, value in fields.items()}), errno)
    people.bo.done(m.ONE_CHAT, toid=people.li.id, msg="undisturbed")
    assert people.li.push(m.ONE_CHAT)["msg"] == "undisturbed"


@pytest.mark.parametrize("msgid", [m.LOGIN, m.REG])
def test_login_when_logged_in(people: People, msgid: int) -> None:
    refused(people.li.ask(msgid, name=new_name(), password=PASSWORD), 3)


def test_logging_out(server: Server, people: People) -> None:
    client = Modern(server.port).join_in()
    client.done(m.LOGINOUT)
    refused(client.ask(m.ONE_CHAT, toid=people.li.id, msg="hi"), 4)
    refused(client.ask(m.LOGINOUT), 4)
    people.li.done(m.ONE_CHAT, toid=client.id, msg="missed")
    assert client.pushed() == []
    assert client.login()["convs"][0]["last"] == 1
    people.li.done(m.ONE_CHAT, toid=client.id, msg="live")
    assert client.push(m.ONE_CHAT)["msg"] == "live"


def test_token_logs_in_until_it_is_revoked(server: Server) -> None:
    client = Modern(server.port).join_in()
    token = client.token
    client = come_back(server.port, client)
    assert client.token == token
    client.done(m.LOGINOUT)
    refused(client.login(token=token), 13)
    assert client.login(name=client.name, password=PASSWORD)["token"] != token


def test_a_new_password_ends_the_other_tokens(server: Server) -> None:
    client = Modern(server.port).join_in()
    older = client.token
    client.close()
    client, name = Modern(server.port), client.name
    until(lambda: client.login(name=name, password=PASSWORD)["errno"] == 0, "the first session is over")
    old = client.token
    refused(client.ask(m.ACCOUNT, op="password", old="wrong", new="new"), 1)
    refused(client.ask(m.ACCOUNT, op="password", old=PASSWORD), 3)
    refused(client.ask(m.ACCOUNT, op="passwd", old=PASSWORD, new="new"), 3)
    client.token = client.done(m.ACCOUNT, op="password", old=PASSWORD, new="new")["token"]
    client.done(m.FRIENDS, op="list")  # the session goes on
    client = come_back(server.port, client)
    client.close()
    other = Modern(server.port)
    for token in (older, old):
        refused(other.login(token=token), 13)
    refused(other.login(name=name, password=PASSWORD), 1)
    until(lambda: other.login(name=name, password="new")["errno"] == 0, "the new password is the one")


@pytest.mark.parametrize("is_same", [True, False], ids=["same worker", "other worker"])
def test_takeover(server: Server, people: People, is_same: bool) -> None:
    first = Modern(server.port).join_in()
    second = elsewhere(server, first, lambda: Modern(server.port), is_same)
    refused(second.login(token=first.token), 2)
    assert second.login(token=first.token, takeover=True)["errno"] == 0
    assert first.push(m.BYE) == {"msgid": m.BYE, "reason": "replaced"}
    assert first.wait_closed() == b""
    people.li.done(m.ONE_CHAT, toid=second.id, msg="to whom?")
    assert second.push(m.ONE_CHAT)["msg"] == "to whom?"
    third = come_back(server.port, second)  # the token that both had is as good as before
    assert third.id == first.id


# Chat.


def test_chat(people: People) -> None:
    li, bo, _ = people
    ack = li.done(m.ONE_CHAT, cid="cid-" + secrets.token_hex(8), toid=bo.id, msg="hi")
    assert ack.keys() == {"msgid", "rid", "re", "errno", "conv", "seq", "ts"}
    assert (ack["msgid"], ack["re"], ack["conv"]) == (m.ACK, m.ONE_CHAT, people.pair)
    assert abs(ack["ts"] / 1000 - time.time()) < 60
    shown = bo.push(m.ONE_CHAT)
    assert shown.pop("cid").startswith("cid-")
    assert time.strptime(shown.pop("time"), "%Y-%m-%d %H:%M:%S")
    assert shown == {
        **{"msgid": m.ONE_CHAT, "conv": people.pair, "seq": ack["seq"], "ts": ack["ts"]},
        **{"id": li.id, "name": li.name, "toid": bo.id, "msg": "hi"},
    }
    answer = bo.done(m.ONE_CHAT, toid=li.id, msg="hi too")
    assert answer["seq"] == ack["seq"] + 1
    assert [each["id"] for each in chats(li, people.pair)] == [bo.id]  # not one's own


def test_group_chat(people: People) -> None:
    group = new_group(people)
    for at, sender in enumerate(people, start=1):
        ack = sender.done(m.GROUP_CHAT, groupid=group, msg=f"{at}")
        assert (ack["conv"], ack["seq"]) == (f"g{group}", at)
        for other in people:
            if other is not sender:
                shown = other.push(m.GROUP_CHAT)
                assert (shown["seq"], shown["id"], shown["groupid"], shown["msg"]) == (at, sender.id, group, f"{at}")
    assert [chats(each, f"g{group}") for each in people] == [[], [], []]


def test_sender_keeps_what_it_says_and_not_who_it_claims_to_be(people: People) -> None:
    claims = {"id": 1, "name": "root", "seq": 99, "conv": "g1", "ts": 1, "time": "never", "dup": True}
    people.li.done(m.ONE_CHAT, toid=people.bo.id, msg="\0\x1b[31m'; DROP TABLE user; --", colour="red", **claims)
    shown = people.bo.push(m.ONE_CHAT)
    assert (shown["id"], shown["name"], shown["conv"]) == (people.li.id, people.li.name, people.pair)
    assert (shown["msg"], shown["colour"]) == ("\0\x1b[31m'; DROP TABLE user; --", "red")
    assert "dup" not in shown


def test_resend_is_the_same_message(people: People) -> None:
    li, bo, cy = people
    message = {"cid": secrets.token_hex(32), "toid": bo.id, "msg": "hi", "x": [1]}
    first = li.done(m.ONE_CHAT, **message)
    again = li.done(m.ONE_CHAT, **message)
    assert again.pop("dup") is True
    assert {**again, "rid": ""} == {**first, "rid": ""}
    for other in ({"msg": "ho"}, {"toid": cy.id}, {"x": [2]}):
        refused(li.ask(m.ONE_CHAT, **(message | other)), 7)
    bo.done(m.ONE_CHAT, toid=li.id, msg="hi", cid=message["cid"])  # another's cids are theirs
    li.done(m.ONE_CHAT, toid=bo.id, msg="the end")
    assert texts(chats(bo, people.pair)) == ["hi", "the end"]
    assert [each["seq"] for each in li.done(m.FETCH, conv=people.pair, limit=3)["msgs"]] == [
        *range(first["seq"], first["seq"] + 3)
    ]


def test_resend_in_one_write(people: People) -> None:
    li, bo, _ = people
    frame = {"msgid": m.ONE_CHAT, "cid": secrets.token_hex(8), "toid": bo.id, "msg": "twice"}
    li.send(b"".join(orjson.dumps(frame | {"rid": rid}) + b"\n" for rid in ("one", "two")))
    one, two = li.answer("one"), li.answer("two")
    assert (one["errno"], two["errno"], one["seq"]) == (0, 0, two["seq"])
    assert [one.get("dup"), two.get("dup")] == [None, True]


def test_text_limit(people: People) -> None:
    li, bo, _ = people
    li.done(m.ONE_CHAT, toid=bo.id, msg="é" * 4096)
    assert bo.push(m.ONE_CHAT)["msg"] == "é" * 4096
    refused(li.ask(m.ONE_CHAT, toid=bo.id, msg="é" * 4096 + "x"), 9)
    refused(li.ask(m.ONE_CHAT, toid=bo.id, msg="x" * 4096, extra="x" * 4096), 9)


def test_one_write_is_handled_in_order(server: Server, people: People) -> None:
    """Log in, join, send, read: what comes later sees what was before it."""
    group = new_group(people)
    client = Modern(server.port).register()
    requests: list[tuple[int, dict[str, Any]]] = [
        (m.LOGIN, {"name": client.name, "password": PASSWORD}),
        (m.ADD_GROUP, {"groupid": group}),
        (m.GROUP_CHAT, {"groupid": group, "msg": "first"}),
        (m.GROUP_CHAT, {"groupid": group, "msg": "second"}),
        (m.ADD_FRIEND, {"friendid": people.bo.id}),
        (m.FRIENDS, {"op": "list"}),
        (m.GROUPS, {"op": "leave", "groupid": group}),
        (m.GROUP_CHAT, {"groupid": group, "msg": "too late"}),
    ]
    frames = [orjson.dumps({"msgid": msgid, "rid": str(at)} | fields) for at, (msgid, fields) in enumerate(requests)]
    client.send(b"\n".join([*frames, b""]))
    answers = [client.answer(str(at)) for at in range(len(requests))]
    assert [answer["errno"] for answer in answers] == [0, 0, 0, 0, 0, 0, 0, 10]
    assert [answers[2]["seq"], answers[3]["seq"]] == [1, 2]
    assert texts(answers[5]["friends"], "id") == [people.bo.id]
    for each in people:
        assert [each.push(m.GROUP_CHAT)["msg"] for _ in range(2)] == ["first", "second"]


# Ephemeral: messages that are not kept, typing, receipts.


def test_ephemeral(server: Server, people: People) -> None:
    li, bo, cy = people
    absent = Modern(server.port).register()
    ack = li.done(m.ONE_CHAT, toid=bo.id, msg="psst", ephemeral=True)
    assert ack.keys() == {"msgid", "rid", "re", "errno", "conv", "receivers"}
    assert (ack["conv"], ack["receivers"]) == (people.pair, 1)
    shown = bo.push(m.ONE_CHAT)
    assert (shown["msg"], shown["ephemeral"], shown["id"]) == ("psst", True, li.id)
    assert not shown.keys() & {"seq", "cid"}
    assert li.done(m.ONE_CHAT, toid=absent.id, msg="psst", ephemeral=True)["receivers"] == 0

    group = new_group(people)
    assert li.done(m.GROUP_CHAT, groupid=group, msg="psst", ephemeral=True)["receivers"] > 0
    for each in (bo, cy):
        assert each.push(m.GROUP_CHAT)["msg"] == "psst"
    refused(absent_group(server, li, group), 10)
    for conv in (f"g{group}", people.pair):
        assert "psst" not in texts(li.done(m.FETCH, conv=conv)["msgs"])
    assert [each for each in li.pushed() if each["msgid"] == m.GROUP_CHAT] == []


def absent_group(server: Server, li: Modern, group: int) -> Message:
    """What someone who is not in the group is answered."""
    stranger = Modern(server.port).join_in()
    return stranger.ask(m.GROUP_CHAT, groupid=group, msg="psst", ephemeral=True)
