"""Failovers with real replication. The address leads to the new primary; old connections stay open."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from forkchat.bus import keys
from forkchat.runtime import Future
from forkchat.store.database import Database, Primary
from forkchat.wire import msgid as m
from tests.replication import MySQLPair, RedisPair, pairs, within
from tests.server import Server, forkchat, until
from tests.talk import PASSWORD, UNLIMITED, Classic, Modern, elsewhere, new_name

#: Seconds after a failover within which everything works again.
_RECOVERED = 10.0
_databases = itertools.count(1)
_ALREADY_ONLINE, _UNAVAILABLE = 2, 11


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[MySQLPair, RedisPair]]:
    with pairs() as both:
        yield both


class Site:
    """Hosts that share a database of their own on the server pairs, and the clients connected to them."""

    def __init__(self, mysql: MySQLPair, redis: RedisPair, stack: ExitStack):
        self.mysql, self.redis = mysql, redis
        self.database = f"fc{next(_databases)}"
        self.urls = ["--mysql-url", mysql.url(self.database), "--redis-url", redis.url]
        self._stack = stack
        self._company: set[Modern] = set()

    def host(self, workers: int = 1) -> Server:
        return self._stack.enter_context(Server("-w", str(workers), *self.urls, config=UNLIMITED))

    def people(self, *hosts: Server) -> list[Modern]:
        """Log in a new user on each host."""
        return [self.connect(host).join_in() for host in hosts]

    def connect(self, host: Server) -> Modern:
        """Connect a client that answers PINGs even while the test waits for another client."""
        client = self._stack.enter_context(Modern(host.port))
        client.company = self._company
        self._company.add(client)
        return client


@pytest.fixture
def site(both: tuple[MySQLPair, RedisPair]) -> Iterator[Site]:
    mysql, redis = both
    mysql.reset()
    redis.reset()
    with ExitStack() as stack:
        yield Site(mysql, redis, stack)


# Operations that must work again after a failover.


def log_in(host: Server, client: Modern, **fields: Any) -> Modern:
    """Log in as `login` does. Return only the new connection."""
    return login(host, client, **fields)[0]


def login(
    host: Server, client: Modern, takeover: bool = False, may_be_unsure: bool = False
) -> tuple[Modern, dict[str, int]]:
    """Log in the user of `client` on a new connection, within `_RECOVERED` seconds.

    Return the connection, and the last number of each conversation that the answer lists. The user must be
    offline or take over. With `may_be_unsure`, the server may refuse the login while it cannot tell whether
    the user is online.
    """
    new = Modern(host.port)
    new.company = client.company
    new.company.add(new)
    answers: list[dict[str, Any]] = []

    def attempt() -> bool:
        answers.append(new.login(token=client.token, takeover=takeover))
        expected = (0, _ALREADY_ONLINE, _UNAVAILABLE) if may_be_unsure else (0, _UNAVAILABLE)
        assert answers[-1]["errno"] in expected, answers[-1]
        return answers[-1]["errno"] == 0

    within(_RECOVERED, attempt, "a log-in")
    return new, {each["conv"]: each["last"] for each in answers[-1]["convs"]}


def arrive(host: Server) -> Modern:
    """Register a new user and log in, both within `_RECOVERED` seconds."""
    new = Modern(host.port)
    name = new_name()

    def register() -> bool:
        answer = new.ask(m.REG, name=name, password=PASSWORD)
        assert answer["errno"] in (0, _UNAVAILABLE), answer
        return answer["errno"] == 0

    within(_RECOVERED, register, "a registration")
    new.name = name
    within(_RECOVERED, lambda: new.login()["errno"] == 0, "a log-in")
    return new


def done(client: Modern, msgid: int, **fields: Any) -> dict[str, Any]:
    """Repeat a request while it is unavailable. Return the answer once it succeeds."""
    answers: list[dict[str, Any]] = []

    def attempt() -> bool:
        answers.append(client.ask(msgid, **fields))
        assert answers[-1]["errno"] in (0, _UNAVAILABLE), answers[-1]
        return answers[-1]["errno"] == 0

    within(_RECOVERED, attempt, f"an answer to {msgid} {fields}")
    return answers[-1]


def shown(client: Modern, text: str) -> None:
    client.deadline(_RECOVERED)
    assert client.push(m.ONE_CHAT, msg=text)


def stored(client: Modern, conv: str) -> list[str]:
    """Return the texts of a conversation, as FETCH gives them."""
    return [each["msg"] for each in done(client, m.FETCH, conv=conv, after=0, limit=200)["msgs"]]


def refused(host: Server, client: Modern) -> None:
    """Check that the online user of `client` is refused a second session, once the server can tell."""
    assert tries_again(host, client)[1] == _ALREADY_ONLINE, "the same user is online twice"


def tries_again(host: Server, client: Modern) -> tuple[Modern, int]:
    """Log in an online user on a second connection, again while that is unavailable.

    Return the connection and the error number of the last answer.
    """
    other = Modern(host.port)
    answers: list[int] = []

    def attempt() -> bool:
        answers.append(other.login(token=client.token)["errno"])
        return answers[-1] != _UNAVAILABLE

    within(_RECOVERED, attempt, "an answer")
    return other, answers[-1]


def sees(watcher: Modern, friend: Modern, state: str) -> None:
    """Wait until the watcher's list of friends has `friend` in this state."""

    def is_right() -> bool:
        friends = done(watcher, m.FRIENDS, op="list")["friends"]
        return [each["state"] for each in friends if each["id"] == friend.id] == [state]

    within(_RECOVERED, is_right, f"{friend.name} is seen {state}")


