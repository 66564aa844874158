"""Classic clients in the wild: missing delimiters, other numberings and field names, hours at the menu."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import orjson
import pytest

from forkchat.process.embedded import run_dir
from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from forkchat.wire.frames import PADDED_SIZE
from forkchat.wire.msgid import Numbering
from tests.server import Server, until
from tests.talk import PASSWORD, PROXY, UNLIMITED, Classic, Modern, Wire, new_name

HEADER = b"PROXY TCP4 192.0.2.%d 192.0.2.1 4321 6000\r\n"
#: Seconds within which a stranger must finish a frame, on the server of this file.
LOGIN_TIME = 1.0
MINE = """
[classic.numberings.mine]
login = [1, 2]
register = [21, 22]
chat = 23
add_friend = 24
create_group = 25
add_group = 26
group_chat = 27
logout = 28
"""
MINE_IDS = Numbering("mine", {1: 1, 2: 2, 3: 21, 4: 22, 5: 23, 6: 24, 7: 25, 8: 26, 9: 27, 10: 28})
PROFILE = """
[classic.profiles.mine]
msgid = ["msgid", "msgId"]
errno = "error"
offlinemsg = "offlineMsg"
friends = "friendlist"
groups = "group"
users = "members"
id = "userid"
msg = ["msg", "message"]
password = "passwd"
"""
LIMITS = f"login_time = {LOGIN_TIME}\nstrangers_per_address = 3\n[listen]\nproxy_from = ['{PROXY}']\n"


@pytest.fixture(scope="module")
def wild() -> Iterator[Server]:
    """A server that tells numberings apart, including a configured one. Some clients come through a proxy."""
    with Server("-w", "1", config=UNLIMITED + LIMITS + MINE) as server:
        yield server


@pytest.fixture(scope="module")
def friend(wild: Server) -> Modern:
    return Modern(wild.port).join_in(new_name("friend"))


@pytest.fixture(params=[b"", HEADER % 1], ids=["direct", "proxied"])
def header(request: pytest.FixtureRequest) -> bytes:
    header: bytes = request.param
    return header


def stored(server: Server, user: int) -> str | None:
    """Return the numbering that is stored for an account, or None."""
    socket_path = run_dir(server.data_dir) / "mysql.sock"
    url = f"mysql://root@/forkchat?unix_socket={socket_path}"
    with closing(connect(url)) as database, database.cursor() as cursor:
        cursor.execute("SELECT numbering FROM classic WHERE user = %s", (user,))
        row: tuple[str] | None = cursor.fetchone()
        return row and row[0]


def again(server: Server, user: int, **how: Any) -> Classic:
    """Log in on a new connection, once the account's earlier session is over. Return the client."""
    client = Classic(server.port, **how)
    until(lambda: client.login(user)["errno"] == 0, "the earlier session is over")
    client.id = user
    return client


# Delimiters.


def test_some_frames_end_with_nothing(wild: Server, friend: Modern, header: bytes) -> None:
    """Frames without a delimiter are handled: in a read of their own, joined to the next, or cut anywhere.

    A logout without NUL is handled, too.
    """
    client = Classic(wild.port, header=header).join_in()
    chat = [client.encode(m.ONE_CHAT, toid=friend.id, msg=f'{{"n":{n}}}{{') for n in range(6)]
    client.send(client.encode(m.CREATE_GROUP, groupname="g", groupdesc="")[:-1])
    for read in (
        *(chat[0], chat[1][:-1], chat[2][:-1] + chat[3], chat[4][:-1], b"\0"),
        *(chat[5][:20], chat[5][20:-1]),
    ):
        client.send(read)
    texts = [friend.push(m.ONE_CHAT, id=client.id)["msg"] for _ in range(6)]
    assert texts == [f'{{"n":{n}}}{{' for n in range(6)]
    client.send(client.encode(m.LOGINOUT)[:-1])
    assert len(client.login()["groups"]) == 1
    assert friend.pushed() == []


# Clients that are not logged in.


