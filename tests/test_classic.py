"""Classic clients, written for the original server, work unchanged. Its dialogues match byte for byte."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from forkchat.wire import msgid as m
from forkchat.wire.frames import PADDED_SIZE
from tests.server import Server, until
from tests.talk import PASSWORD, UNLIMITED, Classic, Message, Modern, elsewhere, new_name

TRANSCRIPTS = Path(__file__).parent / "transcripts"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
ENDS = {"NUL": b"\0", "LF": b"\n", "nothing": b""}


#: Passwords may be short, because those of the recorded dialogues are.
LAX = f"{UNLIMITED}[passwords]\nminimum = 1\nrefuse_common = false\nmemory = 1024\ntime = 1\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "4", config=LAX) as server:
        yield server


@pytest.fixture(scope="module")
def course_server() -> Iterator[Server]:
    with Server("-w", "4", config=f"{LAX}[classic]\nnumbering = 'course'\n") as server:
        yield server


@pytest.fixture(scope="module")
def friend(server: Server) -> Modern:
    """A modern user with whom the classic clients talk."""
    return Modern(server.port).join_in(new_name("friend"))


@pytest.fixture(params=["notes", "course", "course, fixed"])
def numbered(request: pytest.FixtureRequest) -> tuple[Server, str]:
    """A server, and the numbering of its classic clients, which the server detects or has configured."""
    numbering, _, is_fixed = request.param.partition(",")
    return request.getfixturevalue("course_server" if is_fixed else "server"), numbering


# Recorded dialogues.


class Play:
    """Replay of a transcript: it sends the recorded requests, and compares the frames that come."""

    def __init__(self, server: Server, numbering: str):
        self._server = server
        self._numbering = numbering
        self._actors: dict[str, Classic] = {}
        self._online: set[str] = set()
        self._witness = Modern(server.port).join_in("witness-" + secrets.token_hex(4))
        run = secrets.token_hex(2)
        self._values = {f"{who}.name": f"{who}-{run}" for who in ("alice", "bob", "group")}

    def act(self, lines: list[tuple[str, str, str]]) -> None:
        for (who, direction, text), (next_who, next_direction, _) in zip(
            lines, [*lines[1:], ("", "", "")], strict=True
        ):
            if direction == "<":
                self._hear(who, text)
                continue
            self._actor(who).send(self._filled(text) + b"\0")
            if self._logs_out(text):
                self._online.discard(who)
            if (next_who, next_direction) != (who, "<"):
                self._settle(who)
        for who in self._online:  # check that nothing else came
            self._witness.done(m.ONE_CHAT, toid=int(self._values[f"{who.strip('2')}.id"]), msg="the end")
            assert self._actors[who].hear()["msg"] == "the end"

    def _actor(self, who: str) -> Classic:
        """Return the client of `who`. All others are on another worker than alice."""

        def connect() -> Classic:
            return Classic(self._server.port, numbering=self._numbering)

        if who not in self._actors:
            alice = self._actors.get("alice")
            self._actors[who] = elsewhere(self._server, alice, connect) if alice else connect()
        return self._actors[who]

    def _filled(self, text: str) -> bytes:
        return re.sub(r"<([\w.]+)>", lambda match: self._values[match[1]], text).encode()

    def _hear(self, who: str, text: str) -> None:
        """Check that the next frame except probes is `text`. Keep the values that are new in it."""
        frame = self._actor(who).frame()
        while frame == b'{"msgid":99}'.ljust(PADDED_SIZE - 1) + b"\0":
            frame = self._actor(who).frame()
        new: list[str] = []

        def pattern(match: re.Match[str]) -> str:
            name = match[1].replace(r"\.", ".")
            if name == "time":
                return TIME
            if name in self._values:
                return re.escape(self._values[name])
            if name in new:
                return rf"(?P={name.replace('.', '_')})"
            new.append(name)
            return rf"(?P<{name.replace('.', '_')}>[1-9]\d*)"

        json = re.sub(r"<([\w.\\]+)>", pattern, re.escape(text))
        found = re.fullmatch(f"{json} *\0", frame.decode())
        assert found, f"{who} heard:\n{frame.decode()!r}\nnot:\n{text!r}"
        assert len(frame) == PADDED_SIZE
        self._values |= {name: found[name.replace(".", "_")] for name in new}
        if re.search(r'"errno":0.*"msgid":2,', text):
            self._online.add(who)

    def _logs_out(self, text: str) -> bool:
        return f'"msgid":{3 if self._numbering == "course" else 10}}}' in text

    def _settle(self, who: str) -> None:
        """Wait until the last request of `who` is handled, by sending another that has a visible effect.

        The last request itself has no answer.
        """
        actor = self._actors[who]
        if who in self._online:
            word = secrets.token_hex(4)
            actor.say(m.ONE_CHAT, toid=self._witness.id, msg=word)
            self._witness.push(m.ONE_CHAT, msg=word)
        else:
            assert actor.login(self._witness.id, "wrong")["errno"] == 1


def test_recorded_dialogue(numbered: tuple[Server, str]) -> None:
    server, numbering = numbered
    text = (TRANSCRIPTS / f"{numbering}.txt").read_text()
    lines = re.findall(r"^(\w+) ([<>]) (.*)$", text, re.MULTILINE)
    assert len(lines) > 30
    Play(server, numbering).act(lines)


# Framing.


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_byte_by_byte(server: Server, end: bytes) -> None:
    client = Classic(server.port, end)

    def dribble(msgid: int, **fields: object) -> None:
        for byte in client.encode(msgid, **fields):
            client.send(bytes([byte]))

    dribble(m.REG, name=new_name(), password=PASSWORD)
    user = client.hear()["id"]
    dribble(m.LOGIN, id=user, password=PASSWORD)
    assert client.hear()["id"] == user


@pytest.mark.parametrize("end", [b"\0", b"\n"], ids=["NUL", "LF"])
def test_coalesced(server: Server, friend: Modern, end: bytes) -> None:
    """Each request of one write sees the effects of the requests before it."""
    client, name = Classic(server.port, end), new_name()
    frames = [
        client.encode(m.REG, name=name, password=PASSWORD),
        client.encode(m.LOGIN, name=name, password=PASSWORD),
        client.encode(m.ADD_FRIEND, friendid=friend.id),
        client.encode(m.CREATE_GROUP, groupname="g", groupdesc="d"),
        *(client.encode(m.ONE_CHAT, toid=friend.id, msg=str(n)) for n in range(20)),
        client.encode(m.LOGINOUT),
        client.encode(m.LOGIN, name=name, password=PASSWORD),
    ]
    client.send(end.join([b"", *frames]))  # with empty frames between them
    assert client.hear()["msgid"] == m.REG_ACK
    assert client.hear()["errno"] == 0
    assert [friend.push(m.ONE_CHAT)["msg"] for _ in range(20)] == [str(n) for n in range(20)]
    again = client.hear()
    assert (again["errno"], len(again["friends"]), len(again["groups"])) == (0, 1, 1)


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_answers_are_framed_as_the_peer_frames(server: Server, friend: Modern, end: bytes) -> None:
    """A long text is one line, or parts of 1024 bytes. `Classic.hear` checks every byte."""
    client, text = Classic(server.port, end).join_in(), '你好 "ok" 😀 ' * 200
    friend.done(m.ONE_CHAT, toid=client.id, msg=text)
    heard = [client.hear()]
    while sum(len(each["msg"]) for each in heard) < len(text):
        heard.append(client.hear())
    assert "".join(each["msg"] for each in heard) == text
    assert (len(heard) == 1) is (end == b"\n")
    friend.done(m.ONE_CHAT, toid=client.id, msg="short")
    assert client.hear()["msg"] == "short"


def test_first_delimiter_decides(server: Server) -> None:
    client = Classic(server.port, b"\0").join_in()
    client.send(client.encode(m.LOGINOUT)[:-1] + b"\n")
    assert client.login()["errno"] == 0


# Sessions.


def test_login_again_on_the_same_connection(server: Server) -> None:
    client = Classic(server.port).join_in()
    for _ in range(2):
        client.say(m.LOGINOUT, id=client.id)
        assert client.login() == {"msgid": m.LOGIN_ACK, "errno": 0, "id": client.id, "name": client.name}
    other = Classic(server.port).register()
    client.say(m.LOGINOUT, id=client.id)
    assert client.login(other.id)["name"] == other.name


def test_login_by_name(server: Server) -> None:
    client = Classic(server.port).register("李 明" + secrets.token_hex(4))
    assert client.ask(m.LOGIN, name=client.name, password=PASSWORD)["id"] == client.id


def test_second_login_is_refused_while_the_first_lives(server: Server, friend: Modern) -> None:
    first = Classic(server.port).join_in()
    for port in range(2):  # on any worker, then on another one than the first client's
        second = elsewhere(server, first, lambda: Classic(server.port)) if port else Classic(server.port)
        assert second.login(first.id)["errno"] == 2
    friend.done(m.ONE_CHAT, toid=first.id, msg="still there?")
    assert first.hear()["msg"] == "still there?"
    first.say(m.LOGINOUT, id=first.id)
    assert first.login(friend.id, "wrong")["errno"] == 1  # the logout has been handled
    assert second.login(first.id)["errno"] == 0


def test_session_ends_with_its_connection(server: Server) -> None:
    first = Classic(server.port).join_in()
    first.close()
    second = Classic(server.port)
    until(lambda: second.login(first.id)["errno"] == 0, "the first session is over")


# Messages.


def test_what_a_client_claims_is_not_believed(server: Server) -> None:
    alice, bob = Classic(server.port).join_in(), Classic(server.port).join_in()
    alice.say(
        m.ONE_CHAT, id=1, name="root", toid=bob.id, msg="hi", time="never", msgtype=3, nested={"a": [1]}
    )
    heard = bob.hear()
    assert re.fullmatch(TIME, heard.pop("time"))
    assert heard == {
        "msgid": m.ONE_CHAT,
        "id": alice.id,
        "name": alice.name,
        "toid": bob.id,
        "msg": "hi",
        "msgtype": 3,
        "nested": {"a": [1]},
    }
    alice.say(m.ONE_CHAT, to=bob.id, msg="as the notes have it")
    assert bob.hear()["toid"] == bob.id


def test_group(server: Server, friend: Modern) -> None:
    """Every other member gets a group message, in the member's own framing. Sender and strangers do not."""
    people = [Classic(server.port, end).join_in() for end in (b"\0", b"\n", b"\0", b"\n")]
    alice, bob, carol, stranger = people
    alice.say(m.CREATE_GROUP, groupname="ops", groupdesc="a group")
    alice.say(m.LOGINOUT)
    [group] = alice.login()["groups"]
    assert group == {
        "id": group["id"],
        "groupname": "ops",
        "groupdesc": "a group",
        "users": [{"id": alice.id, "name": alice.name, "state": "online", "role": "creator"}],
    }
    for each in (bob, carol):
        each.say(m.ADD_GROUP, groupid=group["id"])
        each.say(m.ONE_CHAT, toid=friend.id, msg="joined")
        assert friend.push(m.ONE_CHAT)["id"] == each.id
    friend.done(m.ADD_GROUP, groupid=group["id"])

    alice.say(m.GROUP_CHAT, groupid=group["id"], msg="hi all")
    seen = friend.push(m.GROUP_CHAT)
    assert (seen["conv"], seen["seq"], seen["msg"]) == (f"g{group['id']}", 1, "hi all")
    for each in (bob, carol):
        heard = each.hear()
        del heard["time"]
        assert heard == {
            "msgid": m.GROUP_CHAT,
            "id": alice.id,
            "name": alice.name,
            "groupid": group["id"],
            "msg": "hi all",
        }
    for each in (alice, stranger):
        friend.done(m.ONE_CHAT, toid=each.id, msg="only this")
        assert each.hear()["msg"] == "only this"