def by_password(host: Server, name: str) -> Modern:
    client = Modern(host.port)
    who = {"name": name, "password": PASSWORD, "takeover": True}
    within(_RECOVERED, lambda: client.login(**who)["errno"] == 0, "a log-in by password")
    return client


def offline(host: Server, user: int) -> list[str]:
    """Log in with a classic client, within `_RECOVERED` seconds. Return the missed messages' texts."""
    answers: list[dict[str, Any]] = []

    def attempt() -> bool:
        with Classic(host.port, b"\n") as client:
            answers.append(client.login(user))
        return bool(answers[-1]["errno"] == 0)

    within(_RECOVERED, attempt, "a log-in of a classic client")
    return [each["msg"] for each in answers[-1]["offlinemsg"]]


def stays(client: Modern) -> None:
    """Check that the session was not ended by a BYE."""
    assert not [each for each in client.pushed() if each["msgid"] == m.BYE]


# Redis.


def test_redis_fails_over_and_connections_stay(site: Site) -> None:
    host = site.host(workers=2)
    li, gone = site.people(host, host)
    bo = elsewhere(host, li, lambda: site.connect(host).join_in())
    for friend in (bo, gone):
        li.done(m.ADD_FRIEND, friendid=friend.id)
    gone.close()
    until(lambda: f"session.end user={gone.id} " in host.log(), "the session is over")
    site.redis.fail_over()
    log_in(host, gone, may_be_unsure=True)
    sees(li, gone, "online")
    for n, (sender, recipient) in enumerate([(li, bo), (bo, li)]):
        done(sender, m.ONE_CHAT, toid=recipient.id, msg=f"{n}", cid=f"{n}")
        shown(recipient, f"{n}")
    for client in (li, bo):
        refused(host, client)
        stays(client)
    other = site.host()
    for client in (li, bo):
        refused(other, client)
    for client in (li, bo):
        stays(client)


def comes_back_with_a_snapshot(pair: RedisPair) -> None:
    pair.primary.save()
    pair.primary.restore()


def fails_over_and_back(pair: RedisPair) -> None:
    pair.fail_over()
    pair.fail_over()


@pytest.mark.parametrize("breakage", [RedisPair.fail_over, fails_over_and_back, comes_back_with_a_snapshot])
def test_nobody_gets_in_twice_before_the_other_host_has_noticed(
    site: Site, breakage: Callable[[RedisPair], None]
) -> None:
    """Users whose sessions live on an idle host cannot log in twice.

    The idle host only refreshes its leases, so it notices the failover late.
    """
    idle, busy = site.host(workers=2), site.host(workers=2)
    people = site.people(*[idle] * 8)
    breakage(site.redis)
    answers = []
    over = time.monotonic() + 4
    while time.monotonic() < over:
        with ExitStack() as stack:
            others = [stack.enter_context(Modern(busy.port)) for _ in people]
            logins = zip(others, people, strict=True)
            rids = [other.say(m.LOGIN, token=client.token) for other, client in logins]
            answers += [other.answer(rid)["errno"] for other, rid in zip(others, rids, strict=True)]
        for client in people:
            stays(client)
    assert 0 not in answers
    assert _ALREADY_ONLINE in answers