def test_hours_at_the_menu(wild: Server, friend: Modern, header: bytes) -> None:
    """A client may be silent for longer than a frame may take, before the first login and after a logout."""
    client = Classic(wild.port, header=header)
    wild.wait_log(rf"peer\.connected peer={PROXY if header else '127.0.0.1'}:{client.own_port}")
    client.deadline(3 * LOGIN_TIME)
    with pytest.raises(TimeoutError):  # nothing is sent: some clients would take it for the login's answer
        client.frame()
    client.deadline(10)
    client.join_in()
    client.say(m.LOGINOUT)
    client.deadline(3 * LOGIN_TIME)
    with pytest.raises(TimeoutError):
        client.frame()
    client.deadline(10)
    assert client.login()["errno"] == 0


def test_strangers_of_one_address_are_bounded(wild: Server, friend: Modern) -> None:
    """The stranger that was silent for longest gives way. Clients that have logged in do not count."""
    inside = Classic(wild.port, header=HEADER % 2).join_in()
    first, second, third = (Classic(wild.port, header=HEADER % 2).register() for _ in range(3))
    other = Classic(wild.port, header=HEADER % 3).register()
    assert first.login(friend.id, "wrong")["errno"] == 1  # the second has now been silent for longest
    fourth = Modern(wild.port, header=HEADER % 2)
    assert second.wait_closed() == b""
    for client in (first, third, other):
        assert client.login()["errno"] == 0
    fourth.join_in()
    inside.say(m.ONE_CHAT, toid=friend.id, msg="inside")
    assert friend.push(m.ONE_CHAT)["msg"] == "inside"


def test_an_ipv6_network_is_one_address(wild: Server) -> None:
    def connect(address: str) -> Modern:
        return Modern(wild.port, header=f"PROXY TCP6 {address} 2001:db8::1 4321 6000\r\n".encode())

    first, *others = (connect(f"2001:db8:0:7::{n}") for n in range(1, 4))
    elsewhere = connect("2001:db8:0:8::1")
    connect("2001:db8:0:7:ffff::1")
    assert first.push(m.BYE)["reason"] == "idle"
    for each in (*others, elsewhere):
        each.done(m.PING)


def test_a_modern_stranger_that_gives_way_is_told(wild: Server) -> None:
    modern = Modern(wild.port, header=HEADER % 4)
    newcomers = [Modern(wild.port, header=HEADER % 4) for _ in range(3)]
    assert modern.push(m.BYE) == {"msgid": m.BYE, "reason": "idle"}
    assert modern.wait_closed() == b""
    newcomers[0].done(m.PING)


def test_a_logged_out_client_is_a_stranger_again(wild: Server) -> None:
    clients = [Classic(wild.port, header=HEADER % 5).join_in() for _ in range(4)]
    for client in clients[:3]:
        client.say(m.LOGINOUT)
        assert client.login(clients[3].id, "wrong")["errno"] == 1  # the logout has been handled
    clients[3].say(m.LOGINOUT)
    assert clients[0].wait_closed() == b""
    for client in clients[1:]:
        assert client.login()["errno"] == 0


def test_this_machine_is_not_bounded(wild: Server) -> None:
    strangers = [Classic(wild.port) for _ in range(10)]
    for each in strangers:
        each.register()


# Numberings.


@pytest.mark.parametrize("numbering", ["notes", "course"])
def test_a_silent_client_is_written_to_as_it_numbers(
    wild: Server, friend: Modern, header: bytes, numbering: str
) -> None:
    how: dict[str, Any] = {"header": header, "numbering": numbering}
    client = Classic(wild.port, **how).join_in()
    until(lambda: stored(wild, client.id) == numbering, "the numbering is stored")
    client.close()
    silent = again(wild, client.id, **how)
    friend.done(m.ONE_CHAT, toid=silent.id, msg="hi")
    assert silent.hear()["msgid"] == m.ONE_CHAT
    silent.close()
    until(lambda: f"session.end user={client.id} reason=eof" in wild.log(), "the session is over")
    friend.done(m.ONE_CHAT, toid=silent.id, msg="you were away")
    late = Classic(wild.port, **how)
    answer: dict[str, Any] = {}
    until(lambda: answer.update(late.login(client.id)) or answer["errno"] == 0, "the session is over")
    messages = answer["offlinemsg"]
    assert [late.numbering.inbound(each["msgid"]) for each in messages] == [m.ONE_CHAT] * len(messages)
    assert messages[-1]["msg"] == "you were away"


