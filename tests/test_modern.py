"""Modern sessions: every message, its answer, its errors, and its effects on other users."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from contextlib import closing
from itertools import permutations
from typing import Any, NamedTuple

import orjson
import pytest
import redis

from forkchat.bus import keys
from forkchat.process.embedded import run_dir
from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.server import Server, until
from tests.talk import PASSWORD, Classic, Message, Modern, Wire, come_back, elsewhere, new_name

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
    """Three users, li on one worker, bo and cy on another. Tests share them, and make their own groups."""

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
def people(crowd: People) -> People:
    """The crowd, after all messages that earlier tests left in flight have arrived and been discarded."""
    word = secrets.token_hex(4)
    for each, other in permutations(crowd, 2):
        each.done(m.ONE_CHAT, toid=other.id, msg=word, ephemeral=True)
        other.push(m.ONE_CHAT, msg=word, id=each.id)
    for each in crowd:
        each.pushed()
    return crowd


def refused(answer: Message, errno: int) -> None:
    assert (answer["errno"], answer.get("code")) == (errno, CODES[errno]), answer
    assert isinstance(answer["errmsg"], str)


def new_group(people: People) -> int:
    """Create a group of li's that the others have joined."""
    group: int = people.li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    for each in (people.bo, people.cy):
        each.done(m.ADD_GROUP, groupid=group)
    return group


def texts(messages: list[Message], key: str = "msg") -> list[Any]:
    return [message[key] for message in messages]


def chats(client: Modern, conv: str) -> list[Message]:
    """Return the messages of a conversation that were pushed so far. Discard all other pushes."""
    return [each for each in client.pushed() if each.get("conv") == conv and "seq" in each]


# HELLO, PING.


def test_hello(server: Server) -> None:
    answer = Modern(server.port, greet=False).ask(m.HELLO, ver=1, ua="chatcli/0.1")
    assert len(answer.pop("epoch")) > 0
    assert answer == {
        "msgid": m.HELLO_ACK,
        "rid": "r1",
        "errno": 0,
        "ver": 1,
        "min": 1,
        "heartbeat": 30,
        "limits": {"frame": 65536, "text": 8192, "page": 200},
    }


def test_hello_of_no_version_that_is_spoken(server: Server) -> None:
    client = Modern(server.port, greet=False)
    refused(client.ask(m.HELLO, ver=0), 12)


def test_second_hello_changes_nothing(server: Server, people: People) -> None:
    refused(Modern(server.port).ask(m.HELLO, ver=1), 3)
    refused(people.li.ask(m.HELLO, ver=1), 3)
    assert people.li.done(m.LOOKUP, id=people.li.id)["name"] == people.li.name


def test_ping_before_and_after_login(server: Server, people: People) -> None:
    for client in (Modern(server.port), people.li):
        answer = client.ask(m.PING)
        assert (answer["msgid"], answer["errno"]) == (m.PONG, 0)


@pytest.mark.parametrize("rid", ["", "x" * 64, "é" * 32, '"\\\n\0', 7, 0, -1])
def test_rid_comes_back_as_it_was(people: People, rid: str | int) -> None:
    people.li.tell(m.LOOKUP, rid=rid, id=NOBODY)
    refused(people.li.answer(rid), 6)


@pytest.mark.parametrize("rid", ["x" * 65, True, 1.5, [], {}])
def test_bad_rid(people: People, rid: Any) -> None:
    people.li.tell(m.LOOKUP, rid=rid, id=people.li.id)
    refused(people.li.push(m.ERROR), 3)


def test_answers_without_rid(people: People) -> None:
    """Without a `rid`, only answers with a msgid of their own are sent. Acknowledgements are not."""
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
    client, name = Modern(server.port), new_name("li 李")
    assert client.done(m.REG, name=name, password=PASSWORD)["id"] > 0
    refused(client.ask(m.REG, name=name, password=PASSWORD), 7)
    refused(client.ask(m.REG, name=name + " ", password=PASSWORD), 3)


