"""Several hosts with one MySQL and one Redis. Hosts come and go, and their users reach each other."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest
import redis

from forkchat.bus import keys
from forkchat.bus.presence import lease_of
from forkchat.process.embedded import run_dir
from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from tests.clock import Clock
from tests.server import Server, until
from tests.talk import PASSWORD, UNLIMITED, Classic, Modern


@pytest.fixture(scope="module")
def owner() -> Iterator[Server]:
    """The server whose private MySQL and Redis the hosts share."""
    with Server("-w", "1") as server:
        yield server


class Cluster:
    """Hosts that share a MySQL database, which does not exist at first, and an unused Redis database."""

    _databases = count(1)

    def __init__(self, owner: Server, stack: ExitStack):
        run = run_dir(owner.data_dir)
        self._stack = stack
        mysql_socket, redis_socket = (quote(str(run / name)) for name in ("mysql.sock", "redis.sock"))
        self.mysql_url = f"mysql://root@/c{secrets.token_hex(4)}?unix_socket={mysql_socket}"
        redis_url = f"unix://{redis_socket}?db={next(self._databases)}"
        self._urls = ["--mysql-url", self.mysql_url, "--redis-url", redis_url]
        self.redis = stack.enter_context(redis.Redis.from_url(redis_url))

    def host(self, *args: str, env: dict[str, str] | None = None, wait: bool = True) -> Server:
        return self._stack.enter_context(Server(*args, *self._urls, config=UNLIMITED, env=env, wait=wait))


@pytest.fixture
def cluster(owner: Server) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(owner, stack)


def the_worker(host: Server) -> int:
    (pid,) = host.workers().values()
    return pid


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def befriend(watcher: Modern, friend: Modern) -> None:
    assert watcher.done(m.ADD_FRIEND, friendid=friend.id)["state"] == "online"


def test_hosts_start_at_the_same_moment_on_an_empty_database(cluster: Cluster) -> None:
    hosts = [cluster.host("-w", str(workers), wait=False) for workers in (1, 3, 2)]
    for host in hosts:
        host.wait_ready()
    people = [Modern(host.port).join_in() for host in hosts]
    for sender, recipient in zip(people, people[1:] + people[:1], strict=True):
        sender.done(m.ONE_CHAT, toid=recipient.id, msg="hi", cid="1")
        assert recipient.push(m.ONE_CHAT, id=sender.id)["msg"] == "hi"
    assert not any("Traceback" in host.log() for host in hosts)


def test_friends_and_groups_across_hosts(cluster: Cluster) -> None:
    li, bo = (Modern(cluster.host("-w", "1").port).join_in() for _ in range(2))
    bo.done(m.ADD_FRIEND, friendid=li.id)
    assert li.push(m.EVENT, kind="friend_added")["id"] == bo.id
    group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    bo.done(m.ADD_GROUP, groupid=group)
    assert li.push(m.EVENT, kind="group_joined")["id"] == bo.id
    li.done(m.GROUP_CHAT, groupid=group, msg="lunch?", cid="1")
    assert bo.push(m.GROUP_CHAT)["msg"] == "lunch?"
    li.done(m.GROUPS, op="remove", groupid=group, id=bo.id)
    assert bo.push(m.EVENT, kind="group_removed")["groupid"] == group
    assert bo.ask(m.GROUP_CHAT, groupid=group, msg="why?", cid="1")["errno"] == 10


def test_the_users_of_a_killed_host_and_of_a_stopped_one(cluster: Cluster) -> None:
    """Users of a killed or stopped host may log in elsewhere at once. The others are offline within 10 s."""
    dying, stopping, other = (cluster.host("-w", workers) for workers in "211")
    watcher = Modern(other.port).join_in()
    moves, stays_away = (Modern(dying.port).join_in() for _ in range(2))
    was_sent_away = Modern(stopping.port).join_in()
    for friend in (moves, stays_away, was_sent_away):
        befriend(watcher, friend)
    dying.kill()
    stopping.send(signal.SIGTERM)
    died = time.monotonic()
    again = Modern(other.port)
    assert again.login(name=moves.name, password=PASSWORD)["errno"] == 0
    assert time.monotonic() - died < 3
    watcher.deadline(10 - (time.monotonic() - died))
    for friend in (stays_away, was_sent_away):
        watcher.push(m.PRESENCE, id=friend.id, state="offline")
    told = {(each["id"], each["state"]) for each in watcher.pushed() if each["msgid"] == m.PRESENCE}
    assert (moves.id, "offline") not in told


def test_a_living_session_is_not_taken_for_a_dead_one(cluster: Cluster) -> None:
    li = Modern(cluster.host("-w", "1").port).join_in()
    second = Modern(cluster.host("-w", "1").port)
    assert second.login(name=li.name, password=PASSWORD)["errno"] == 2
    li.done(m.PING)


def test_a_worker_that_was_away_for_long_brings_its_users_back(cluster: Cluster) -> None:
    """A worker is stopped until another worker has cleared up its lease.

    Its users are offline then, and online again when the worker resumes.
    """
    paused, other = cluster.host("-w", "1"), cluster.host("-w", "1")
    watcher, friend = Modern(other.port).join_in(), Modern(paused.port).join_in()
    befriend(watcher, friend)
    with stopped(the_worker(paused)):
        watcher.push(m.PRESENCE, id=friend.id, state="offline")  # the login may be announced before that
        watcher.pushed()
    assert watcher.push(m.PRESENCE, id=friend.id)["state"] == "online"
    watcher.done(m.ONE_CHAT, toid=friend.id, msg="back?", cid="1")
    assert friend.push(m.ONE_CHAT)["msg"] == "back?"
    assert Modern(other.port).login(name=friend.name, password=PASSWORD)["errno"] == 2


def test_a_worker_that_was_away_when_redis_lost_its_data(cluster: Cluster) -> None:
    """A stopped worker's users are reported offline after a loss of Redis's data.

    They are announced when the worker has registered them again.
    """
    paused, other = cluster.host("-w", "1"), cluster.host("-w", "1")
    watcher, friend = Modern(other.port).join_in(), Modern(paused.port).join_in()
    befriend(watcher, friend)
    with stopped(the_worker(paused)):
        cluster.redis.flushdb()
        watcher.push(m.PRESENCE, id=friend.id, state="offline")
        watcher.pushed()
    assert watcher.push(m.PRESENCE, id=friend.id)["state"] == "online"


def test_whoever_cleared_up_a_worker_died_over_it(cluster: Cluster) -> None:
    """A worker registers its users again, although another worker died while clearing up its lease."""
    worker, other = cluster.host("-w", "1"), cluster.host("-w", "1")
    watcher, friend = Modern(other.port).join_in(), Modern(worker.port).join_in()
    befriend(watcher, friend)
    other.wait_told()
    watcher.pushed()
    lease = lease_of(cluster.redis.get(keys.session(friend.id)).decode())
    with cluster.redis.pipeline() as pipeline:
        pipeline.set(keys.reap(lease), "the:dead:1:1").delete(keys.lease(lease), keys.session(friend.id))
        pipeline.execute()
    assert watcher.done(m.FRIENDS, op="list")["friends"][0]["state"] == "offline"
    assert watcher.push(m.PRESENCE, id=friend.id)["state"] == "online"


def test_a_worker_that_notices_by_its_channels_that_it_was_cleared_up(cluster: Cluster) -> None:
    """A watcher who saw a user offline is told the truth once the user's worker notices the clean-up."""
    worker, other = cluster.host("-w", "1"), cluster.host("-w", "1")
    watcher, friend = Modern(other.port).join_in(), Modern(worker.port).join_in()
    befriend(watcher, friend)
    other.wait_told()
    watcher.pushed()
    cluster.redis.delete(keys.session(friend.id))
    db = str(cluster.redis.get_connection_kwargs()["db"])
    assert watcher.done(m.FRIENDS, op="list")["friends"][0]["state"] == "offline"
    oldest = min(int(client["id"]) for client in cluster.redis.client_list("pubsub") if client["db"] == db)
    cluster.redis.client_kill_filter(_id=oldest)
    assert watcher.push(m.PRESENCE, id=friend.id)["state"] == "online"