@pytest.mark.parametrize("stays_behind", ["pubsub", "normal"])
def test_a_host_that_starts_after_a_failover_takes_nobody_for_an_orphan(
    site: Site, stays_behind: str
) -> None:
    """A host that starts after a failover does not take a live session for an orphan.

    One connection of the other host's worker moves to the new primary, the other stays at the old one.
    Messages published at the new primary still arrive by replication. But PUBLISH reports that nobody
    listens.
    """
    host = site.host()
    li, bo = site.people(host, host)
    old = site.redis.primary
    site.redis.fail_over()
    moves = {"pubsub": "normal", "normal": "pubsub"}[stays_behind]
    old.client.execute_command("CLIENT", "KILL", "TYPE", moves, "SKIPME", "yes")
    other = site.host()
    over = time.monotonic() + 9  # old sessions are void after 5 s; lost subscriptions are noticed after 8 s
    while time.monotonic() < over:
        for client in (li, bo):
            refused(other, client)
            stays(client)
    done(li, m.ONE_CHAT, toid=bo.id, msg="hi", cid="hi")
    shown(bo, "hi")


def test_redis_fails_back(site: Site) -> None:
    """Redis fails over and back within the TTL of a lease, so that no key of either server has expired."""
    host = site.host(workers=2)
    (li,) = site.people(host)
    bo = elsewhere(host, li, lambda: site.connect(host).join_in())
    site.redis.fail_over()
    arrive(host)
    site.redis.fail_over()
    arrive(host)
    done(li, m.ONE_CHAT, toid=bo.id, msg="back", cid="back")
    shown(bo, "back")
    for client in (li, bo):
        refused(host, client)
        stays(client)


def test_redis_fails_over_during_logins(site: Site) -> None:
    """A login is answered at any stage of the failover, and a second attempt succeeds in time.

    A claim that the new primary never received does not keep out the next login, which then ends the session.
    """
    host = site.host(workers=2)
    people = site.people(*[host] * 6)
    for each in people:
        each.close()
    clients = [site.connect(host) for _ in people]
    rids = [new.say(m.LOGIN, token=old.token) for new, old in zip(clients, people, strict=True)]
    site.redis.fail_over()
    for new, old, rid in zip(clients, people, rids, strict=True):
        answer = new.answer(rid)
        if answer["errno"]:
            within(
                _RECOVERED,
                lambda new=new, old=old: new.login(token=old.token)["errno"] == 0,  # type: ignore[misc]
                f"a log-in after {answer}",
            )
        other, error = tries_again(host, old)
        if error == 0:
            assert new.push(m.BYE)["reason"] == "replaced"
        other.close()


def refuses_writes(site: Site) -> None:
    site.redis.replica.client.replicaof("NO", "ONE")
    site.redis.primary.client.config_set("min-replicas-to-write", 1)


def is_down_for_reads(site: Site) -> None:
    """Make the primary answer MASTERDOWN, as a replica without its primary that serves no stale data."""
    site.redis.replica.client.replicaof("NO", "ONE")
    site.redis.primary.client.config_set("replica-serve-stale-data", "no")
    site.redis.primary.client.replicaof("127.0.0.1", "1")


def is_out_of_memory(site: Site) -> None:
    site.redis.replica.client.replicaof("NO", "ONE")
    site.redis.primary.client.config_set("maxmemory", "1")


@pytest.mark.parametrize("breakage", [refuses_writes, is_down_for_reads, is_out_of_memory])
def test_an_empty_redis_takes_the_place_of_one_that_refuses(
    site: Site, breakage: Callable[[Site], None]
) -> None:
    """The hosts move to an empty Redis while the old one keeps connections and answers only errors."""
    host = site.host(workers=2)
    (li,) = site.people(host)
    bo = elsewhere(host, li, lambda: site.connect(host).join_in())
    old, new = site.redis.primary, site.redis.replica
    breakage(site)
    new.client.flushall()
    site.redis.address.target = new.port
    site.redis.primary, site.redis.replica = new, old
    try:
        arrive(host)
        for client in (li, bo):
            until(lambda client=client: new.client.get(keys.session(client.id)), "claimed again")  # type: ignore[misc]
        for client in (li, bo):  # in quick succession, because a refusal sends a PING to the session
            refused(host, client)
            stays(client)
        done(li, m.ONE_CHAT, toid=bo.id, msg="hi", cid="hi")
        shown(bo, "hi")
    finally:
        old.client.config_set("min-replicas-to-write", 0)
        old.client.config_set("replica-serve-stale-data", "yes")
        old.client.config_set("maxmemory", 0)


