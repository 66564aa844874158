"""Hosts at different nodes of a Galera cluster. Nodes lag, conflict and leave, but nothing is lost."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Barrier, Event

import pytest

from forkchat.config import data_files
from forkchat.store import schema
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.galera import Galera, Node, Unsynced, galera
from tests.replication import Redis
from tests.server import Server, make_data_dir, until
from tests.talk import QUIET, Message, Modern

#: Seconds within which everything works again.
_RECOVERED = 10.0
_UNAVAILABLE = 11
#: Messages of one talker that wait for their acknowledgement, at most.
_IN_FLIGHT = 8
_databases = itertools.count(1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Galera]:
    with galera() as cluster:
        yield cluster


class Site:
    """Hosts at both nodes, with a database and a Redis of their own."""

    def __init__(self, cluster: Galera, stack: ExitStack):
        self.nodes = cluster.nodes
        self.database = f"fc{next(_databases)}"
        directory = make_data_dir()
        stack.callback(shutil.rmtree, directory)
        self.redis = stack.enter_context(Redis(directory))
        self._stack = stack

    def hosts(self) -> list[Server]:
        """Start a host at each node, all at the same moment. Return them when they are ready."""
        hosts = [self.begin(node.url(self.database)) for node in self.nodes]
        for host in hosts:
            host.wait_ready()
        return hosts

    def begin(self, url: str) -> Server:
        """Start a host with its database at `url`, and do not wait until it is ready."""
        flags = "-w", "1", "--redis-url", f"redis://127.0.0.1:{self.redis.port}/0", "--mysql-url", url
        return self._stack.enter_context(Server(*flags, config=QUIET, wait=False))

    def unsynced(self, node: Node) -> Server:
        """Start a host whose reads at the node may be stale."""
        way = self._stack.enter_context(Unsynced(node.port))
        host = self.begin(node.url(self.database, way.port))
        host.wait_ready()
        return host

    def join_in(self, host: Server) -> Modern:
        return self._stack.enter_context(Modern(host.port)).join_in()


@pytest.fixture(scope="module")
def site(cluster: Galera) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(cluster, stack)


@pytest.fixture(scope="module")
def hosts(site: Site) -> list[Server]:
    """A host at each node."""
    return site.hosts()


def epoch(host: Server) -> str:
    with Modern(host.port, greet=False) as client:
        return str(client.done(m.HELLO)["epoch"])


Place = tuple[str, int]  # conversation, number


class Talker:
    """A client that writes to a user and a group, as fast as it gets acknowledgements.

    It retries messages that are answered with `unavailable`.
    """

    def __init__(self, client: Modern, other: Modern, group: int):
        self.client = client
        self.convs = pair_key(client.id, other.id), f"g{group}"
        pair: Message = {"msgid": m.ONE_CHAT, "toid": other.id}
        self._targets = itertools.cycle([pair, {"msgid": m.GROUP_CHAT, "groupid": group}])
        self.acknowledged: dict[Place, str] = {}
        self.shown: dict[Place, str] = {}
        self._count = itertools.count(1)

    def talk(self, until: Event, pause: float) -> None:
        waiting: dict[str, Message] = {}
        while waiting or not until.is_set():
            while len(waiting) < _IN_FLIGHT and not until.is_set():
                cid = f"{self.client.id}-{next(self._count)}"
                message = next(self._targets) | {"msg": cid, "cid": cid}
                waiting[self.client.say(**message)] = message
            time.sleep(pause)
            rid = next(iter(waiting))
            message, answer = waiting.pop(rid), self.client.answer(rid)
            if answer["errno"] == _UNAVAILABLE:
                time.sleep(min(answer["retry_after"], 0.2))
                waiting[self.client.say(**message)] = message
            else:
                assert answer["errno"] == 0, answer
                self._note(answer, message["cid"])

    def _note(self, answer: Message, cid: str) -> None:
        place = answer["conv"], answer["seq"]
        assert place not in self.acknowledged, f"{place} was given twice"
        self.acknowledged[place] = cid

    def has_all(self, stored: dict[Place, str]) -> bool:
        """Return True if all stored messages were shown, except the client's own.

        Check that no BYE has come, and that no message is doubled or late.
        """
        for message in self.client.pushed():
            assert message["msgid"] != m.BYE, message
            if message["msgid"] in (m.ONE_CHAT, m.GROUP_CHAT):
                place = message["conv"], message["seq"]
                assert place[1] > self._last_shown(place[0]), f"{place} is doubled or late"
                self.shown[place] = message["msg"]
        return self.shown | self.acknowledged == stored

    def _last_shown(self, conv: str) -> int:
        return max((seq for each, seq in self.shown if each == conv), default=0)


def stored(client: Modern, *convs: str) -> dict[Place, str]:
    """Return the texts, as FETCH gives them. Check that their numbers have no gaps."""
    texts: dict[Place, str] = {}
    for conv in convs:
        last = 0
        while page := client.done(m.FETCH, conv=conv, after=last, limit=200)["msgs"]:
            for each in page:
                last += 1
                assert each["seq"] == last
                texts[conv, last] = each["msg"]
    return texts


@contextmanager
def talking(site: Site, hosts: list[Server], pause: float = 0.0) -> Iterator[list[Talker]]:
    """Run a talker at each host while entered. Then check that all is stored and shown, in the same epoch."""
    before = epoch(hosts[0])
    people = [site.join_in(host) for host in hosts]
    group = people[0].done(m.CREATE_GROUP, groupname="ops")["groupid"]
    people[1].done(m.ADD_GROUP, groupid=group)
    talkers = [Talker(one, other, group) for one, other in zip(people, reversed(people), strict=True)]
    enough = Event()
    with ThreadPoolExecutor() as pool:
        talks = [pool.submit(talker.talk, enough, pause) for talker in talkers]
        try:
            yield talkers
        finally:
            enough.set()
        try:
            for talk in talks:
                talk.result()
        except EOFError as error:
            raise AssertionError("\n".join(host.log() for host in hosts)) from error
    for talker in talkers:
        kept = stored(talker.client, *talker.convs)
        for each in talkers:
            assert each.acknowledged.items() <= kept.items()
        until(partial(talker.has_all, kept), "all is shown")
    assert [epoch(host) for host in hosts] == [before] * len(hosts)


# Nodes that lag, and conflicts.


def test_lag_and_conflicts_lose_nothing(site: Site, hosts: list[Server]) -> None:
    with talking(site, hosts):
        for node in (*site.nodes, *site.nodes):
            with node.lagging():
                time.sleep(0.8)
    assert sum(int(node.status("wsrep_local_bf_aborts")) for node in site.nodes), "nothing has conflicted"


def test_read_at_a_lagging_node_waits_for_what_was_acknowledged(site: Site, hosts: list[Server]) -> None:
    li, bo = map(site.join_in, hosts)
    conv = li.done(m.ONE_CHAT, toid=bo.id, msg="0")["conv"]
    bo.push(m.ONE_CHAT)
    with site.nodes[1].lagging():
        li.done(m.ONE_CHAT, toid=bo.id, msg="1")
        rid = bo.say(m.FETCH, conv=conv, after=0)
        assert bo.push(m.ONE_CHAT, msg="1")
        time.sleep(0.5)
        assert not bo.has_answer(rid)
    assert [each["msg"] for each in bo.answer(rid)["msgs"]] == ["0", "1"]


def test_lag_is_not_taken_for_a_restored_database(site: Site, hosts: list[Server]) -> None:
    """A node that lags twice, each time too briefly to prove a loss, causes no new epoch.

    The worker checks for a loss whenever it has subscribed again.
    """
    li, node = site.join_in(hosts[0]), site.nodes[1]
    other = site.unsynced(node)
    bo = site.join_in(other)
    before = epoch(other)
    conv = li.done(m.ONE_CHAT, toid=bo.id, msg="0")["conv"]
    bo.push(m.ONE_CHAT)
    for n, seconds in enumerate((2.0, 1.4), 1):
        with node.lagging():
            li.done(m.ONE_CHAT, toid=bo.id, msg=f"{n}")
            assert bo.push(m.ONE_CHAT)["msg"] == f"{n}"
            assert bo.done(m.FETCH, conv=conv, after=0)["last"] == n, "the read has waited"
            site.redis.client.client_kill_filter(_type="pubsub")
            other.wait_log(r"store\.behind")
            time.sleep(seconds)
    other.wait_log(r"store\.caught_up", 4)
    assert epoch(other) == before
    for client in (li, bo):
        assert len(stored(client, conv)) == 3
        assert m.BYE not in [each["msgid"] for each in client.pushed()]


# Hosts that start together. GET_LOCK locks only at its own node.


def test_hosts_start_together_on_an_empty_schema(cluster: Galera) -> None:
    for _ in range(2):
        with ExitStack() as stack:
            site = Site(cluster, stack)
            for host in site.hosts():
                site.join_in(host)


def test_migrations_meet(cluster: Galera) -> None:
    files = schema.read(data_files("sql"))
    start = Barrier(4)

    def migrate(url: str) -> int:
        start.wait()
        return schema.migrate(url, files, time.monotonic() + 10).version

    with ThreadPoolExecutor() as pool:
        for _ in range(4):
            database = f"fc{next(_databases)}"
            urls = [node.url(database) for node in cluster.nodes] * 2
            assert list(pool.map(migrate, urls)) == [len(files)] * len(urls)


# A node that leaves the cluster, and comes back.


def test_node_that_leaves_and_comes_back(site: Site, hosts: list[Server]) -> None:
    """No stale data is read at a node that is out of the cluster.

    When the node is back, its host serves again, as does a host that was started meanwhile.
    """
    node = site.nodes[1]
    li, bo = map(site.join_in, hosts)
    conv = li.done(m.ONE_CHAT, toid=bo.id, msg="0")["conv"]
    with talking(site, hosts, pause=0.01) as (talker, cut_off):  # at full speed a node comes back late
        with node.isolated():
            served = len(talker.acknowledged)
            until(lambda: len(talker.acknowledged) > served, "the other node serves", _RECOVERED)
            li.done(m.ONE_CHAT, toid=bo.id, msg="1")
            assert bo.ask(m.FETCH, conv=conv, after=0)["errno"] == _UNAVAILABLE
            late = site.begin(node.url(site.database))
            late.wait_log(r"master\.start")
        until(node.is_ready, "the node is back", 60)
        served = len(cut_off.acknowledged)
        until(lambda: len(cut_off.acknowledged) > served, "the node serves again", _RECOVERED)
    assert bo.done(m.FETCH, conv=conv, after=0)["last"] == 2
    site.join_in(hosts[1])
    late.wait_ready()
