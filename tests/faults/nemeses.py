"""The faults that strike a world. Each does its harm, waits, and undoes what it can.

All block, for some seconds at most. `random` is the round's own, so that a seed repeats the plan.
"""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from random import Random
from typing import Any

import MySQLdb
import redis

from forkchat.bus import keys
from forkchat.store.connection import Connection
from tests.cluster import HOSTS
from tests.faults.history import LOSES_TAIL, Loss, Place
from tests.faults.world import MACHINE_OF, PORTS, World
from tests.replication import following
from tests.server import children, until

Nemesis = Callable[[World, Random], None]


# Processes.


def workers(world: World) -> dict[int, str]:
    """Return the leases of the workers of all hosts, by process id."""
    titles = {pid: title for host in HOSTS for pid, title in children(world.pid(host)).items()}
    found = {pid: re.match(r"forkchat: worker \d+ (\S+)", title) for pid, title in titles.items()}
    return {pid: match[1] for pid, match in found.items() if match}


def _signal(pid: int, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signum)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pid, signal.SIGCONT)


def _worker(world: World, random: Random) -> int:
    pids = sorted(workers(world))
    return random.choice(pids) if pids else 0


def kill_worker(world: World, random: Random) -> None:
    if pid := _worker(world, random):
        _signal(pid, signal.SIGKILL)


def pause_worker(world: World, random: Random) -> None:
    """Pause a worker for 1, 3 or 8 s, which may be longer than its lease lasts."""
    if pid := _worker(world, random):
        with _stopped(pid):
            time.sleep(random.choice([1, 3, 8]))


def _kill(program: Callable[[Random], str], world: World, random: Random) -> None:
    with world.roles:
        if pid := world.pid(program(random)):
            _signal(pid, signal.SIGKILL)


def _pause(program: Callable[[Random], str], longest: float, world: World, random: Random) -> None:
    with world.roles:
        if pid := world.pid(program(random)):
            with _stopped(pid):
                time.sleep(random.uniform(0.5, longest))


def _host(random: Random) -> str:
    return random.choice(HOSTS)


def restart_host(world: World, random: Random) -> None:
    world.control("restart", _host(random))


def restart_all(world: World, _random: Random) -> None:
    """Stop hosts, MariaDB, Redis and nginx at the same moment, and start them again."""
    with world.roles:
        world.control("stop", "all")
        world.control("start", "all")


# Redis.


def _redis(*command: str) -> Nemesis:
    def strike(world: World, _random: Random) -> None:
        with suppress(redis.RedisError), world.redis() as client:
            client.execute_command(*command)

    return strike


def cut_subscribers(world: World, _random: Random) -> None:
    """Cut the subscribers' connections again and again for half a second, as soon as they are back."""
    with suppress(redis.RedisError), world.redis() as client:
        for _ in range(25):
            client.client_kill_filter(_type="pubsub")
            time.sleep(0.02)


def overrun_subscriber(world: World, random: Random) -> None:
    """Stop a worker from reading until Redis disconnects it."""
    leases = workers(world)
    if not leases:
        return
    pid = random.choice(sorted(leases))
    with suppress(redis.RedisError), world.redis() as client, _stopped(pid):
        client.config_set("client-output-buffer-limit", "pubsub 1mb 0 0")
        for _ in range(12):
            client.publish(keys.worker_channel(leases[pid]), b"x" * 1_000_000)
        client.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")


def fail_over_redis(world: World, random: Random) -> None:
    """Let the replica take over from the primary. Existing connections stay open."""
    old = world.serving["redis"]
    new = _other(old)
    give_up = suppress(redis.RedisError, AssertionError)  # another fault may strike at the same time
    with world.roles, give_up, world.redis(old) as primary, world.redis(new) as replica:
        replica.replicaof("127.0.0.1", str(PORTS[old]))
        until(lambda: replica.info("replication").get("master_link_status") == "up", "it follows", 8)
        time.sleep(random.uniform(0, 1))
        replica.replicaof("NO", "ONE")
        primary.replicaof("127.0.0.1", str(PORTS[new]))
        world.lead_to("redis", new)


def restore_snapshot(world: World, random: Random) -> None:
    """Kill Redis, and let it come back with its state of some seconds ago."""
    with world.roles, suppress(redis.RedisError):
        with world.redis() as client:
            client.save()
        time.sleep(random.uniform(1, 5))
        pid = world.pid("redis")
        _signal(pid, signal.SIGKILL)
        until(lambda: world.pid("redis") not in (0, pid), "Redis is started again", 20)
        until(lambda: _has_loaded(world), "it answers", 20)
        world.snapshot().unlink(missing_ok=True)  # the next kill must find none