def test_a_login_while_the_last_logout_is_announced(cluster: Cluster) -> None:
    """The worker that announces a logout still answers for a user who logs in there meanwhile.

    If that worker dies, the user's absence is announced.
    """
    host = cluster.host("-w", "1")
    li = Modern(host.port).join_in()
    lease = lease_of(cluster.redis.get(keys.session(li.id)).decode())
    li.done(m.LOGINOUT)
    with closing(connect(cluster.mysql_url)) as database, database.cursor() as cursor:
        cursor.execute("LOCK TABLES member WRITE")
        logins = [li.say(m.LOGIN, name=li.name, password=PASSWORD)]

        def is_over() -> bool:
            if li.has_answer(logins[-1]):  # the wait for the lock timed out
                logins.append(li.say(m.LOGIN, name=li.name, password=PASSWORD))
            return not cluster.redis.sismember(keys.users(lease), li.id)

        until(is_over, "the logout is dealt with")
    assert li.answer(logins[-1])["errno"] == 0
    assert cluster.redis.sismember(keys.users(lease), li.id)


def test_hosts_tell_each_other_apart(cluster: Cluster) -> None:
    """Two hosts on one machine differ by their address. Neither clears up the leases of a living one."""
    first = cluster.host("-w", "1")
    li = Modern(first.port).join_in()
    second = cluster.host("-w", "1")
    names = [re.search(r"master\.start .*host=(\S+)", host.log()) for host in (first, second)]
    assert names[0] and names[1] and names[0][1] != names[1][1]
    assert "lease.cleared" not in second.log()
    assert Modern(second.port).login(name=li.name, password=PASSWORD)["errno"] == 2
    li.done(m.PING)