def test_login_answer(server: Server, people: People) -> None:
    client = Modern(server.port).register()
    answer = client.login()
    assert len(answer.pop("token")) >= 32
    del answer["rid"]
    assert answer == {
        "msgid": m.LOGIN_ACK,
        "errno": 0,
        "id": client.id,
        "name": client.name,
        "friends": [],
        "groups": [],
        "convs": [],
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
    fields = {key: people.li.name if value == "<li>" else value for key, value in fields.items()}
    refused(client.ask(m.LOGIN, **fields), errno)
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
    refused(client.ask(m.ACCOUNT, op="password", old="wrong", new="another horse"), 1)
    refused(client.ask(m.ACCOUNT, op="password", old=PASSWORD), 3)
    refused(client.ask(m.ACCOUNT, op="passwd", old=PASSWORD, new="another horse"), 3)
    client.token = client.done(m.ACCOUNT, op="password", old=PASSWORD, new="another horse")["token"]
    client.done(m.FRIENDS, op="list")  # the session has not ended
    client = come_back(server.port, client)
    client.close()
    other = Modern(server.port)
    for token in (older, old):
        refused(other.login(token=token), 13)
    refused(other.login(name=name, password=PASSWORD), 1)
    until(
        lambda: other.login(name=name, password="another horse")["errno"] == 0, "the new password is the one"
    )


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
    third = come_back(server.port, second)  # the token of both sessions is still valid
    assert third.id == first.id


@pytest.mark.parametrize("is_same", [True, False], ids=["same worker", "other worker"])
def test_takeover_starts_where_the_other_stopped(server: Server, people: People, is_same: bool) -> None:
    """Confirmations that are not written yet are written before the next session reads them."""
    first = elsewhere(server, people.li, lambda: Modern(server.port)).join_in()
    sent = people.li.done(m.ONE_CHAT, toid=first.id, msg="hi", cid=new_name("cid"))
    first.push(m.ONE_CHAT)
    first.say(m.RECV, c={sent["conv"]: sent["seq"]})
    first.done(m.PING)
    second = elsewhere(server, first, lambda: Modern(server.port), is_same)
    url = f"mysql://root@/forkchat?unix_socket={run_dir(server.data_dir) / 'mysql.sock'}"
    with closing(connect(url)) as database, database.cursor() as cursor:
        database.begin()
        cursor.execute("SELECT * FROM member WHERE user = %s FOR UPDATE", (first.id,))
        login = second.say(m.LOGIN, token=first.token, takeover=True)
        assert first.push(m.BYE)["reason"] == "replaced"
        waiting = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'UPDATE member%'"
        until(lambda: cursor.execute(waiting), "what is confirmed is being written")
        database.rollback()
    (conv,) = second.answer(login)["convs"]
    assert (conv["last"], conv["recv"]) == (1, 1)


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
        "msgid": m.ONE_CHAT,
        "conv": people.pair,
        "seq": ack["seq"],
        "ts": ack["ts"],
        "id": li.id,
        "name": li.name,
        "toid": bo.id,
        "msg": "hi",
    }
    answer = bo.done(m.ONE_CHAT, toid=li.id, msg="hi too")
    assert answer["seq"] == ack["seq"] + 1
    assert li.push(m.ONE_CHAT)["id"] == bo.id  # not li's own message


def test_group_chat(people: People) -> None:
    group = new_group(people)
    for at, sender in enumerate(people, start=1):
        ack = sender.done(m.GROUP_CHAT, groupid=group, msg=f"{at}")
        assert (ack["conv"], ack["seq"]) == (f"g{group}", at)
        for other in people:
            if other is not sender:
                shown = other.push(m.GROUP_CHAT)
                assert (shown["seq"], shown["id"], shown["groupid"], shown["msg"]) == (
                    at,
                    sender.id,
                    group,
                    f"{at}",
                )
    assert [chats(each, f"g{group}") for each in people] == [[], [], []]


def test_sender_keeps_what_it_says_and_not_who_it_claims_to_be(people: People) -> None:
    claims = {"id": 1, "name": "root", "seq": 99, "conv": "g1", "ts": 1, "time": "never", "dup": True}
    people.li.done(
        m.ONE_CHAT, toid=people.bo.id, msg="\0\x1b[31m'; DROP TABLE user; --", colour="red", **claims
    )
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
    bo.done(m.ONE_CHAT, toid=li.id, msg="hi", cid=message["cid"])  # each user's cids are separate
    li.done(m.ONE_CHAT, toid=bo.id, msg="the end")
    assert [bo.push(m.ONE_CHAT)["msg"] for _ in range(2)] == ["hi", "the end"]
    assert [each["seq"] for each in li.done(m.FETCH, conv=people.pair, limit=3)["msgs"]] == [
        *range(first["seq"], first["seq"] + 3)
    ]


def test_resend_in_one_write(people: People) -> None:
    li, bo, _ = people
    message = {"cid": secrets.token_hex(8), "toid": bo.id, "msg": "twice"}
    one, two = in_one_write(li, [(m.ONE_CHAT, message)] * 2)
    assert (one["errno"], two["errno"], one["seq"]) == (0, 0, two["seq"])
    assert [one.get("dup"), two.get("dup")] == [None, True]


def test_text_limit(people: People) -> None:
    li, bo, _ = people
    li.done(m.ONE_CHAT, toid=bo.id, msg="é" * 4096)
    assert bo.push(m.ONE_CHAT)["msg"] == "é" * 4096
    refused(li.ask(m.ONE_CHAT, toid=bo.id, msg="é" * 4096 + "x"), 9)
    refused(li.ask(m.ONE_CHAT, toid=bo.id, msg="x" * 4096, extra="x" * 4096), 9)