def _has_loaded(world: World) -> bool:
    with suppress(redis.RedisError), world.redis() as client:
        return bool(client.ping())
    return False


def _other(server: str) -> str:
    return server.removesuffix("-2") if server.endswith("-2") else f"{server}-2"


# MySQL.


Run = Callable[[str], list[tuple[Any, ...]]]


@contextmanager
def _mysql(world: World, server: str = "") -> Iterator[Run]:
    """Yield a function that runs statements as root.

    A failed statement returns no rows, because another fault may strike at the same time.
    """
    with world.roles, world.mysql(server) as connection, connection.cursor() as cursor:

        def run(statement: str) -> list[tuple[Any, ...]]:
            try:
                cursor.execute(statement)
                return list(cursor)
            except MySQLdb.Error:
                return []

        run("USE forkchat")
        yield run


def _kill_connections(run: Run) -> None:
    for (number,) in run("SELECT id FROM information_schema.processlist WHERE user = 'forkchat'"):
        run(f"KILL CONNECTION {number}")


def cut_all(world: World, _random: Random) -> None:
    with _mysql(world) as run:
        _kill_connections(run)


def hold_locks(world: World, random: Random) -> None:
    """Lock all conversations from another session."""
    with _mysql(world) as run:
        run("BEGIN")
        run("SELECT conv FROM conversation FOR UPDATE")
        time.sleep(random.uniform(1, 4))
        run("ROLLBACK")


def deadlock(world: World, random: Random) -> None:
    """Lock rows in the reverse order from another session, again and again."""
    with _mysql(world) as run:
        run("SET SESSION innodb_lock_wait_timeout = 1")
        for _ in range(20):
            run("BEGIN")
            run("SELECT user FROM member ORDER BY user DESC, conv DESC FOR UPDATE")
            time.sleep(random.uniform(0, 0.05))
            run("SELECT conv FROM conversation ORDER BY conv DESC FOR UPDATE")
            run("ROLLBACK")


def read_only(world: World, random: Random) -> None:
    with _mysql(world) as run:
        run("SET GLOBAL read_only = 1")
        time.sleep(random.uniform(1, 7))
        run("SET GLOBAL read_only = 0")


def no_connections_left(world: World, random: Random) -> None:
    with _mysql(world) as run:
        run("SET GLOBAL max_connections = 10")
        _kill_connections(run)
        time.sleep(random.uniform(1, 7))
        run("SET GLOBAL max_connections = 1000")


def fail_over_mysql(world: World, random: Random) -> None:
    """Let the replica, which has all that was committed, take over. Existing connections stay open."""
    old = world.serving["mariadb"]
    new = _other(old)
    with world.roles, world.mysql(old) as primary, world.mysql(new) as replica:
        try:
            _execute(replica, *following(PORTS[old]))
            if not _catch_up(primary, replica, 15):
                return
            time.sleep(random.uniform(0, 1))
            _execute(primary, "SET GLOBAL read_only = 1")
            if _catch_up(primary, replica, 5):
                _execute(replica, "STOP SLAVE", "SET GLOBAL read_only = 0")
                world.lead_to("mariadb", new)
                _execute(primary, *following(PORTS[new]))
        finally:
            if world.serving["mariadb"] == old:
                _execute(primary, "SET GLOBAL read_only = 0")


def lose_tail(world: World, random: Random) -> None:
    """Let the replica take over without the latest commits. Connections stay open, or are cut.

    Memberships do not change meanwhile, because nobody could say what becomes of a lost membership.
    """
    old = world.serving["mariadb"]
    new = _other(old)
    with world.membership, world.roles, world.mysql(old) as primary, world.mysql(new) as replica:
        try:
            _execute(replica, *following(PORTS[old]))
            if not _catch_up(primary, replica, 15):
                return
            _execute(replica, "STOP SLAVE")
            time.sleep(random.choice([0.02, 0.3, 2.0]))
            _execute(primary, "SET GLOBAL read_only = 1")
            epoch, places = _epoch(replica), _lacking(primary, replica)
            _execute(replica, "SET GLOBAL read_only = 0")
            world.lead_to("mariadb", new)
            since = time.monotonic()
            if random.random() < 0.5:
                with _mysql(world, old) as run:
                    _kill_connections(run)
            while places and _epoch(replica) == epoch and time.monotonic() < since + 15:
                time.sleep(0.05)
            noticed = time.monotonic() - since if _epoch(replica) != epoch else math.inf
            world.losses.append(Loss(epoch, places, noticed))
            world.copy_mysql(new, old)
        finally:
            if world.serving["mariadb"] == old:
                _execute(primary, "SET GLOBAL read_only = 0")


