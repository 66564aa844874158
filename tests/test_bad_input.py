"""Bad input gets the answer that the protocol defines, or none. Nothing crashes, and no one else notices."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import orjson
import pytest

from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.server import Server, limit, until
from tests.talk import PASSWORD, UNLIMITED, Classic, Message, Modern, Wire, come_back, elsewhere, new_name

NOBODY = 4294967295
#: Seconds within which a stranger must finish a frame, on the strict server.
LOGIN_TIME = 1.0

STRICT = f"""
[limits]
login_time = {LOGIN_TIME}
message_rate = 5
message_burst = 30
login_rate = 3
register_rate = 6
"""


class Strict(NamedTuple):
    """A server with narrow limits, and two clients that logged in before the limits were exhausted."""

    port: int
    modern: Modern
    classic: Classic


@pytest.fixture(scope="module")
def strict() -> Iterator[Strict]:
    with Server("-w", "1", config=STRICT) as server:
        yield Strict(server.port, Modern(server.port).join_in(), Classic(server.port).join_in())


@pytest.fixture(scope="module")
def bystanders(server: Server) -> Iterator[tuple[Modern, Classic]]:
    """Two clients that chat, on different workers, while others misbehave.

    No worker may end or log an error meanwhile.
    """
    workers, before = server.workers(), len(server.log())
    ann = Modern(server.port).join_in(new_name("ann"))
    ben = elsewhere(server, ann, lambda: Classic(server.port)).join_in(new_name("ben"))
    yield ann, ben
    assert server.workers() == workers
    assert not re.search(r"Traceback|Error|ERROR", server.log()[before:]), server.log()[before:][-3000:]


@pytest.fixture(autouse=True)
def undisturbed(bystanders: tuple[Modern, Classic]) -> Iterator[None]:
    """A check after each test that the bystanders' chat goes on: their next message is the next one shown."""
    yield
    ann, ben = bystanders
    word = secrets.token_hex(4)
    ann.done(m.ONE_CHAT, toid=ben.id, msg=word)
    assert ben.hear()["msg"] == word
    ben.say(m.ONE_CHAT, toid=ann.id, msg=word)
    assert ann.push(m.ONE_CHAT)["msg"] == word
    assert ann.pushed() == []


@pytest.fixture(scope="module")
def modern(server: Server) -> Modern:
    return Modern(server.port).join_in()


@pytest.fixture(scope="module")
def classic(server: Server, modern: Modern) -> Classic:
    return Classic(server.port).join_in()


# Frames that are not requests.