def test_one_write_is_handled_in_order(server: Server, people: People) -> None:
    """Each request of one write sees the effects of the requests before it."""
    group = new_group(people)
    client = Modern(server.port).register()
    requests: list[tuple[int, dict[str, Any]]] = [
        (m.LOGIN, {"name": client.name, "password": PASSWORD}),
        (m.ADD_GROUP, {"groupid": group}),
        (m.GROUP_CHAT, {"groupid": group, "msg": "first"}),
        (m.GROUP_CHAT, {"groupid": group, "msg": "second"}),
        (m.ADD_FRIEND, {"friendid": people.bo.id}),
        (m.FRIENDS, {"op": "list"}),
    ]
    answers = in_one_write(client, requests)
    assert [answer["errno"] for answer in answers] == [0] * len(requests)
    assert [answers[2]["seq"], answers[3]["seq"]] == [1, 2]
    assert texts(answers[5]["friends"], "id") == [people.bo.id]
    for each in people:
        assert [each.push(m.GROUP_CHAT)["msg"] for _ in range(2)] == ["first", "second"]

    requests = [
        (m.GROUPS, {"op": "leave", "groupid": group}),
        (m.GROUP_CHAT, {"groupid": group, "msg": "too late"}),
        (m.LOGINOUT, {}),
        (m.FRIENDS, {"op": "list"}),
    ]
    assert [answer["errno"] for answer in in_one_write(client, requests)] == [0, 10, 0, 4]


def in_one_write(client: Modern, requests: list[tuple[int, dict[str, Any]]]) -> list[Message]:
    """Send the requests in one write, and return their answers."""
    rids = [secrets.token_hex(8) for _ in requests]
    frames = [
        orjson.dumps({"msgid": msgid, "rid": rid} | fields)
        for rid, (msgid, fields) in zip(rids, requests, strict=True)
    ]
    client.send(b"\n".join([*frames, b""]))
    return [client.answer(rid) for rid in rids]


# Ephemeral: messages that are not stored, typing, receipts.


def test_ephemeral(server: Server, people: People) -> None:
    li, bo, cy = people
    absent = Modern(server.port).register()
    for each in (bo, absent):
        li.done(m.ADD_FRIEND, friendid=each.id)
    ack = li.done(m.ONE_CHAT, toid=bo.id, msg="psst", ephemeral=True)
    assert ack.keys() == {"msgid", "rid", "re", "errno", "conv", "receivers"}
    assert (ack["conv"], ack["receivers"]) == (people.pair, 1)
    shown = bo.push(m.ONE_CHAT)
    assert (shown["msg"], shown["ephemeral"], shown["id"]) == ("psst", True, li.id)
    assert not shown.keys() & {"seq", "cid"}
    assert li.done(m.ONE_CHAT, toid=absent.id, msg="psst", ephemeral=True)["receivers"] == 0
    assert absent.login()["convs"] == []

    for each in (bo, absent):
        li.done(m.FRIENDS, op="remove", friendid=each.id)
    bo.push(m.EVENT, kind="friend_added")

    group = new_group(people)
    assert li.done(m.GROUP_CHAT, groupid=group, msg="psst", ephemeral=True)["receivers"] > 0
    for each in (bo, cy):
        assert each.push(m.GROUP_CHAT)["msg"] == "psst"
    refused(absent.ask(m.GROUP_CHAT, groupid=group, msg="psst", ephemeral=True), 10)
    for conv in (f"g{group}", people.pair):  # the message is not stored
        assert "psst" not in texts(li.done(m.FETCH, conv=conv)["msgs"])
    assert [each for each in li.pushed() if each["msgid"] == m.GROUP_CHAT] == []


def test_ephemeral_tells_nothing_about_strangers(server: Server, people: People) -> None:
    """An answer tells whether the recipient is online only to a user who has added the recipient."""
    bo = people.bo
    absent, stranger = Modern(server.port).register(), Modern(server.port).join_in()

    def ask(about: int) -> dict[str, Any]:
        ack = stranger.done(m.ONE_CHAT, toid=about, msg="psst", ephemeral=True)
        return {key: value for key, value in ack.items() if key not in ("rid", "conv")}

    assert ask(bo.id) == ask(absent.id) == ask(bo.id) == {"msgid": 104, "re": 5, "errno": 0}
    assert bo.push(m.ONE_CHAT)["id"] == stranger.id
    stranger.done(m.ADD_FRIEND, friendid=bo.id)
    assert ask(bo.id)["receivers"] == 1
    stranger.done(m.FRIENDS, op="remove", friendid=bo.id)
    assert "receivers" not in ask(bo.id)


def test_typing(people: People) -> None:
    li, bo, cy = people
    li.done(m.TYPING, conv=people.pair)
    assert bo.push(m.TYPING) == {"msgid": m.TYPING, "conv": people.pair, "id": li.id, "name": li.name}
    group = new_group(people)
    bo.done(m.TYPING, conv=f"g{group}")
    for each in (li, cy):
        assert each.push(m.TYPING)["id"] == bo.id
    assert [each for each in bo.pushed() if each["msgid"] == m.TYPING] == []