# Missed messages.


def shown(answer: Message, client: Classic, count: int) -> list[str]:
    """Return the texts of `count` missed messages, in the login answer and after it."""
    inside = [each["msg"] for each in answer.get("offlinemsg", [])]
    return inside + [client.hear()["msg"] for _ in range(count - len(inside))]


@pytest.mark.parametrize("end", [b"\0", b"\n"], ids=["NUL", "LF"])
@pytest.mark.parametrize("is_crash", [False, True], ids=["logout", "crash"])
def test_missed_messages_come_in_order_once(
    server: Server, friend: Modern, end: bytes, is_crash: bool
) -> None:
    bob = Classic(server.port, end).register()
    group = friend.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    assert bob.login()["errno"] == 0
    bob.say(m.ADD_GROUP, groupid=group)

    def leave() -> Classic:
        """End bob's session. Return the client for bob's next login."""
        if not is_crash:
            bob.say(m.LOGINOUT, id=bob.id)
            return bob
        bob.close()
        client = Classic(server.port, end)
        client.id = bob.id
        return client

    bob = leave()
    assert bob.login(friend.id, "wrong")["errno"] == 1  # bob's earlier requests have been handled
    for n in range(15):
        friend.done(m.ONE_CHAT, toid=bob.id, msg=f'{n} it\'s "ok"')
        friend.done(m.GROUP_CHAT, groupid=group, msg=f"{n} 你好")
    answer = until(lambda: (found := bob.login())["errno"] == 0 and found, "bob is back")
    texts = shown(answer, bob, 30)
    assert [text for text in texts if text.endswith('ok"')] == [f'{n} it\'s "ok"' for n in range(15)]
    assert [text for text in texts if text.endswith("你好")] == [f"{n} 你好" for n in range(15)]

    friend.done(m.ONE_CHAT, toid=bob.id, msg="live")
    assert bob.hear()["msg"] == "live"
    bob = leave()
    answer = until(lambda: (found := bob.login())["errno"] == 0 and found, "bob is back again")
    assert "offlinemsg" not in answer
    friend.done(m.ONE_CHAT, toid=bob.id, msg="the end")
    assert bob.hear()["msg"] == "the end"