GARBAGE = {
    "not JSON": b"hello",
    "HTTP": b"GET / HTTP/1.1\r",
    "TLS": b"\x16\x03\x01\x02" + b"\x81" * 50,
    "half an object": b'{"msgid":1',
    "two objects": b'{"msgid":1}{"msgid":1}',
    "a list": b"[1]",
    "a number": b"7",
    "a text": b'"x"',
    "null": b"null",
    "no msgid": b"{}",
    "msgid null": b'{"msgid":null}',
    "msgid a text": b'{"msgid":"1"}',
    "msgid a fraction": b'{"msgid":1.5}',
    "msgid true": b'{"msgid":true}',
    "msgid huge": b'{"msgid":' + b"9" * 99 + b"}",
    "NaN": b'{"msgid":5,"toid":NaN,"msg":"x"}',
    "Infinity": b'{"msgid":5,"toid":1e999,"msg":"x"}',
    "lone surrogate": b'{"msgid":5,"toid":1,"msg":"\\ud800"}',
    "no UTF-8": b'{"msgid":5,"toid":1,"msg":"\xff\xfe"}',
    "deep": b'{"msgid":5,"x":' + b"[" * 1900 + b"]" * 1900 + b"}",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage(server: Server, modern: Modern, classic: Classic, garbage: bytes) -> None:
    """Modern clients get 105, classic clients get nothing. All stay connected, before and after a login."""
    for client in (modern, Modern(server.port)):
        client.send(garbage + b"\n")
        answer = client.push(m.ERROR)
        assert (answer["errno"], answer["code"]) == (3, "bad_request")
        assert client.pushed() == []
    stranger = Classic(server.port)
    for each in (classic, stranger):
        each.send(garbage + b"\0")
    answered_next(classic, modern)
    assert stranger.ask(m.REG, name="", password=PASSWORD)["errno"] == 1


def answered_next(classic: Classic, modern: Modern) -> None:
    """Check that nothing was answered that the classic client sent, and that it still sends and receives."""
    word = secrets.token_hex(4)
    classic.say(m.ONE_CHAT, toid=modern.id, msg=word)
    assert modern.push(m.ONE_CHAT)["msg"] == word
    modern.done(m.ONE_CHAT, toid=classic.id, msg=word)
    assert classic.hear()["msg"] == word


# Malformed requests.

BAD_ID: list[Any] = [None, 0, -1, True, 1.5, "1", "", [], {}, NOBODY + 1, 2**63, 10**300]
BAD_TEXT: list[Any] = [None, 1, True, [], {}]
BAD_NAME: list[Any] = [
    *BAD_TEXT,
    *("", "x" * 51, "李" * 51, " x", "a\0b", "a\nb", "\x1b[31mred\x1b[0m", "\x9b31m", "a\u202eb"),
]
REQUESTS: list[tuple[int, dict[str, Any], str, list[Any]]] = [
    (m.ONE_CHAT, {"msg": "x"}, "toid", BAD_ID),
    (m.ONE_CHAT, {"toid": 1}, "msg", BAD_TEXT),
    (m.GROUP_CHAT, {"msg": "x"}, "groupid", BAD_ID),
    (m.GROUP_CHAT, {"groupid": 1}, "msg", BAD_TEXT),
    (m.ADD_FRIEND, {}, "friendid", BAD_ID),
    (m.ADD_GROUP, {}, "groupid", BAD_ID),
    (m.CREATE_GROUP, {}, "groupname", BAD_NAME),
    (m.CREATE_GROUP, {"groupname": "x"}, "groupdesc", [1, [], "x" * 201]),
]


@pytest.mark.parametrize(
    ("msgid", "base", "field", "values"), REQUESTS, ids=[f"{r[0]}-{r[2]}" for r in REQUESTS]
)
def test_bad_fields(
    modern: Modern, classic: Classic, msgid: int, base: dict[str, Any], field: str, values: list[Any]
) -> None:
    for value in values:
        fields = encoded(base | {field: value})
        modern.send(
            b'{"msgid":%d,"rid":"bad-%b",%b}\n' % (msgid, (rid := secrets.token_hex(8)).encode(), fields)
        )
        answer = modern.answer(f"bad-{rid}")
        assert (answer["errno"], answer["code"], answer["re"]) == (3, "bad_request", msgid), value
        classic.send(b'{"msgid":%d,%b}\0' % (msgid, fields))
    answered_next(classic, modern)


def encoded(fields: dict[str, Any]) -> bytes:
    """Encode the inside of a JSON object, including integers that orjson cannot write."""
    return b",".join(
        b"%b:%b" % (orjson.dumps(key), str(value).encode() if type(value) is int else orjson.dumps(value))
        for key, value in fields.items()
    )


@pytest.mark.parametrize("field", ["name", "password"])
def test_bad_registrations(server: Server, field: str) -> None:
    modern, classic = Modern(server.port), Classic(server.port)
    for value in BAD_NAME if field == "name" else [*BAD_TEXT, "", "x" * 1025]:
        fields = {"name": new_name(), "password": PASSWORD} | {field: value}
        assert modern.ask(m.REG, **fields)["errno"] == 3, value
        answer = classic.ask(m.REG, **fields)
        assert (answer["errno"], type(answer["errmsg"])) == (1, str), value


@pytest.mark.parametrize(
    "name",
    ["x", "李" * 45, "'; DROP TABLE user; --", '" OR ""="', "%s%n{0}", "\\' \\", "😀"],
)
def test_odd_names_are_names(server: Server, bystanders: tuple[Modern, Classic], name: str) -> None:
    """Odd names of users and groups are stored, found and shown unchanged."""
    name = (
        name[: 50 - 5] + "-" + secrets.token_hex(2)
        if len(name) > 1
        else chr(secrets.choice(range(0x4E00, 0x9FFF)))
    )
    client = Modern(server.port).join_in(name)
    assert client.done(m.LOOKUP, name=name)["id"] == client.id
    group = client.done(m.CREATE_GROUP, groupname=name, groupdesc=name)["groupid"]
    assert client.done(m.GROUPS, op="list")["groups"] == [
        {"id": group, "groupname": name, "groupdesc": name, "role": "creator"}
    ]
    ben = bystanders[1]
    client.done(m.ONE_CHAT, toid=ben.id, msg=name)
    heard = ben.hear()
    assert (heard["name"], heard["msg"]) == (name, name)


@pytest.mark.parametrize("size", [1, 50])
def test_shortest_and_longest_name(server: Server, size: int) -> None:
    name = "".join(chr(secrets.choice(range(0x4E00, 0x9FFF))) for _ in range(size))
    user = Classic(server.port).ask(m.REG, name=name, password=PASSWORD)["id"]
    assert Classic(server.port).ask(m.LOGIN, name=name, password=PASSWORD)["id"] == user


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "\x1b[2J\x1b]0;x\x07",
        "'; DELETE FROM message; --",
        "%s %d {0}",
        "\r\n\n",
        "\u202e\u200b\ufeff",
        "😀" * 2048,
    ],
)
def test_odd_texts_arrive_as_they_are(modern: Modern, classic: Classic, text: str) -> None:
    modern.done(m.ONE_CHAT, toid=classic.id, msg=text)
    heard = classic.hear()["msg"]
    while len(heard) < len(text):
        heard += classic.hear()["msg"]
    assert heard == text
    classic.say(m.ONE_CHAT, toid=modern.id, msg=text)
    assert modern.push(m.ONE_CHAT)["msg"] == text