def test_receipts(people: People) -> None:
    li, bo, _ = people
    seq = li.done(m.ONE_CHAT, toid=bo.id, msg="read this")["seq"]
    bo.done(m.READ, conv=people.pair, seq=seq)
    assert li.push(m.RECEIPT) == {"msgid": m.RECEIPT, "conv": people.pair, "id": bo.id, "seq": seq}
    assert [each for each in bo.pushed() if each["msgid"] == m.RECEIPT] == []


@pytest.mark.parametrize("msgid", [m.TYPING, m.READ, m.FETCH])
def test_conversations_of_others(people: People, msgid: int) -> None:
    group = people.bo.done(m.CREATE_GROUP, groupname="ops")["conv"]
    for conv in (pair_key(people.bo.id, people.cy.id), group, f"g{NOBODY}"):
        refused(people.li.ask(msgid, conv=conv, seq=1), 10)


# Friends and presence.


def test_friends(people: People) -> None:
    li, bo, _ = people
    answer = li.done(m.ADD_FRIEND, friendid=bo.id)
    assert (answer["id"], answer["name"], answer["state"]) == (bo.id, bo.name, "online")
    event = {"msgid": m.EVENT, "kind": "friend_added", "id": li.id, "name": li.name}
    assert bo.push(m.EVENT) == event
    li.done(m.ADD_FRIEND, friendid=bo.id)  # a second time changes nothing, and bo is not told again
    li.done(m.ONE_CHAT, toid=bo.id, msg="told once")
    bo.push(m.ONE_CHAT, msg="told once")
    assert bo.pushed() == []
    friend = {"id": bo.id, "name": bo.name, "state": "online"}
    assert li.done(m.FRIENDS, op="list")["friends"] == [friend]
    assert bo.done(m.FRIENDS, op="list")["friends"] == []  # friendship is one-way
    li.done(m.FRIENDS, op="remove", friendid=bo.id)
    assert li.done(m.FRIENDS, op="list")["friends"] == []
    refused(li.ask(m.FRIENDS, op="remove", friendid=bo.id), 6)


def test_look_up(people: People) -> None:
    for by in ({"name": people.bo.name}, {"id": people.bo.id}):
        answer = people.li.done(m.LOOKUP, **by)
        assert (answer["id"], answer["name"]) == (people.bo.id, people.bo.name)


def test_a_friend_who_is_gone_for_a_moment_is_here_to_who_comes_meanwhile(server: Server) -> None:
    """A friend who is gone for a moment is listed as online, because their return is not announced."""
    li, bo = Modern(server.port).join_in(), Modern(server.port).join_in()
    bo.done(m.ADD_FRIEND, friendid=li.id)
    bo.done(m.LOGINOUT)
    li.done(m.LOGINOUT)
    assert [friend["state"] for friend in bo.login()["friends"]] == ["online"]
    assert li.login()["errno"] == 0
    assert bo.done(m.FRIENDS, op="list")["friends"][0]["state"] == "online"


def test_whoever_was_seen_offline_for_a_moment_is_announced_again(server: Server) -> None:
    """A user's return is announced if a friend saw the user offline before the logout was announced.

    The friend asks after Redis has forgotten the logout, and before the logout is announced.
    """
    watcher, gone = Modern(server.port).join_in(), Modern(server.port).join_in()
    watcher.done(m.ADD_FRIEND, friendid=gone.id)
    gone.done(m.LOGINOUT)
    with redis.Redis(unix_socket_path=str(run_dir(server.data_dir) / "redis.sock")) as memory:
        until(lambda: memory.delete(keys.left(gone.id)), "it is remembered that they left")
    assert watcher.done(m.FRIENDS, op="list")["friends"][-1]["state"] == "offline"
    gone.login()
    assert watcher.push(m.PRESENCE, id=gone.id)["state"] == "online"


def test_presence_of_friends(server: Server, people: People) -> None:
    """A login is announced at once, a logout after about five seconds.

    Nothing is announced if the user is back within that time.
    """
    server.wait_told()
    watcher, back, gone = people.li, Modern(server.port).register(), Modern(server.port).register()
    for each in (back, gone):
        assert watcher.done(m.ADD_FRIEND, friendid=each.id)["state"] == "offline"
        each.login()
        online = watcher.push(m.PRESENCE)
        assert (online["id"], online["state"]) == (each.id, "online")
    back = come_back(server.port, back)
    left = time.monotonic()
    gone.close()
    offline = watcher.push(m.PRESENCE)
    assert (offline["id"], offline["state"]) == (gone.id, "offline")
    assert 4.5 < time.monotonic() - left < 8
    people.bo.done(m.ONE_CHAT, toid=watcher.id, msg="the end")
    watcher.push(m.ONE_CHAT, msg="the end")
    assert [each for each in watcher.pushed() if each["msgid"] == m.PRESENCE] == []
    states = {each["id"]: each["state"] for each in watcher.done(m.FRIENDS, op="list")["friends"]}
    assert (states[back.id], states[gone.id]) == ("online", "offline")


# Groups.