def test_redis_comes_back_with_an_old_snapshot(site: Site) -> None:
    """Sessions are right again after Redis comes back with an old snapshot.

    The snapshot has a session that was replaced later and a session that ended later. It lacks a session
    that began later.
    """
    host, other = site.host(), site.host()
    watcher, moves, leaves, comes = site.people(host, host, host, host)
    for friend in (moves, leaves, comes):
        watcher.done(m.ADD_FRIEND, friendid=friend.id)
    comes.close()
    sees(watcher, comes, "offline")
    site.redis.primary.save()
    moved = site.connect(other)
    assert moved.login(name=moves.name, password=PASSWORD, takeover=True)["errno"] == 0
    assert moves.push(m.BYE)["reason"] == "replaced"
    leaves.close()
    came = log_in(other, comes)
    sees(watcher, leaves, "offline")
    site.redis.primary.restore()
    log_in(host, leaves, may_be_unsure=True).close()
    for client in (moved, came):
        sees(watcher, client, "online")  # the session is registered again
        refused(host, client)
        refused(other, client)
        stays(client)  # it answers the PING of a refusal, which is due within 5 s
    sees(watcher, leaves, "offline")
    for client in (watcher, moved, came):
        stays(client)
    moved.close()
    log_in(host, moved, may_be_unsure=True)  # the server may not have noticed the close yet


def test_what_others_have_in_redis(site: Site) -> None:
    """A key of another type disturbs only its own user. Set members that are no leases disturb nobody."""
    client = site.redis.primary.client
    client.sadd(keys.LEASES, "not a lease", b"\xff")
    host = site.host()
    people = site.people(*[host] * 4)
    bad, *others = people
    client.flushall()
    client.sadd(keys.LEASES, "not a lease")
    client.lpush(keys.session(bad.id), "not a session")
    for each in others:
        until(lambda each=each: client.get(keys.session(each.id)), "the session is registered again")  # type: ignore[misc]
        refused(host, each)
        stays(each)
    client.delete(keys.session(bad.id))
    until(lambda: client.get(keys.session(bad.id)), "this one, too")
    refused(host, bad)
    stays(bad)


def test_redis_loads_for_a_while(site: Site) -> None:
    """Redis answers LOADING for a while, and then has the same data as before."""
    host = site.host()
    li, gone = site.people(host, host)
    gone.close()
    primary = site.redis.primary
    primary.client.execute_command("DEBUG", "POPULATE", "2000", "filler", "100")
    primary.save()
    primary.kill()
    primary.settings = "--key-load-delay", "1000"
    primary.start(is_loaded=False)
    log_in(host, gone, may_be_unsure=True)
    refused(host, li)
    stays(li)


# MySQL.


def test_mysql_fails_over_and_connections_stay(site: Site) -> None:
    host = site.host(workers=2)
    (li,) = site.people(host)
    bo = elsewhere(host, li, lambda: site.connect(host).join_in())
    conv = li.done(m.ONE_CHAT, toid=bo.id, msg="0", cid="0")["conv"]
    shown(bo, "0")
    before = epoch(host)
    site.mysql.fail_over()
    said = ["0"]
    for n in range(1, 30):
        done(li, m.ONE_CHAT, toid=bo.id, msg=f"{n}", cid=f"{n}")
        said.append(f"{n}")
        assert stored(li, conv) == said
        assert stored(bo, conv) == said
    for text in said[1:]:
        shown(bo, text)
    arrive(host)
    group = done(li, m.CREATE_GROUP, groupname="ops")["groupid"]
    done(bo, m.ADD_GROUP, groupid=group)
    done(li, m.GROUP_CHAT, groupid=group, msg="hi", cid="hi")
    assert bo.push(m.GROUP_CHAT)["msg"] == "hi"
    bo.close()
    _, lasts = login(host, bo, takeover=True)
    assert lasts == {conv: 30, f"g{group}": 1}
    assert epoch(host) == before
    stays(li)