@pytest.mark.parametrize("depth", [100, 300, 1000])
def test_deep_extra_keys(server: Server, bystanders: tuple[Modern, Classic], depth: int) -> None:
    """A message with deeply nested keys is stored and relayed, or refused. The connection stays open."""
    ann, ben = bystanders
    nested = b'"x":' + b"[" * depth + b"]" * depth
    modern, classic = Modern(server.port).join_in(), Classic(server.port).join_in()
    modern.send(b'{"msgid":5,"rid":"deep","toid":%d,"msg":"deep",%b}\n' % (ben.id, nested))
    is_taken = modern.answer("deep")["errno"] == 0
    classic.send(b'{"msgid":5,"toid":%d,"msg":"deep",%b}\0' % (ann.id, nested))
    if is_taken:
        assert ben.hear()["msg"] == "deep"
        assert ann.push(m.ONE_CHAT)["msg"] == "deep"
    answered_next(classic, modern)


# Requests at the wrong time, or about missing objects.


def test_unknown_msgid(server: Server, modern: Modern, classic: Classic) -> None:
    for msgid in (0, -1, 11, 99, 119, 2**63 - 1):
        for client in (modern, Modern(server.port)):
            answer = client.answer(client.say(msgid))
            assert (answer["errno"], answer["code"]) == (12, "unsupported")
        classic.say(msgid)
    classic.say(m.SYNC)
    classic.say(m.PING)
    answered_next(classic, modern)


@pytest.mark.parametrize(
    "msgid",
    [
        *(m.ONE_CHAT, m.ADD_FRIEND, m.CREATE_GROUP, m.ADD_GROUP, m.GROUP_CHAT, m.LOGINOUT),
        *(m.SYNC, m.FETCH, m.READ, m.TYPING, m.FRIENDS, m.GROUPS, m.ACCOUNT, m.LOOKUP),
    ],
)
def test_commands_before_login(server: Server, msgid: int) -> None:
    fields = {
        "toid": 1,
        "friendid": 1,
        "groupname": "x",
        "groupid": 1,
        "msg": "x",
        "conv": "g1",
        "op": "list",
    }
    client = Modern(server.port)
    answer = client.answer(client.say(msgid, **fields))
    assert (answer["errno"], answer["code"]) == (4, "not_logged_in")
    stranger = Classic(server.port)
    stranger.say(msgid, **fields)
    assert stranger.ask(m.REG, name="", password=PASSWORD)["errno"] == 1


def test_second_hello(server: Server, modern: Modern, classic: Classic) -> None:
    for client in (modern, Modern(server.port)):
        assert client.ask(m.HELLO, ver=1)["errno"] == 3
        client.done(m.PING)
    classic.say(m.HELLO, ver=1)
    answered_next(classic, modern)


def test_chat_to_where_it_cannot_go(server: Server, modern: Modern, classic: Classic) -> None:
    group = Modern(server.port).join_in().done(m.CREATE_GROUP, groupname="closed")["groupid"]
    for msgid, fields, errno in (
        (m.ONE_CHAT, {"toid": modern.id}, 3),
        (m.ONE_CHAT, {"toid": NOBODY}, 6),
        (m.GROUP_CHAT, {"groupid": group}, 10),
        (m.GROUP_CHAT, {"groupid": NOBODY}, 6),
    ):
        assert modern.ask(msgid, msg="x", **fields)["errno"] == errno
        classic.say(msgid, msg="x", **(fields | {"toid": classic.id} if errno == 3 else fields))
    answered_next(classic, modern)


