"""Membership that changes at every await of a login and of a join, and while a worker is stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import NamedTuple

import pytest
import redis

from forkchat.process.embedded import run_dir
from forkchat.wire import msgid as m
from tests.pausing import Pauses, pausing_server
from tests.server import Server, until
from tests.talk import PASSWORD, Message, Modern, elsewhere, worker_of


class Place(NamedTuple):
    server: Server
    pauses: Pauses


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with pausing_server() as (server, pauses):
        yield Place(server, pauses)


class Room:
    """A group of li (its creator), bo and cy. Tests put bo on another worker than li where it matters."""

    def __init__(self, place: Place):
        self.server = place.server
        self.li = Modern(self.server.port).join_in()
        self.bo, self.cy = (Modern(self.server.port).join_in() for _ in range(2))
        self.group: int = self.li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
        self.conv = f"g{self.group}"
        for each in (self.bo, self.cy):
            each.done(m.ADD_GROUP, groupid=self.group)

    def say(self, text: str) -> int:
        return int(self.li.done(m.GROUP_CHAT, groupid=self.group, msg=text, cid=text)["seq"])

    def remove_bo(self) -> None:
        self.li.done(m.GROUPS, op="remove", groupid=self.group, id=self.bo.id)

    def readmit_bo(self) -> None:
        self.li.done(m.GROUPS, op="readmit", groupid=self.group, id=self.bo.id)

    def leave_bo_offline(self) -> None:
        self.bo.done(m.LOGINOUT)
        self.bo.close()

    def expect_bo_is_out(self, bo: Modern, after: str) -> None:
        """Check that bo hears nothing from now on, and is not heard."""
        self.say(after)
        self.cy.push(m.GROUP_CHAT, msg=after)
        self.li.done(m.GROUP_CHAT, groupid=self.group, msg=f"{after}, quietly", ephemeral=True)
        self.cy.push(m.GROUP_CHAT, msg=f"{after}, quietly")
        assert _texts(bo.pushed(), self.conv) == []
        for msgid, fields in (
            (m.GROUP_CHAT, {"groupid": self.group, "msg": "still here?", "cid": f"bo {after}"}),
            (m.GROUP_CHAT, {"groupid": self.group, "msg": "still here?", "ephemeral": True}),
            (m.TYPING, {"conv": self.conv}),
            (m.FETCH, {"conv": self.conv}),
        ):
            assert bo.ask(msgid, **fields)["errno"] == 10, (after, msgid)
        assert "still here?" not in _texts(self.cy.pushed(), self.conv)


def _texts(pushed: list[Message], conv: str) -> list[str]:
    return [each["msg"] for each in pushed if each["msgid"] == m.GROUP_CHAT and each["conv"] == conv]


@pytest.mark.parametrize("comes_back", [False, True], ids=["out", "back"])
def test_removal_at_every_await_of_a_login(place: Place, comes_back: bool) -> None:
    """A user is removed while a login reads and follows the groups.

    In the second case, another session of the user joins the group again meanwhile.
    """
    room, places = Room(place), 0
    for number in count(1):
        room.say(f"before {number}")
        room.leave_bo_offline()
        place.pauses.ask(number)
        bo = elsewhere(place.server, room.li, lambda: Modern(place.server.port))
        bo.id, bo.name = room.bo.id, room.bo.name
        login = bo.say(m.LOGIN, name=room.bo.name, password=PASSWORD)
        if not place.pauses.wait_stopped(partial(bo.has_answer, login)):
            break
        places += 1
        room.remove_bo()
        room.say(f"secret {number}")
        if comes_back:
            room.readmit_bo()
            other = elsewhere(place.server, bo, lambda: Modern(place.server.port))
            assert other.login(name=room.bo.name, password=PASSWORD, takeover=True)["errno"] in (0, 2, 11)
            other.ask(m.ADD_GROUP, groupid=room.group)
            place.pauses.go.touch()
            assert bo.answer(login)["errno"] in (0, 2, 11)
            bo.close()
            other.close()
            bo = _again(room, place)
            bo.done(m.ADD_GROUP, groupid=room.group)
            room.say(f"welcome {number}")
            bo.push(m.GROUP_CHAT, msg=f"welcome {number}")
            fetched = [each["msg"] for each in bo.done(m.FETCH, conv=room.conv)["msgs"]]
            assert f"secret {number}" not in fetched
        else:
            place.pauses.go.touch()
            answer = bo.answer(login)
            assert answer["errno"] == 0, (number, answer)
            room.expect_bo_is_out(bo, f"after {number}")
            room.readmit_bo()
            bo.done(m.ADD_GROUP, groupid=room.group)
        room.bo = bo
    assert places >= 8, "the log-in has as many awaits"


def _again(room: Room, place: Place) -> Modern:
    bo = Modern(place.server.port)
    until(
        lambda: bo.login(name=room.bo.name, password=PASSWORD, takeover=True)["errno"] == 0,
        "bo logs in again",
    )
    return bo


def test_removal_at_every_await_of_a_join(place: Place) -> None:
    room, places = Room(place), 0
    room.bo = elsewhere(place.server, room.li, lambda: Modern(place.server.port)).join_in()
    for number in count(1):
        place.pauses.ask(number)
        join = room.bo.say(m.ADD_GROUP, groupid=room.group)
        if not place.pauses.wait_stopped(partial(room.bo.has_answer, join)):
            break
        places += 1
        removal = room.li.ask(m.GROUPS, op="remove", groupid=room.group, id=room.bo.id)
        assert removal["errno"] == 0, (number, removal)
        room.say(f"secret {number}")
        place.pauses.go.touch()
        room.bo.answer(join)
        room.expect_bo_is_out(room.bo, f"after {number}")
        room.readmit_bo()
    assert places >= 2, "the join has as many awaits"
    room.say("welcome")
    room.bo.push(m.GROUP_CHAT, msg="welcome")


@pytest.mark.parametrize("how", ["remove", "leave and come back"])
def test_removal_while_the_worker_is_stopped(place: Place, how: str) -> None:
    """A worker that continues finds the removal, later messages and the member's own frames at once."""
    room = Room(place)
    room.bo = elsewhere(place.server, room.li, lambda: Modern(place.server.port)).join_in()
    room.cy = elsewhere(place.server, room.li, lambda: Modern(place.server.port), is_same=True).join_in()
    for each in (room.bo, room.cy):
        each.done(m.ADD_GROUP, groupid=room.group)
    room.say("before")
    room.bo.push(m.GROUP_CHAT, msg="before")
    slot = int(worker_of(place.server, room.bo).removeprefix("worker"))
    os.kill(place.server.workers()[slot], signal.SIGSTOP)
    try:
        room.remove_bo()
        room.say("secret")
        if how == "remove":
            quiet = room.bo.say(m.GROUP_CHAT, groupid=room.group, msg="still here?", ephemeral=True)
            typing = room.bo.say(m.TYPING, conv=room.conv)
        else:
            room.readmit_bo()
            join = room.bo.say(m.ADD_GROUP, groupid=room.group)
    finally:
        os.kill(place.server.workers()[slot], signal.SIGCONT)
    if how == "remove":
        for rid in (quiet, typing):  # accepted or refused: no member is shown it
            room.bo.answer(rid)
        assert "secret" not in _texts(room.bo.pushed(), room.conv)
        pushed = room.cy.pushed()
        assert "still here?" not in _texts(pushed, room.conv)
        assert not [each for each in pushed if each["msgid"] == m.TYPING]
        room.expect_bo_is_out(room.bo, "after")
    else:
        assert room.bo.answer(join)["errno"] == 0
        room.say("welcome")
        room.bo.push(m.GROUP_CHAT, msg="welcome")
        assert "secret" not in _texts(room.bo.pushed(), room.conv)


def test_overlapping_logins_give_back_what_they_hold(place: Place) -> None:
    """The last of several overlapping logins of a user has the session.

    No worker holds a channel for the others.
    """
    room = Room(place)
    room.leave_bo_offline()
    people = [Modern(place.server.port) for _ in range(8)]
    rids = [each.say(m.LOGIN, name=room.bo.name, password=PASSWORD, takeover=True) for each in people]
    answers = [each.answer(rid)["errno"] for each, rid in zip(people, rids, strict=True)]
    assert 0 in answers
    bo = _again(room, place)
    room.say("hi")
    bo.push(m.GROUP_CHAT, msg="hi")
    bo.done(m.LOGINOUT)
    for each in (*people, bo, room.li, room.cy):
        each.close()
    client = _redis(place.server)
    names = [f"u{room.bo.id}", room.conv]
    until(lambda: not any(n for _, n in client.pubsub_numsub(*names)), "no worker is subscribed any more", 30)


def _redis(server: Server) -> redis.Redis:
    return redis.Redis.from_url(f"unix://{run_dir(server.data_dir) / 'redis.sock'}")