def test_creating_a_group(people: People) -> None:
    answer = people.li.done(m.CREATE_GROUP, groupname="ops", groupdesc="the team")
    group = answer["groupid"]
    assert answer["conv"] == f"g{group}"
    expected = {"id": group, "groupname": "ops", "groupdesc": "the team", "role": "creator"}
    assert expected in people.li.done(m.GROUPS, op="list")["groups"]
    users = people.li.done(m.GROUPS, op="members", groupid=group)["users"]
    assert users == [{"id": people.li.id, "name": people.li.name, "role": "creator", "state": "online"}]


def test_joining(people: People) -> None:
    li, bo, cy = people
    group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    bo.done(m.ADD_GROUP, groupid=group)
    for n in range(3):
        li.done(m.GROUP_CHAT, groupid=group, msg=f"before {n}")
    answer = cy.done(m.ADD_GROUP, groupid=group)
    assert (answer["groupid"], answer["conv"], answer["role"]) == (group, f"g{group}", "normal")
    assert (answer["first"], answer["last"]) == (4, 3)
    for each in (li, bo):
        event = each.push(m.EVENT, kind="group_joined", groupid=group, id=cy.id)
        assert (event["groupid"], event["conv"], event["name"]) == (group, f"g{group}", cy.name)
    assert cy.done(m.ADD_GROUP, groupid=group)["first"] == 4  # a second join changes nothing
    li.done(m.GROUP_CHAT, groupid=group, msg="after")
    assert cy.push(m.GROUP_CHAT)["seq"] == 4
    for bounds in ({}, {"after": 0}, {"before": 5}):
        page = cy.done(m.FETCH, conv=f"g{group}", **bounds)
        assert (page["first"], texts(page["msgs"]), page["more"]) == (4, ["after"], False)
    assert texts(cy.done(m.FETCH, conv=f"g{group}", before=4)["msgs"]) == []
    assert [chat["first"] for chat in standings(cy) if chat["conv"] == f"g{group}"] == [4]
    assert texts([each for each in li.pushed() if each["msgid"] == m.EVENT], "id") == [bo.id]
    states = [(each["id"], each["role"]) for each in li.done(m.GROUPS, op="members", groupid=group)["users"]]
    assert sorted(states) == [(li.id, "creator"), *sorted([(bo.id, "normal"), (cy.id, "normal")])]


def standings(client: Modern) -> list[Message]:
    """Return all conversations, read page by page."""
    found: list[Message] = []
    while True:
        answer = client.done(m.SYNC, **({"after": found[-1]["conv"]} if found else {}))
        found += answer["convs"]
        if not answer["more"]:
            return found


@pytest.mark.parametrize("how", ["leave", "remove"])
def test_who_is_out_sees_and_says_nothing_more(people: People, how: str) -> None:
    """A former member neither receives nor sends messages.

    cy, on bo's worker, is still a member. A message that reaches cy would have reached bo, too.
    """
    li, bo, cy = people
    group = new_group(people)
    conv = f"g{group}"
    li.done(m.GROUP_CHAT, groupid=group, msg="before")
    bo.push(m.GROUP_CHAT, msg="before")
    if how == "leave":
        bo.done(m.GROUPS, op="leave", groupid=group)
    else:
        li.done(m.GROUPS, op="remove", groupid=group, id=bo.id)
        assert bo.push(m.EVENT, kind="group_removed")["groupid"] == group
    for each in (li, cy):
        event = each.push(m.EVENT, kind="group_left" if how == "leave" else "group_removed")
        assert (event["groupid"], event["id"], event["name"]) == (group, bo.id, bo.name)

    li.done(m.GROUP_CHAT, groupid=group, msg="after")
    cy.push(m.GROUP_CHAT, msg="after")
    assert chats(bo, conv) == []
    refused(bo.ask(m.GROUP_CHAT, groupid=group, msg="still here?"), 10)
    for msgid in (m.TYPING, m.FETCH):
        refused(bo.ask(msgid, conv=conv), 10)
    refused(bo.ask(m.GROUP_CHAT, groupid=group, msg="still here?", ephemeral=True), 10)
    refused(bo.ask(m.GROUPS, op="members", groupid=group), 10)
    refused(bo.ask(m.GROUPS, op="leave", groupid=group), 10)
    bo.tell(m.RECV, c={conv: 2})  # a late cursor does not restore a membership
    assert conv not in texts(standings(bo), "conv")

    if how == "remove":
        refused(bo.ask(m.ADD_GROUP, groupid=group), 5)
        refused(cy.ask(m.GROUPS, op="readmit", groupid=group, id=bo.id), 5)
        li.done(m.GROUPS, op="readmit", groupid=group, id=bo.id)
        refused(li.ask(m.GROUPS, op="readmit", groupid=group, id=bo.id), 6)
    answer = bo.done(m.ADD_GROUP, groupid=group)
    assert answer["first"] == 3
    li.done(m.GROUP_CHAT, groupid=group, msg="welcome back")
    assert texts([bo.push(m.GROUP_CHAT)]) == ["welcome back"]
    assert texts(bo.done(m.FETCH, conv=conv, after=0)["msgs"]) == ["welcome back"]