def test_friends_twice(server: Server, modern: Modern) -> None:
    client = Classic(server.port).join_in()
    for friend in (modern.id, modern.id, client.id, NOBODY):
        client.say(m.ADD_FRIEND, friendid=friend)
    modern.push(m.EVENT, kind="friend_added", id=client.id)
    answered_next(client, modern)
    client.say(m.LOGINOUT)
    assert [each["id"] for each in client.login()["friends"]] == [modern.id]


# Limits of size, rate and descriptors.


@pytest.mark.parametrize("is_bytewise", [False, True], ids=["whole", "in pieces"])
def test_frame_over_the_limit_before_login(server: Server, is_bytewise: bool) -> None:
    """A modern client is told why before it is closed. A classic client is only closed."""
    modern, classic = Modern(server.port), Classic(server.port)
    for client in (modern, classic):
        overflow(client, 4096, is_bytewise)
    [answer] = map(orjson.loads, modern.wait_closed().splitlines())
    assert (answer["msgid"], answer["errno"], answer["code"]) == (m.ERROR, 9, "too_large")
    assert classic.wait_closed() == b""


def test_frame_over_the_limit_after_login(server: Server) -> None:
    modern, classic = Modern(server.port).join_in(), Classic(server.port).join_in()
    longest = b'{"msgid":102,"rid":"long","x":"' + b"x" * (65536 - 33) + b'"}'
    assert len(longest) == 65536
    modern.send(longest + b"\n")
    assert modern.answer("long")["errno"] == 0
    for client in (modern, classic):
        overflow(client, 65536, False)
    [answer] = map(orjson.loads, modern.wait_closed().splitlines())
    assert (answer["errno"], answer["code"]) == (9, "too_large")
    assert classic.wait_closed() == b""
    come_back(server.port, modern)


def test_frame_far_over_the_limit(server: Server) -> None:
    """The client gets the answer although the server does not read the rest of the frame."""
    client = Modern(server.port)
    client.send(b"x" * 4_000_000)
    answer = client.push(m.ERROR)
    assert (answer["errno"], answer["code"]) == (9, "too_large")
    assert client.wait_closed() == b""


def test_frame_limit_is_small_again_after_logout(server: Server) -> None:
    client = Modern(server.port).join_in()
    client.done(m.LOGINOUT)
    overflow(client, 4096, False)
    assert orjson.loads(client.wait_closed())["errno"] == 9


def overflow(client: Wire, limit: int, is_bytewise: bool) -> None:
    """Send one byte more than the limit, and no delimiter."""
    for size in [1] * (limit + 1) if is_bytewise else [limit + 1]:
        client.send(b"x" * size)


def test_who_sends_too_fast(strict: Strict) -> None:
    """A modern client that sends too fast is told when to retry. A classic client is closed."""
    _, modern, classic = strict
    answers = [modern.answer(rid) for rid in [modern.say(m.PING) for _ in range(50)]]
    assert answers[0]["errno"] == 0
    late = answers[-1]
    assert (late["errno"], late["code"]) == (8, "rate_limited")
    assert 1 < late["retry_after"] < 10  # retries are spread, 5 a second
    until(lambda: modern.ask(m.PING)["errno"] == 0, "it may send again", 2.0)
    classic.send(classic.encode(m.ONE_CHAT, toid=modern.id, msg="x") * 50)
    assert classic.wait_closed() == b""


def test_a_new_session_has_no_new_burst(strict: Strict) -> None:
    def refused(client: Modern, tries: int) -> int:
        rids = [client.say(m.PING) for _ in range(tries)]
        return sum(client.answer(rid)["errno"] == 8 for rid in rids)

    li, first = Modern(strict.port).register(), Modern(strict.port)
    assert first.login(name=li.name, password=PASSWORD)["errno"] == 0
    assert refused(first, 15) == 0
    assert refused(come_back(strict.port, first), 30) > 0


def test_descriptors_used_up() -> None:
    """New connections wait, and users who are online notice nothing.

    The worker connects to MySQL only when descriptors are used up.
    """
    with Server("-w", "1", config=UNLIMITED) as server:
        inside = [Modern(server.port).join_in() for _ in range(6)]
        ann, ben, *others = inside
        limit(server.workers()[1], "nofile", 70)
        newcomers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
        server.wait_log(r"accept\.no_descriptor")
        ann.done(m.ONE_CHAT, toid=ben.id, msg="crowded here")
        assert ben.push(m.ONE_CHAT)["msg"] == "crowded here"
        for newcomer in newcomers:
            newcomer.close()
        for other in others:
            other.close()
        Modern(server.port).join_in()