def test_registering_is_enough_to_be_known(wild: Server, friend: Modern) -> None:
    user = Classic(wild.port, numbering="course").register().id
    silent = Classic(wild.port, numbering="course")
    until(lambda: stored(wild, user) == "course", "the numbering is stored")
    assert silent.login(user)["errno"] == 0
    friend.done(m.ONE_CHAT, toid=user, msg="hi")
    assert silent.hear()["msgid"] == m.ONE_CHAT


def test_another_client_of_the_account_changes_what_is_known(wild: Server, friend: Modern) -> None:
    client = Classic(wild.port, numbering="course").join_in()
    until(lambda: stored(wild, client.id) == "course", "the numbering is stored")
    client.close()
    other = again(wild, client.id, numbering="notes")
    other.say(m.ONE_CHAT, toid=friend.id, msg="as the notes number it")
    assert friend.push(m.ONE_CHAT)["id"] == client.id
    friend.done(m.ONE_CHAT, toid=client.id, msg="hi")
    assert other.hear()["msgid"] == m.ONE_CHAT
    until(lambda: stored(wild, client.id) == "notes", "the change is stored")


def test_a_broken_frame_is_not_taken_for_the_other_numbering(wild: Server, friend: Modern) -> None:
    """A broken frame does not count as a valid one of the other numbering.

    In the course's numbering, a group chat without its text would be a join, and this logout a chat.
    """
    client = Classic(wild.port).join_in()
    group = friend.done(m.CREATE_GROUP, groupname="open")["groupid"]
    for msgid, fields in ((m.GROUP_CHAT, {"groupid": group}), (m.LOGINOUT, {"groupid": group, "msg": "x"})):
        client.say(msgid, **fields)
        client.say(m.ONE_CHAT, toid=friend.id, msg="still here")
        assert friend.push(m.ONE_CHAT)["msg"] == "still here"
    assert [user["id"] for user in friend.done(m.GROUPS, op="members", groupid=group)["users"]] == [friend.id]


def test_a_modern_session_leaves_no_numbering(wild: Server, friend: Modern) -> None:
    friend.done(m.ADD_GROUP, groupid=friend.done(m.CREATE_GROUP, groupname="g")["groupid"])
    assert stored(wild, friend.id) is None


def test_a_numbering_of_ones_own(wild: Server, friend: Modern) -> None:
    client = Classic(wild.port, numbering="course")
    client.numbering = MINE_IDS
    client.join_in()
    friend.done(m.ONE_CHAT, toid=client.id, msg="hi")
    assert client.hear()["msgid"] == m.ONE_CHAT
    client.say(m.ONE_CHAT, toid=friend.id, msg="hi yourself")
    assert friend.push(m.ONE_CHAT)["msg"] == "hi yourself"
    client.say(m.LOGINOUT)
    assert client.login()["errno"] == 0
    assert stored(wild, client.id) == "mine"


# Names of fields.


def test_common_names_in_what_clients_send(wild: Server, friend: Modern) -> None:
    client = Classic(wild.port)

    def say(**fields: Any) -> None:
        client.send(orjson.dumps(fields) + b"\0")

    say(msgId=3, username=(name := new_name()), passwd=PASSWORD)
    user = client.hear()["id"]
    say(msgId=1, userid=user, pwd=PASSWORD)
    assert client.hear()["name"] == name
    say(msgId=5, userid=1, toId=friend.id, message="hi")
    heard = friend.push(m.ONE_CHAT)
    assert (heard["msg"], heard["id"], heard["userid"]) == ("hi", user, 1)
    say(msgId=6, userid=user, friendId=friend.id)
    assert friend.push(m.EVENT, kind="friend_added")["id"] == user
    modern = Modern(wild.port)
    assert modern.ask(m.LOGIN, userid=user, passwd=PASSWORD)["errno"] == 3


