"""Hosts on machines of their own (network namespaces), and what it is like when one of them is cut off."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from forkchat.wire import msgid as m
from tests.checker import talk_under
from tests.network import MYSQL_URL, REDIS_URL, Network, address, data_services
from tests.server import Server
from tests.talk import PASSWORD, UNLIMITED, Modern

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="network namespaces are made by root alone")

PORT = 6000


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """With MySQL and Redis; the tests are where the people are."""
    with Network() as network, data_services(network), network.at("people"):
        yield network


@pytest.fixture(scope="module")
def hosts(network: Network) -> Iterator[dict[str, Server]]:
    urls = {"FORKCHAT_MYSQL_URL": MYSQL_URL, "FORKCHAT_REDIS_URL": REDIS_URL}
    flags = ("-b", "0.0.0.0", "-p", str(PORT), "-w", "2")
    with ExitStack() as stack:
        hosts = {
            name: Server(*flags, config=UNLIMITED, env=urls, namespace=network.namespace(name))
            for name in ("a", "b")
        }
        for host in hosts.values():
            stack.enter_context(host)
        yield hosts
        assert not any("Traceback" in host.log() for host in hosts.values())


@pytest.fixture
def li(hosts: dict[str, Server]) -> Modern:
    """On host a, which is the one to be cut off."""
    return Modern(PORT, host=address("a")).join_in()


@pytest.fixture
def bo(hosts: dict[str, Server], li: Modern) -> Modern:
    """On host b, a friend of li's."""
    bo = Modern(PORT, host=address("b")).join_in()
    assert bo.done(m.ADD_FRIEND, friendid=li.id)["state"] == "online"
    return bo


def tell(sender: Modern, recipient: Modern, text: str) -> float:
    """Say it, acknowledged, and heard once; seconds until then."""
    began = time.monotonic()
    sender.done(m.ONE_CHAT, toid=recipient.id, msg=text, cid=text)
    assert recipient.push(m.ONE_CHAT)["msg"] == text
    return time.monotonic() - began


def nothing_twice(*clients: Modern) -> None:
    for client in clients:
        assert [each for each in client.pushed() if each["msgid"] == m.ONE_CHAT] == []


def test_hosts_that_listen_alike_on_machines_called_alike(hosts: dict[str, Server]) -> None:
    names = [re.search(r"master\.start .*host=(\S+)~", host.log()) for host in hosts.values()]
    leases = [set(re.findall(r"worker\.start lease=(\S+)", host.log())) for host in hosts.values()]
    assert names[0] and names[1] and names[0][1] == names[1][1]
    assert len(leases[0] | leases[1]) == 4
    assert not any("lease.cleared" in host.log() for host in hosts.values())


def test_people_on_two_machines_talk(li: Modern, bo: Modern) -> None:
    tell(li, bo, "hi")
    tell(bo, li, "hi!")
    group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    bo.done(m.ADD_GROUP, groupid=group)
    for sender, hearer in ((li, bo), (bo, li)):
        sender.done(m.GROUP_CHAT, groupid=group, msg="lunch?", cid="1")
        assert hearer.push(m.GROUP_CHAT)["msg"] == "lunch?"


def test_cut_off_from_redis(network: Network, li: Modern, bo: Modern) -> None:
    """They talk on, by way of MySQL and up to 2 s later; to the others the host's users are offline."""
    with network.without("a", "redis"):
        for n in range(3):
            tell(li, bo, f"from a, {n}")
            tell(bo, li, f"to a, {n}")
        assert bo.push(m.PRESENCE, id=li.id)["state"] == "offline"
        newcomer = Modern(PORT, host=address("a"))
        answer = newcomer.login(name=li.name, password=PASSWORD)
        assert (answer["errno"], answer["code"]) == (11, "unavailable")
        assert answer["retry_after"] > 0
    assert bo.push(m.PRESENCE, id=li.id)["state"] == "online"
    tell(li, bo, "back")
    tell(bo, li, "welcome back")
    nothing_twice(li, bo)


def test_whoever_logged_in_elsewhere_meanwhile_is_replaced_where_they_were(
    network: Network, li: Modern, bo: Modern
) -> None:
    with network.without("a", "redis"):
        assert bo.push(m.PRESENCE, id=li.id)["state"] == "offline"
        again = Modern(PORT, host=address("b"))
        assert again.login(name=li.name, password=PASSWORD)["errno"] == 0
        tell(bo, again, "there you are")
    assert li.push(m.BYE)["reason"] == "replaced"
    tell(again, bo, "and here I stay")


def test_cut_off_from_mysql(network: Network, li: Modern, bo: Modern) -> None:
    """Its users hear the others, and are told to try again; what they then send again is stored once."""
    tell(li, bo, "before")
    with network.without("a", "mysql"):
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


def test_cuts_lose_nothing(network: Network, hosts: dict[str, Server]) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    async def strike() -> None:
        machine, side = random.choice("ab"), random.choice(["redis", "mysql"])
        seconds = random.uniform(2, 8)
        print(f"{machine} without {side} for {seconds:.1f} s")
        with network.without(machine, side):
            await asyncio.sleep(seconds)

    both = (address("a"), address("b"))
    assert asyncio.run(talk_under(PORT, "cut", seed, strike, strikes=2, pause=1.5, hosts=both)) > 500
