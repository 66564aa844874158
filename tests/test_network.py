"""Hosts on machines of their own (network namespaces), and what happens when a host is cut off."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from forkchat.wire import msgid as m
from tests.cluster import HOSTS
from tests.faults.world import World
from tests.server import until
from tests.talk import PASSWORD, Modern

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces are made by root alone")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A cluster whose clients connect to the hosts directly, not through nginx."""
    with World() as world:
        until(lambda: all(world.log(host).count("roster.told") == 2 for host in HOSTS), "all has been told")
        yield world
        assert not any("Traceback" in world.log(host) for host in HOSTS)


def at(world: World, machine: str) -> Modern:
    return Modern(world.host_port, host=world.network.address(machine, "inside"))


@pytest.fixture
def li(world: World) -> Modern:
    """A user on host a, which the tests cut off."""
    return at(world, "a").arrive()


@pytest.fixture
def bo(world: World, li: Modern) -> Modern:
    """A user on host b, who is a friend of li's."""
    bo = at(world, "b").arrive()
    assert bo.done(m.ADD_FRIEND, friendid=li.id)["state"] == "online"
    return bo


def tell(sender: Modern, recipient: Modern, text: str) -> float:
    """Send a message, wait until it is acknowledged and heard, and return the seconds that this took."""
    began = time.monotonic()
    sender.done(m.ONE_CHAT, toid=recipient.id, msg=text, cid=text)
    assert recipient.push(m.ONE_CHAT)["msg"] == text
    return time.monotonic() - began


def nothing_twice(*clients: Modern) -> None:
    for client in clients:
        assert [each for each in client.pushed() if each["msgid"] == m.ONE_CHAT] == []


def test_hosts_that_listen_alike_on_machines_called_alike(world: World) -> None:
    def found(pattern: str) -> list[str]:
        return [each for host in HOSTS for each in re.findall(pattern, world.log(host))]

    until(lambda: len(set(found(r"worker\.start lease=(\S+)"))) == 4, "four workers, none called as another")
    names = found(r"master\.start .*host=(\S+)~")
    assert len(names) == 2 and names[0] == names[1]
    assert not found("lease.cleared")


def test_people_on_two_machines_talk(li: Modern, bo: Modern) -> None:
    tell(li, bo, "hi")
    tell(bo, li, "hi!")
    group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    bo.done(m.ADD_GROUP, groupid=group)
    for sender, hearer in ((li, bo), (bo, li)):
        sender.done(m.GROUP_CHAT, groupid=group, msg="lunch?", cid="1")
        assert hearer.push(m.GROUP_CHAT)["msg"] == "lunch?"


def test_cut_off_from_redis(world: World, li: Modern, bo: Modern) -> None:
    """Users still talk, by way of MySQL and up to 2 s later.

    Users on the other host see the users of the cut-off host as offline.
    """
    with world.network.without("a", "redis"):
        for n in range(3):
            tell(li, bo, f"from a, {n}")
            tell(bo, li, f"to a, {n}")
        assert bo.push(m.PRESENCE, id=li.id)["state"] == "offline"
        newcomer = at(world, "a")
        answer = newcomer.login(name=li.name, password=PASSWORD)
        assert (answer["errno"], answer["code"]) == (11, "unavailable")
        assert answer["retry_after"] > 0
    assert bo.push(m.PRESENCE, id=li.id)["state"] == "online"
    tell(li, bo, "back")
    tell(bo, li, "welcome back")
    nothing_twice(li, bo)


def test_whoever_logged_in_elsewhere_meanwhile_is_replaced_where_they_were(
    world: World, li: Modern, bo: Modern
) -> None:
    with world.network.without("a", "redis"):
        assert bo.push(m.PRESENCE, id=li.id)["state"] == "offline"
        again = at(world, "b")
        assert again.login(name=li.name, password=PASSWORD)["errno"] == 0
        tell(bo, again, "there you are")
    assert li.push(m.BYE)["reason"] == "replaced"
    tell(again, bo, "and here I stay")


def test_cut_off_from_mysql(world: World, li: Modern, bo: Modern) -> None:
    """Users of the cut-off host hear other users, but their own requests are answered `unavailable`.

    A message that they then send again is stored once.
    """
    tell(li, bo, "before")
    with world.network.without("a", "mysql"):
        lost = {"toid": bo.id, "msg": "lost?", "cid": "lost?"}
        answer = li.ask(m.ONE_CHAT, **lost)
        assert (answer["errno"], answer["code"]) == (11, "unavailable")
        assert answer["retry_after"] > 0
        tell(bo, li, "do you hear me?")
        assert [each for each in bo.pushed() if each["msgid"] == m.PRESENCE] == []
    li.done(m.ONE_CHAT, **lost)
    assert bo.push(m.ONE_CHAT)["msg"] == "lost?"
    tell(bo, li, "now I do")
    nothing_twice(li, bo)