def test_a_classic_client_that_reads_slowly_while_its_host_drains(cluster: Cluster) -> None:
    """Messages that the draining host no longer accepts for the client come at its next login elsewhere."""
    draining, other = cluster.host("-w", "1"), cluster.host("-w", "1")
    bo = Modern(other.port).join_in()
    slow = Classic(draining.port, receive_buffer=4096).join_in()
    for n in range(100):
        bo.done(m.ONE_CHAT, toid=slow.id, msg=f"{n}", cid=f"{n}")
    assert slow.hear()["msg"] == "0"
    draining.send(signal.SIGTERM)
    draining.wait_log(r"worker\.leave")
    bo.done(m.ONE_CHAT, toid=slow.id, msg="late", cid="late")
    heard = [orjson.loads(frame)["msg"] for frame in slow.wait_closed().split(b"\0")[:-1]]
    slow.close()
    assert draining.wait() == 0
    missed = [message["msg"] for message in Classic(other.port).login(slow.id)["offlinemsg"]]
    said = [*(str(n) for n in range(1, 100)), "late"]
    assert heard == said[: len(heard)]
    assert missed == said[-len(missed) :]
    assert len(heard) + len(missed) >= len(said)


def test_a_clock_that_is_off_does_not_show(cluster: Cluster, tmp_path: Path) -> None:
    """A host's wrong clock has no effect. MySQL's clock dates messages and tokens. Redis's counts rates."""
    clock = Clock(tmp_path)
    clock.step(-300)
    late, right = cluster.host("-w", "1", env=clock.env), cluster.host("-w", "1")
    first_line = datetime.fromisoformat(late.log().split()[0])
    assert 290 < time.time() - first_line.timestamp() < 310, "the clock is off"
    li, bo = Modern(late.port).join_in(), Modern(right.port).join_in()
    for sender, recipient in ((li, bo), (bo, li)):
        sender.done(m.ONE_CHAT, toid=recipient.id, msg="hi", cid="1")
        assert abs(recipient.push(m.ONE_CHAT)["ts"] / 1000 - time.time()) < 60
    li.close()
    until(lambda: Modern(right.port).login(token=li.token)["errno"] == 0, "li is elsewhere")