def test_hundreds_of_missed_messages_come_as_they_were_said(server: Server, friend: Modern) -> None:
    """Missed messages of several senders come in order, even if there are more than one read returns.

    Only messages of different senders in about the same millisecond may swap.
    """
    bob = Classic(server.port).register()
    said: list[str] = []
    with Modern(server.port) as other:
        other.join_in()
        for n in range(150):
            for sender in (friend, other, friend):
                said.append(f"{sender.name} {n} {len(said)}")
                sender.done(m.ONE_CHAT, toid=bob.id, msg=said[-1])
    texts = shown(bob.login(), bob, len(said))
    assert sorted(texts, key=said.index) == said
    for name in (friend.name, other.name):
        assert [t for t in texts if t.startswith(name)] == [t for t in said if t.startswith(name)]
    assert max(abs(at - said.index(text)) for at, text in enumerate(texts)) < 20  # swaps within a millisecond


def test_a_long_missed_text_and_those_behind_it(server: Server, friend: Modern) -> None:
    bob = Classic(server.port).register()
    for text in ("short", "长" * 2000, "last"):
        friend.done(m.ONE_CHAT, toid=bob.id, msg=text)
    answer = bob.login()
    assert [each["msg"] for each in answer["offlinemsg"]] == ["short"]
    long = ""
    while len(long) < 2000:
        long += bob.hear()["msg"]
    assert long == "长" * 2000
    assert bob.hear()["msg"] == "last"