def test_who_comes_back_before_the_news_of_having_been_out(server: Server, people: People) -> None:
    """A late notice of bo's removal does not undo bo's second join, and does not disturb cy.

    Redis is stopped, so that bo's worker hears of the removal after bo has joined again.
    """
    li, bo, cy = people
    group = new_group(people)
    conv = f"g{group}"
    redis = server.service("redis-server")
    assert redis
    os.kill(redis, signal.SIGSTOP)
    try:
        li.done(m.GROUPS, op="remove", groupid=group, id=bo.id)
        li.done(m.GROUP_CHAT, groupid=group, msg="while bo is out")
        li.done(m.GROUPS, op="readmit", groupid=group, id=bo.id)
        assert bo.done(m.ADD_GROUP, groupid=group)["first"] == 2
    finally:
        os.kill(redis, signal.SIGCONT)
    cy.push(m.GROUP_CHAT, conv=conv, msg="while bo is out")
    li.done(m.GROUP_CHAT, groupid=group, msg="welcome back")
    cy.push(m.GROUP_CHAT, conv=conv, msg="welcome back")
    bo.push(m.EVENT, kind="group_removed")
    assert bo.push(m.GROUP_CHAT, conv=conv)["msg"] == "welcome back"
    assert bo.done(m.FETCH, conv=conv, after=0)["first"] == 2


def test_only_the_creator_removes(server: Server, people: People) -> None:
    li, bo, cy = people
    group, stranger = new_group(people), Modern(server.port).join_in()
    refused(bo.ask(m.GROUPS, op="remove", groupid=group, id=cy.id), 5)
    refused(stranger.ask(m.GROUPS, op="remove", groupid=group, id=cy.id), 10)
    refused(li.ask(m.GROUPS, op="remove", groupid=group, id=li.id), 3)
    refused(li.ask(m.GROUPS, op="remove", groupid=group, id=stranger.id), 6)
    refused(li.ask(m.GROUPS, op="remove", groupid=group), 3)
    assert len(li.done(m.GROUPS, op="members", groupid=group)["users"]) == 3


def test_creator_who_leaves_is_followed_by_longest_standing_member(server: Server, people: People) -> None:
    """The successor is not the member with the lowest id, although nothing was sent between the joins."""
    li, bo, cy = people
    late = Modern(server.port).join_in()
    group = late.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    for each in (cy, li, bo):
        each.done(m.ADD_GROUP, groupid=group)
    for creator, heir in ((late, cy), (cy, li), (li, bo)):
        refused(heir.ask(m.GROUPS, op="remove", groupid=group, id=creator.id), 5)
        creator.done(m.GROUPS, op="leave", groupid=group)
        roles = {
            each["id"]: each["role"] for each in heir.done(m.GROUPS, op="members", groupid=group)["users"]
        }
        assert [user for user, role in roles.items() if role == "creator"] == [heir.id]
    bo.done(m.GROUPS, op="leave", groupid=group)


def test_group_without_members_gets_a_creator(people: People) -> None:
    """One of two users who join an empty group at once becomes its creator.

    A removed member stays out until the new creator readmits them.
    """
    group = new_group(people)
    old, out, _ = people
    old.done(m.GROUPS, op="remove", groupid=group, id=out.id)
    for each in people:
        if each is not out:
            each.done(m.GROUPS, op="leave", groupid=group)
    refused(out.ask(m.ADD_GROUP, groupid=group), 5)
    rids = {each: each.say(m.ADD_GROUP, groupid=group) for each in people if each is not out}
    roles = {each.answer(rid)["role"]: each for each, rid in rids.items()}
    assert roles.keys() == {"creator", "normal"}
    refused(roles["normal"].ask(m.GROUPS, op="readmit", groupid=group, id=out.id), 5)
    roles["creator"].done(m.GROUPS, op="readmit", groupid=group, id=out.id)
    assert out.done(m.ADD_GROUP, groupid=group)["role"] == "normal"


def test_refusals(people: People) -> None:
    li, bo, _ = people
    for msgid, fields, errno in (
        (m.ONE_CHAT, {"toid": NOBODY, "msg": "hi"}, 6),
        (m.ONE_CHAT, {"toid": li.id, "msg": "hi"}, 3),
        (m.ONE_CHAT, {"msg": "hi"}, 3),
        (m.ONE_CHAT, {"toid": bo.id}, 3),
        (m.GROUP_CHAT, {"groupid": NOBODY, "msg": "hi"}, 6),
        (m.ADD_FRIEND, {"friendid": NOBODY}, 6),
        (m.ADD_FRIEND, {"friendid": li.id}, 3),
        (m.FRIENDS, {"op": "block"}, 3),
        (m.FRIENDS, {"op": "remove"}, 3),
        (m.ADD_GROUP, {"groupid": NOBODY}, 6),
        (m.GROUPS, {"op": "close"}, 3),
        (m.GROUPS, {"op": "members"}, 3),
        (m.GROUPS, {"op": "members", "groupid": NOBODY}, 10),
        (m.GROUPS, {"op": "leave", "groupid": NOBODY}, 6),
        (m.GROUPS, {"op": "remove", "groupid": NOBODY, "id": bo.id}, 6),
        (m.LOOKUP, {"name": "nobody at all"}, 6),
        (m.LOOKUP, {"id": NOBODY}, 6),
        (m.LOOKUP, {}, 3),
        (m.FETCH, {"conv": people.pair, "after": 1, "before": 3}, 3),
        (m.FETCH, {"conv": pair_key(li.id, NOBODY)}, 10),
        (m.RECV, {"c": {"g1": -1}}, 3),
    ):
        refused(li.answer(li.say(msgid, **fields)), errno)