def test_a_profile_of_ones_own() -> None:
    with Server("-w", "1", config=UNLIMITED + "[classic]\nprofile = 'mine'\n" + PROFILE) as server:
        friend, client = Modern(server.port).join_in(), Wire(server.port)

        def heard() -> dict[str, Any]:
            frame = client.frame()
            assert len(frame) == PADDED_SIZE
            message: dict[str, Any] = orjson.loads(frame[:-1])
            assert message["msgId"] == message["msgid"]
            return heard() if message["msgid"] == m.CLASSIC_PROBE else message

        def ask(**fields: Any) -> dict[str, Any]:
            client.send(orjson.dumps(fields) + b"\0")
            return heard()

        assert ask(msgid=3, name=friend.name, password="x")["error"] == 1
        registered = ask(msgid=3, name=(name := new_name()), passwd=PASSWORD)
        user = registered["userid"]
        assert registered == {"msgid": 4, "msgId": 4, "error": 0, "userid": user}
        friend.done(m.ONE_CHAT, toid=user, msg="hi")
        group = friend.done(m.CREATE_GROUP, groupname="g")["groupid"]
        assert ask(msgid=1, userid=user, passwd="wrong")["error"] == 1
        answer = ask(msgid=1, userid=user, passwd=PASSWORD)
        assert {*answer} == {"msgid", "msgId", "error", "userid", "name", "offlineMsg"}
        [missed] = map(orjson.loads, answer["offlineMsg"])
        assert (missed["userid"], missed["msg"], missed["message"]) == (friend.id, "hi", "hi")
        for frame in ({"msgid": 6, "friendid": friend.id}, {"msgid": 8, "groupid": group}, {"msgid": 10}):
            client.send(orjson.dumps(frame) + b"\0")
        answer = ask(msgid=1, name=name, passwd=PASSWORD)
        assert [orjson.loads(each)["userid"] for each in answer["friendlist"]] == [friend.id]
        [dumped] = map(orjson.loads, answer["group"])
        assert {orjson.loads(each)["userid"] for each in dumped["members"]} == {friend.id, user}
        friend.done(m.ONE_CHAT, toid=user, msg="长" * 1000)
        texts = ""
        while len(texts) < 1000:
            live = heard()
            assert (live["userid"], live["message"]) == (friend.id, live["msg"])
            texts += live["msg"]
        assert texts == "长" * 1000
        other = Wire(server.port)
        other.send(orjson.dumps({"msgid": 1, "userid": user, "passwd": PASSWORD}) + b"\0")
        assert orjson.loads(other.frame()[:-1])["error"] == 2
        assert orjson.loads(client.frame()[:-1]) == {"msgid": 99, "msgId": 99}


def test_the_notes_authors_client() -> None:
    """The author's client reads `error`. The same server serves a client that reads `errno`."""
    with Server("-w", "1", config=UNLIMITED + "[classic]\nprofile = 'author'\n") as server:
        client = Classic(server.port)
        assert client.ask(m.REG, name="author", password=PASSWORD) == {
            "msgid": 4,
            "errno": 0,
            "error": 0,
            "id": 1,
        }
        wrong = client.login(1, "wrong")
        assert (wrong["error"], wrong["errormsg"]) == (wrong["errno"], wrong["errmsg"])
        assert client.login(1) == {"msgid": 2, "errno": 0, "error": 0, "id": 1, "name": "author"}
        client.say(m.ONE_CHAT, to=1, msg="to oneself, which has no effect")
        other = Classic(server.port).join_in()
        client.say(m.ONE_CHAT, to=other.id, msg="as the notes have it")
        assert other.hear()["msg"] == "as the notes have it"