@pytest.mark.parametrize("is_cut", [False, True])
def test_what_is_read_is_never_older_than_what_was_acknowledged(site: Site, is_cut: bool) -> None:
    """No worker of either host reads older data once the new primary has acknowledged a message.

    The workers' connections may still be at the old primary. With `is_cut`, they all end at the failover.
    """
    hosts = site.host(workers=2), site.host(workers=2)
    li, bo = site.people(*hosts)
    conv = li.done(m.ONE_CHAT, toid=bo.id, msg="0", cid="0")["conv"]
    readers = [Modern(host.port) for host in hosts for _ in range(4)]
    for reader in readers:  # all log in as li, each by a takeover
        reader.login(name=li.name, password=PASSWORD, takeover=True)
    li = readers[-1]
    site.mysql.fail_over()
    if is_cut:
        site.mysql.address.cut()
    for n in range(1, 6):
        last = done(li, m.ONE_CHAT, toid=bo.id, msg=f"{n}", cid=f"{n}")["seq"]
        for client in (bo, li):
            assert stored(client, conv)[-1] == f"{n}"
        for client in (bo, li):
            found = done(client, m.SYNC)["convs"]
            assert [each["last"] for each in found if each["conv"] == conv] == [last]
        li, lasts = login(hosts[n % 2], li, takeover=True)
        assert lasts.get(conv, last) == last
        assert stored(li, conv)[-1] == f"{n}"