# Missed messages and cursors.


def test_pages_of_messages(people: People) -> None:
    li, bo, _ = people
    group = new_group(people)
    conv = f"g{group}"
    rids = [li.say(m.GROUP_CHAT, groupid=group, msg=f"{n}") for n in range(1, 406)]
    assert [li.answer(rid)["seq"] for rid in rids] == [*range(1, 406)]

    def fetch(**bounds: int) -> tuple[list[int], bool]:
        page = bo.done(m.FETCH, conv=conv, **bounds)
        assert (page["conv"], page["first"], page["last"]) == (conv, 1, 405)
        assert texts(page["msgs"]) == [str(seq) for seq in texts(page["msgs"], "seq")]
        return texts(page["msgs"], "seq"), page["more"]

    assert fetch() == ([*range(206, 406)], True)
    assert fetch(before=206) == ([*range(6, 206)], True)
    assert fetch(before=6) == ([1, 2, 3, 4, 5], False)
    assert fetch(before=1) == ([], False)
    assert fetch(before=2**63 - 1, limit=2) == ([404, 405], True)
    assert fetch(after=0) == ([*range(1, 201)], True)
    assert fetch(after=400) == ([401, 402, 403, 404, 405], False)
    assert fetch(after=405) == fetch(after=2**63 - 1) == ([], False)
    assert fetch(after=10, limit=3) == ([11, 12, 13], True)
    assert fetch(after=0, limit=10**6) == ([*range(1, 201)], True)
    shown = [bo.push(m.GROUP_CHAT) for _ in range(405)]
    assert texts(shown, "seq") == [*range(1, 406)]
    assert bo.done(m.FETCH, conv=conv, after=404)["msgs"] == shown[-1:]  # fetched and live messages match


@pytest.mark.parametrize("bounds", [{"before": 2**63 - 1}, {"after": 0}])
def test_a_page_ends_where_it_says(people: People, bounds: dict[str, int]) -> None:
    """The last message of a page is the page's `last`, even while messages are being stored."""
    li, bo, _ = people
    conv = f"g{new_group(people)}"
    for n in range(90):
        rids = [li.say(m.GROUP_CHAT, groupid=int(conv[1:]), msg=f"{n}") for _ in range(2)]
        page = bo.done(m.FETCH, conv=conv, **bounds)
        assert texts(page["msgs"], "seq") == [*range(1, page["last"] + 1)]
        for rid in rids:
            li.answer(rid)


def test_a_page_is_bounded_in_bytes(people: People) -> None:
    li, bo, _ = people
    group = new_group(people)
    rids = [li.say(m.GROUP_CHAT, groupid=group, msg="x" * 8192) for _ in range(40)]
    assert {li.answer(rid)["errno"] for rid in rids} == {0}
    page = bo.done(m.FETCH, conv=f"g{group}", after=0)
    assert page["more"]
    assert 200_000 < sum(map(len, texts(page["msgs"]))) <= 256 * 1024
    rest = bo.done(m.FETCH, conv=f"g{group}", after=page["msgs"][-1]["seq"])
    assert texts(page["msgs"] + rest["msgs"], "seq") == [*range(1, 41)]


def test_pages_of_conversations(server: Server) -> None:
    client = Modern(server.port).join_in()
    rids = [client.say(m.CREATE_GROUP, groupname=f"{n}") for n in range(205)]
    groups = {f"g{client.answer(rid)['groupid']}" for rid in rids}
    first = client.done(m.SYNC)
    assert (len(first["convs"]), first["more"]) == (200, True)
    assert texts(standings(client), "conv") == sorted(groups)
    assert client.done(m.SYNC, after=max(groups))["convs"] == []