def test_the_longest_silent_stranger_gives_way_when_descriptors_are_used_up() -> None:
    """New clients are served, however many silent ones connect. Users who are online notice nothing."""
    with Server("-w", "1", config=UNLIMITED) as server:
        ann, ben = Modern(server.port).join_in(), Classic(server.port).join_in()
        limit(server.workers()[1], "nofile", 70)
        first, busy = Modern(server.port), Classic(server.port)
        silent = [Wire(server.port) for _ in range(2)]
        until(lambda: server.log().count("peer.connected") >= 6, "the worker is full")
        assert busy.login(ann.id, "wrong")["errno"] == 1  # busy has been silent for less time
        newcomers = []
        for _ in range(3):
            newcomers.append(Classic(server.port).register())
            newcomers[-1].say(m.LOGIN, id=ann.id, password="wrong")
        assert first.push(m.BYE)["reason"] == "idle"
        assert [each.wait_closed() for each in (first, *silent)] == [b"", b"", b""]
        assert busy.login(ann.id, "wrong")["errno"] == 1
        ann.done(m.ONE_CHAT, toid=ben.id, msg="still here")
        assert ben.hear()["msg"] == "still here"
        assert server.log().count("peer.given_up") == 3
        server.wait_log(r"INFO worker1 peers\.given_up count=[123]\n")


def test_who_guesses_passwords(strict: Strict) -> None:
    name = new_name()

    def guess() -> Message:
        return Modern(strict.port).ask(m.LOGIN, name=name, password="guess")

    assert guess()["errno"] == 1
    late = until(lambda: (answer := guess())["errno"] == 8 and answer, "no more guesses")
    assert 0 < late["retry_after"] <= 60
    assert Classic(strict.port).ask(m.LOGIN, name=name, password="guess")["errno"] == 1


def test_who_is_not_there_gets_the_answer_of_a_wrong_password(server: Server) -> None:
    someone, client = Modern(server.port).register(), Modern(server.port)
    tries = ({"name": someone.name}, {"id": someone.id}, {"name": new_name()}, {"id": NOBODY})
    answers = [client.ask(m.LOGIN, password="guess", **who) for who in tries]
    assert {answer.pop("rid") for answer in answers} and answers == [answers[0]] * 4
    assert answers[0]["errno"] == 1


def test_who_makes_too_many_accounts(strict: Strict) -> None:
    def register() -> Message:
        return Modern(strict.port).ask(m.REG, name=new_name(), password=PASSWORD)

    assert (
        0
        < until(lambda: (answer := register())["errno"] == 8 and answer, "no more accounts")["retry_after"]
        <= 60
    )


# Slow clients.


def test_a_frame_that_a_stranger_does_not_finish(strict: Strict) -> None:
    """A stranger with an unfinished frame is closed, even if the frame goes on slowly.

    Strangers that are silent or finish their frames stay connected.
    """
    silent, modern = Classic(strict.port), Modern(strict.port)
    idle = [(Classic(strict.port, b"\n" if drip == b"\n" else b"\0"), drip) for drip in (b"\0", b"\n", b" ")]
    halves = {Classic(strict.port): drip for drip in (b"x", b'{"msgid":1,', b'{"msgid":1}\0{"m', b'"\\')}
    late, has_begun = Modern(strict.port), False
    start = time.monotonic()
    while halves:
        assert time.monotonic() - start < LOGIN_TIME + 3
        for client, drip in list(halves.items()):
            client.deadline(0.05)
            try:
                client.send(drip)
                assert client.wait_closed() == b""
                del halves[client]
            except TimeoutError:
                continue
            except ConnectionError:
                del halves[client]
        for client, drip in idle:
            client.send(drip)
        if not has_begun or len(halves) == 4:  # stop early: input after the close would cause a reset
            late.send(b'{"msgid"')
            has_begun = True
    assert late.push(m.BYE) == {"msgid": m.BYE, "reason": "idle"}
    assert late.wait_closed() == b""
    for client in (silent, *(client for client, _ in idle)):
        assert client.login(strict.modern.id, "")["errno"] == 1
    modern.done(m.PING)