class AtOnce:
    """A lane that runs each call at once, in the caller's thread."""

    backlog = 0

    def run(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(fn(*args))
        return future

    def close(self) -> None: ...


def test_nothing_is_read_from_the_old_primary_once_something_is_written_to_the_new_one(site: Site) -> None:
    """Reads go to the new primary from the first write there.

    A connection that is replaced too early leads to the old primary again.
    """
    site.host()
    primary = Primary()
    reader, writer = (Database(site.mysql.url(site.database), AtOnce(), primary) for _ in range(2))

    def read(cursor: Any) -> int:
        cursor.execute("SELECT COUNT(*) FROM lane WHERE number = 4711")
        return int(cursor.fetchone()[0])

    def write(cursor: Any) -> None:
        cursor.execute("INSERT INTO lane (id, number, used) VALUES ('x', 4711, UTC_DATE())")

    old, new = site.mysql.primary, site.mysql.replica
    old.run("SET GLOBAL read_only = 1")
    new.catch_up(old)
    new.run("STOP SLAVE", "SET GLOBAL read_only = 0")
    assert reader.run(read, (), False).result() == 0
    site.mysql.address.target = new.port
    writer.run(write, (), True).result()
    assert reader.run(read, (), False).result() == 1
    for each in (reader, writer):
        each.close()
    site.mysql.fail_over()  # the whole failover, for the next tests


def test_mysql_fails_back(site: Site) -> None:
    host = site.host(workers=2)
    li, bo = site.people(host, host)
    texts = []
    for n in range(3):
        site.mysql.fail_over()
        done(li, m.ONE_CHAT, toid=bo.id, msg=f"{n}", cid=f"{n}")
        texts.append(f"{n}")
        arrive(host).close()
        shown(bo, f"{n}")
    assert stored(bo, f"d{li.id}-{bo.id}") == texts
    stays(bo)


def test_mysql_fails_over_during_joins(site: Site) -> None:
    host = site.host(workers=2)
    people = site.people(*[host] * 5)
    group = people[0].done(m.CREATE_GROUP, groupname="ops")["groupid"]
    rids = [each.say(m.ADD_GROUP, groupid=group) for each in people[1:]]
    site.mysql.fail_over()
    for each, rid in zip(people[1:], rids, strict=True):
        answer = each.answer(rid)
        assert answer["errno"] in (0, _UNAVAILABLE), answer
        if answer["errno"]:
            done(each, m.ADD_GROUP, groupid=group)
    done(people[0], m.GROUP_CHAT, groupid=group, msg="hi", cid="hi")
    for each in people[1:]:
        each.deadline(_RECOVERED)
        assert each.push(m.GROUP_CHAT)["msg"] == "hi"


def epoch(host: Server) -> str:
    with Modern(host.port, greet=False) as client:
        return str(client.done(m.HELLO)["epoch"])


@pytest.mark.parametrize("lost", [3, 40])
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_replica_that_lacks_the_last_messages(site: Site, lost: int, is_cut: bool) -> None:
    """All clients are told to reconnect after a loss. Messages sent from then on are delivered."""
    host = site.host(workers=2)
    (li,) = site.people(host)
    bo = elsewhere(host, li, lambda: site.connect(host).join_in())
    conv = ""
    for n in range(5):
        conv = li.done(m.ONE_CHAT, toid=bo.id, msg=f"kept {n}", cid=f"kept {n}")["conv"]
    site.mysql.replica.catch_up(site.mysql.primary)
    site.mysql.replica.run("STOP SLAVE")
    for n in range(lost):
        li.done(m.ONE_CHAT, toid=bo.id, msg=f"lost {n}", cid=f"lost {n}")
    shown(bo, f"lost {lost - 1}")
    before = epoch(host)
    site.mysql.fail_over(does_old_follow=False)
    if is_cut:
        site.mysql.address.cut()
    # A third user registers on either worker. li may get the BYE before sending anything.
    third = arrive(host)
    for client in (li, bo):
        client.deadline(_RECOVERED)
        assert client.push(m.BYE)["reason"] == "draining"
    heard_by = re.compile(r"(worker\d) service\.new_epoch")
    within(_RECOVERED, lambda: len(set(heard_by.findall(host.log()))) == 2, "a new epoch on both workers")
    assert epoch(host) != before
    li, bo = (log_in(host, client, takeover=True) for client in (li, bo))
    done(li, m.ONE_CHAT, toid=bo.id, msg="new", cid="new")
    shown(bo, "new")
    assert stored(bo, conv) == [*(f"kept {n}" for n in range(5)), "new"]
    third.close()


def test_new_messages_come_before_anybody_has_looked(site: Site) -> None:
    """New messages get the lost messages' numbers at once, from a worker that does not know of the loss.

    A classic client is shown the new messages in order, those with unused numbers last.
    """
    host, other = site.host(), site.host()
    li, bo = site.people(host, host)
    old = Classic(host.port, b"\n").join_in()
    conv = ""
    for n in range(2):
        for each in (bo, old):
            done(li, m.ONE_CHAT, toid=each.id, msg=f"kept {n}", cid=f"kept {n} {each.id}")
        conv = bo.push(m.ONE_CHAT)["conv"]
    site.mysql.replica.catch_up(site.mysql.primary)
    site.mysql.replica.run("STOP SLAVE")
    for n in range(3):
        for each in (bo, old):
            done(li, m.ONE_CHAT, toid=each.id, msg=f"lost {n}", cid=f"lost {n} {each.id}")
    shown(bo, "lost 2")
    assert [old.hear()["msg"] for _ in range(5)] == ["kept 0", "kept 1", "lost 0", "lost 1", "lost 2"]
    before = epoch(host)
    new = Modern(other.port)
    assert new.login(name=li.name, password=PASSWORD, takeover=True)["errno"] == 0
    site.mysql.fail_over(does_old_follow=False)
    for n in range(6):  # more than were lost
        for each in (old, bo):
            message = {"toid": each.id, "msg": f"new {n}", "cid": f"new {n} {each.id}"}
            try:
                done(new, m.ONE_CHAT, **message)
            except EOFError:  # another worker has already noticed the loss
                new = by_password(other, li.name)  # the token was lost, too
                done(new, m.ONE_CHAT, **message)
    bo.deadline(_RECOVERED)
    assert bo.push(m.BYE)["reason"] == "draining"
    within(_RECOVERED, lambda: epoch(host) != before, "a new epoch")
    within(_RECOVERED, lambda: epoch(other) == epoch(host), "the same epoch everywhere")
    bo = log_in(host, bo, takeover=True)
    texts = ["kept 0", "kept 1", *(f"new {n}" for n in range(6))]
    assert stored(bo, conv) == texts
    heard = [each for each in bo.pushed() if each["msgid"] == m.ONE_CHAT]
    assert all(each["msg"] == texts[each["seq"] - 1] for each in heard)
    told = []
    with suppress(EOFError):
        while True:
            told.append(old.hear()["msg"])
    told += offline(host, old.id)
    new_to_it = [text for text in dict.fromkeys(told) if text not in texts[:2]]  # old texts may come again
    assert new_to_it == texts[2:], told


# Servers that are refused at the start.


def test_a_replica_of_mysql_is_refused(site: Site) -> None:
    site.mysql.address.target = site.mysql.replica.port
    try:
        ended = forkchat("-t", *site.urls)
    finally:
        site.mysql.address.target = site.mysql.primary.port
    assert ended.returncode == 1, ended
    assert "read-only" in ended.stderr


def test_a_replica_of_redis_is_refused(site: Site) -> None:
    site.redis.address.target = site.redis.replica.port
    ended = forkchat("-t", *site.urls)
    assert ended.returncode == 1, ended
    assert "replica" in ended.stderr