def _lacking(primary: Connection, replica: Connection) -> frozenset[Place]:
    """Return the messages that the primary has and the replica lacks."""
    with primary.cursor() as cursor, replica.cursor() as other:
        other.execute("SELECT conv, last_seq FROM forkchat.conversation")
        lasts = dict(other)
        cursor.execute("SELECT conv, last_seq FROM forkchat.conversation")
        grown = [conv for conv, last in cursor.fetchall() if last > lasts.get(conv, 0)]
        places = []
        for conv in grown:
            cursor.execute(
                "SELECT conv, seq, cid FROM forkchat.message WHERE conv = %s AND seq > %s",
                (conv, lasts.get(conv, 0)),
            )
            places += [Place(conv.decode(), seq, cid.decode()) for conv, seq, cid in cursor]
    return frozenset(places)


def _epoch(connection: Connection) -> str:
    return str(_execute(connection, "SELECT CAST(value AS CHAR) FROM forkchat.epoch")[0])


def _execute(connection: Connection, *statements: str) -> tuple[Any, ...]:
    """Run statements; return the first row of the last one."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return tuple(cursor.fetchone() or ())


def _catch_up(primary: Connection, replica: Connection, seconds: float) -> bool:
    (position,) = _execute(primary, "SELECT @@global.gtid_binlog_pos")
    (late,) = _execute(replica, f"SELECT MASTER_GTID_WAIT('{position}', {seconds})")
    return late == 0


# Networks.


def _cut(side: str, world: World, random: Random) -> None:
    with world.network.without(random.choice(list(MACHINE_OF.values())), side):
        time.sleep(random.choice([1, 4, 9]))


def flap(world: World, random: Random) -> None:
    """Lose packets in bursts on all networks of a host."""
    machine = random.choice(list(MACHINE_OF.values()))
    for _ in range(8):
        with ExitStack() as stack:
            for side in ("inside", "redis", "mysql"):
                stack.enter_context(world.network.without(machine, side))
            time.sleep(random.uniform(0.02, 0.3))
        time.sleep(random.uniform(0.02, 0.3))


def kill_clients(world: World, _random: Random) -> None:
    """Cut off a machine of some clients, and reset their sockets.

    The server gets no packet of theirs: nothing closes and nothing answers.
    """
    with world.network.without("far", "outside"):
        world.lose_far_sockets()
        time.sleep(1)


def step_clock(world: World, random: Random) -> None:
    """Let a host's clock jump, and jump back."""
    host = _host(random)
    world.set_clock(host, random.choice([-3600, -7, 7, 3600]))
    time.sleep(random.uniform(1, 5))
    world.set_clock(host, 0)


PROCESSES: dict[str, Nemesis] = {
    "worker killed": kill_worker,
    "worker paused": pause_worker,
    "host killed": partial(_kill, _host),
    "master paused": partial(_pause, _host, 5),
    "host restarted": restart_host,
    "nginx killed": partial(_kill, lambda _: "nginx"),
    "all restarted": restart_all,
}
REDIS: dict[str, Nemesis] = {
    "redis killed": partial(_kill, lambda _: "redis"),
    "redis paused": partial(_pause, lambda _: "redis", 7),
    "redis flushed": _redis("FLUSHALL"),
    "redis cuts subscribers": cut_subscribers,
    "redis cuts all": _redis("CLIENT", "KILL", "TYPE", "normal"),
    "redis answers nobody": _redis("CLIENT", "PAUSE", "3000"),
    "redis gives a subscriber up": overrun_subscriber,
    "redis fails over": fail_over_redis,
    "redis restores a snapshot": restore_snapshot,
}
MYSQL: dict[str, Nemesis] = {
    "mysql killed": partial(_kill, lambda _: "mariadb"),
    "mysql paused": partial(_pause, lambda _: "mariadb", 7),
    "mysql cuts all": cut_all,
    "mysql rows locked": hold_locks,
    "mysql deadlocks": deadlock,
    "mysql read-only": read_only,
    "mysql full": no_connections_left,
    "mysql fails over": fail_over_mysql,
    LOSES_TAIL: lose_tail,
}
MACHINES: dict[str, Nemesis] = {
    "host without redis": partial(_cut, "redis"),
    "host without mysql": partial(_cut, "mysql"),
    "host without nginx": partial(_cut, "inside"),
    "network flaps": flap,
    "clients die": kill_clients,
    "clock steps": step_clock,
}
#: Faults during which no other may strike, because a worker that dies forgets what it stored.
ALONE = frozenset({LOSES_TAIL})
NEMESES = PROCESSES | REDIS | MYSQL | MACHINES