@pytest.mark.parametrize("end", [b"\0", b"\n"], ids=["NUL", "LF"])
def test_long_login_answer(server: Server, end: bytes) -> None:
    """An answer of 1024 bytes holds the first friends, groups and messages. A line holds all of them."""
    alice = Modern(server.port).join_in("𠀀" * 46 + secrets.token_hex(2))
    bob = Classic(server.port, end).join_in()
    bob.say(m.ADD_FRIEND, friendid=alice.id)
    for n in range(10):
        bob.say(m.CREATE_GROUP, groupname=f"{n}" + "群" * 40, groupdesc="")
    bob.say(m.LOGINOUT)
    assert bob.login(alice.id, "wrong")["errno"] == 1
    for n in range(20):
        alice.done(m.ONE_CHAT, toid=bob.id, msg=f"{n}")
    answer = bob.login()
    assert [each["id"] for each in answer["friends"]] == [alice.id]
    names = [each["groupname"][0] for each in answer["groups"]]
    assert names == [str(n) for n in range(len(names))]
    assert shown(answer, bob, 20) == [f"{n}" for n in range(20)]
    if end == b"\n":
        assert len(names) == 10
        assert len(answer["offlinemsg"]) == 20
        assert all(len(each["users"]) == 1 for each in answer["groups"])
    else:
        assert 0 < len(names) < 10
        assert all(each["users"] == [] for each in answer["groups"])


def test_random_pieces_of_a_whole_session(server: Server, friend: Modern) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    client, name = Classic(server.port), new_name()
    stream = b"".join(
        [
            client.encode(m.REG, name=name, password=PASSWORD),
            client.encode(m.LOGIN, name=name, password=PASSWORD),
            *(client.encode(m.ONE_CHAT, toid=friend.id, msg=f"第{n}") for n in range(30)),
        ]
    )
    while stream:
        size = rng.choice((1, 2, 10, 100, 1000))
        client.send(stream[:size])
        stream = stream[size:]
    assert client.hear()["msgid"] == m.REG_ACK
    assert client.hear()["msgid"] == m.LOGIN_ACK
    assert [friend.push(m.ONE_CHAT)["msg"] for _ in range(30)] == [f"第{n}" for n in range(30)]