def test_cursors(server: Server, people: People) -> None:
    """Confirmed and read positions are known at the next login. A user's own messages count as confirmed."""
    li, _, _ = people
    bo = Modern(server.port).join_in()
    conv = pair_key(li.id, bo.id)
    for n in range(3):
        li.done(m.ONE_CHAT, toid=bo.id, msg=f"{n}")
    assert bo.push(m.ONE_CHAT, msg="2")
    bo.tell(m.RECV, c={conv: 2, "d1-2": 5, f"g{NOBODY}": 1})
    bo.done(m.READ, conv=conv, seq=1)
    bo = come_back(server.port, bo)
    assert standings(bo) == [{"conv": conv, "last": 3, "recv": 2, "read": 1, "first": 1}]

    bo.tell(m.RECV, c={conv: 1})  # a cursor never moves back
    bo.tell(m.RECV, c={conv: 99})  # nor past the last message
    bo.done(m.ONE_CHAT, toid=li.id, msg="mine")
    bo = come_back(server.port, bo)
    assert standings(bo) == [{"conv": conv, "last": 4, "recv": 4, "read": 1, "first": 1}]
    bo.done(m.READ, conv=conv, seq=4)
    assert standings(come_back(server.port, bo))[0]["read"] == 4


def test_login_lists_what_is_open_the_newest_first(server: Server, people: People) -> None:
    bo = Modern(server.port).join_in()
    group = people.li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    bo.done(m.ADD_GROUP, groupid=group)
    bo.done(m.LOGINOUT)
    first, second, third = (pair_key(each.id, bo.id) for each in people)
    for at, each in enumerate(people):
        each.done(m.ONE_CHAT, toid=bo.id, msg="hi")
        if at == 0:
            people.li.done(m.GROUP_CHAT, groupid=group, msg="hi all")
    convs = bo.login()["convs"]
    assert texts(convs, "conv") == [third, second, f"g{group}", first]
    for each in convs:
        assert bo.done(m.FETCH, conv=each["conv"], after=each["recv"])["msgs"][0]["seq"] == 1
        bo.done(m.READ, conv=each["conv"], seq=each["last"])
    bo.done(m.LOGINOUT)
    assert bo.login()["convs"] == []


def test_receipt_of_what_does_not_exist(server: Server, people: People) -> None:
    """No receipt is sent for messages that do not exist. A read position is at most the last message."""
    li, bo = people.li, people.bo
    stranger = Modern(server.port).join_in()
    stranger.done(m.READ, conv=pair_key(stranger.id, li.id), seq=5)
    li.done(m.ONE_CHAT, toid=bo.id, msg="one")
    last = bo.push(m.ONE_CHAT)["seq"]
    bo.done(m.READ, conv=pair_key(li.id, bo.id), seq=2**63 - 1)
    receipt = li.push(m.RECEIPT)
    assert (receipt["id"], receipt["seq"]) == (bo.id, last)


def test_a_modern_client_is_asked_for_signs_of_life_by_us_and_not_by_the_kernel(server: Server) -> None:
    """The kernel sends keepalive probes only to classic clients.

    With 60,000 idle modern clients it would probe thousands at once, and one lost probe ends a connection.
    """

    def timers(client: Wire) -> str:
        ends = f"sport = :{server.port} and dport = :{client.own_port}"
        return subprocess.run(["ss", "-Htno", ends], capture_output=True, text=True, check=True).stdout

    with Modern(server.port) as modern, Classic(server.port).join_in() as classic:
        assert "ESTAB" in timers(modern)
        assert "keepalive" not in timers(modern)
        probe = re.compile(r"timer:\(keepalive,(\d+)sec")
        (seconds,) = until(lambda: probe.findall(timers(classic)), "the kernel is to probe")
        assert int(seconds) <= 15


def test_new_doubled_and_refused_messages_in_one_batch(server: Server) -> None:
    """Each message of a batch gets its own answer, and is shown at most once."""
    li, bo = (Modern(server.port).join_in() for _ in range(2))
    group = bo.done(m.CREATE_GROUP, groupname="without li")["groupid"]
    sent: list[dict[str, Any]] = [
        {"msgid": m.ONE_CHAT, "toid": bo.id, "msg": "one", "cid": "a"},
        {"msgid": m.GROUP_CHAT, "groupid": group, "msg": "let me in", "cid": "b"},
        {"msgid": m.ONE_CHAT, "toid": bo.id, "msg": "one", "cid": "a"},
        {"msgid": m.ONE_CHAT, "toid": bo.id, "msg": "other", "cid": "a"},
        {"msgid": m.ONE_CHAT, "toid": NOBODY, "msg": "nobody", "cid": "c"},
        {"msgid": m.ONE_CHAT, "toid": bo.id, "msg": "two", "cid": "d"},
    ]
    li.send(b"".join(orjson.dumps(each | {"rid": at}) + b"\n" for at, each in enumerate(sent)))
    answers = [li.answer(at) for at in range(len(sent))]
    assert [each.get("code", each.get("seq")) for each in answers] == [
        *(1, "not_member", 1, "conflict", "not_found", 2)
    ]
    assert answers[2]["dup"]
    assert [(each["seq"], each["msg"]) for each in (bo.push(m.ONE_CHAT), bo.push(m.ONE_CHAT))] == [
        *((1, "one"), (2, "two"))
    ]
    assert not [each for each in bo.pushed() if each["msgid"] == m.ONE_CHAT]