def test_modern_client_that_does_not_read(server: Server, bystanders: tuple[Modern, Classic]) -> None:
    """A modern client that does not read does not disturb others.

    When the client reads at last, it gets what was sent so far, each event, then 112. It fetches the rest.
    """
    ann, ben = bystanders
    eve, slow = Modern(server.port).join_in(), Modern(server.port, receive_buffer=4096).join_in()
    late = Modern(server.port).register()
    for watcher in (slow, eve):
        watcher.done(m.ADD_FRIEND, friendid=late.id)
    group = eve.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    slow.done(m.ADD_GROUP, groupid=group)
    conv, sent = pair_key(eve.id, slow.id), 0
    for _ in range(16):  # 6 MB: the kernel's buffers hold 3 MB, the server 1 MB
        rids = [eve.say(m.ONE_CHAT, toid=slow.id, msg="x" * 8000) for _ in range(50)]
        assert [eve.answer(rid)["errno"] for rid in rids] == [0] * 50
        sent += 50
        ann.done(m.ONE_CHAT, toid=ben.id, msg="meanwhile")
        assert ben.hear()["msg"] == "meanwhile"
    late.login()
    eve.push(m.PRESENCE, id=late.id, state="online")
    eve.done(m.GROUPS, op="remove", groupid=group, id=slow.id)
    eve.push(m.EVENT, kind="group_removed")

    stands = slow.push(m.CONVS)
    slow.push(m.PRESENCE, id=late.id, state="online")
    slow.push(m.EVENT, kind="group_removed", id=slow.id)
    assert [(each["conv"], each["last"], each["recv"]) for each in stands["convs"]] == [(conv, sent, 0)]
    shown = [each["seq"] for each in slow.pushed() if each["msgid"] == m.ONE_CHAT]
    assert shown == [*range(1, len(shown) + 1)]
    assert 0 < len(shown) < sent
    while len(shown) < sent:
        page = slow.done(m.FETCH, conv=conv, after=shown[-1])
        shown += [each["seq"] for each in page["msgs"]]
    assert shown == [*range(1, sent + 1)]
    eve.done(m.ONE_CHAT, toid=slow.id, msg="live")
    assert slow.push(m.ONE_CHAT)["seq"] == sent + 1


def test_classic_client_that_does_not_read(server: Server, bystanders: tuple[Modern, Classic]) -> None:
    """A classic client that does not read is closed.

    After the next login it gets everything that it missed, and new messages after that.
    """
    ann, ben = bystanders
    eve, slow = Modern(server.port).join_in(), Classic(server.port, receive_buffer=4096).join_in()
    rids = [eve.say(m.ONE_CHAT, toid=slow.id, msg=f"{n}") for n in range(1150)]  # 1 KiB each
    assert {eve.answer(rid)["errno"] for rid in rids} == {0}
    ann.done(m.ONE_CHAT, toid=ben.id, msg="meanwhile")
    assert ben.hear()["msg"] == "meanwhile"
    more = count(1150)

    def is_closed() -> bool:
        eve.done(m.ONE_CHAT, toid=slow.id, msg=f"{next(more)}")  # until its output is over the limit
        return f"session.end user={slow.id} reason=slow" in server.log()

    until(is_closed, "it is closed")
    *whole, _ = slow.wait_closed().split(b"\0")  # the last may be cut off
    heard = {orjson.loads(frame)["msg"] for frame in whole}

    again = Classic(server.port)
    behind = [each["msg"] for each in again.login(slow.id).get("offlinemsg", [])]
    last = next(more)
    eve.done(m.ONE_CHAT, toid=slow.id, msg=f"{last}")
    while behind[-1:] != [f"{last}"]:
        behind.append(again.hear()["msg"])
    assert behind == [f"{n}" for n in range(last + 1 - len(behind), last + 1)]
    assert heard | {*behind} == {f"{n}" for n in range(last + 1)}


def test_whoever_hangs_up_has_no_password_checked() -> None:
    """A password is neither checked nor counted once the client has disconnected.

    Otherwise disconnected clients would take time from waiting clients, and lock the account.
    """
    slow = f"{STRICT}[passwords]\ntime = 16\n"
    with Server("-w", "1", config=slow) as server, Modern(server.port).register() as li:
        for _ in range(10):
            with Modern(server.port) as gone:
                gone.say(m.LOGIN, name=li.name, password="a guess")
        until(lambda: li.login()["errno"] == 0, "their places are given back")
        li.done(m.LOGINOUT)
        assert li.login()["errno"] == 0
