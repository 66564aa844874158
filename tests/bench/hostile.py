"""Benchmark of hostile clients: for each message, the worst stream that the default limits allow.

The attackers are processes at the lowest priority (nice 19). Real attackers, on another machine, would take
no processor time from the server. Each attack ends by itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from client.load.roles import Account
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.bench import history
from tests.bench.accounts import database, make_accounts
from tests.bench.pairs import new_tally
from tests.bench.talker import Talker, Tally, milliseconds, pace
from tests.server import Server, pss

_BYSTANDERS, _RATE = 10, 40.0
_MEMBERS, _FRIENDS, _GROUPS = 1001, 1000, 400
_MANY = 20
_ANONYMOUS = 50
_BLOCK = 60_000


class World(NamedTuple):
    """The attackers' knowledge: their accounts, the group that all are in, and a victim to write to."""

    port: int
    accounts: list[Account]
    group: int
    victim: int


class Attack(NamedTuple):
    """An attack.

    `block(world, number)` makes the bytes that a connection sends next; `number` differs for each connection
    and each block. `is_inside`: the connection logs in first. `reads`: it reads the answers. `pause`: seconds
    between blocks.
    """

    block: Callable[[World, int], bytes]
    is_inside: bool = True
    reads: bool = True
    pause: float = 0.0


class Outcome(NamedTuple):
    p50: float  # milliseconds of the bystanders' messages and requests
    p99: float
    worst: float
    grown: float  # MiB that all workers together have grown by
    lost: int  # leases lost
    sent: int  # bytes that the attackers sent
    heard: int
    ended: int  # connections of the attackers that the server ended


def _many(*messages: dict[str, Any], rid: bool = True) -> Callable[[World, int], bytes]:
    def block(world: World, _number: int) -> bytes:
        known = {"GROUP": world.group, "VICTIM": world.victim, "CONV": f"g{world.group}"}
        frames = b"".join(
            line(({"rid": 1} if rid else {}) | {key: known.get(str(v), v) for key, v in each.items()})
            for each in messages
        )
        return frames * max(1, _BLOCK // len(frames))

    return block


def _each(make: Callable[[World, int], dict[str, Any]]) -> Callable[[World, int], bytes]:
    """Return a block of 500 different requests."""
    return lambda world, number: b"".join(
        line({"rid": n} | make(world, number * 1000 + n)) for n in range(500)
    )


def _raw(data: bytes) -> Callable[[World, int], bytes]:
    return lambda _world, _number: data * max(1, _BLOCK // len(data))


_TEXT = "x" * 8000
_KEYS = {f"d{n}-{n + 1}": 10**15 for n in range(1, 2000)}  # fits in 64 KiB

ATTACKS: dict[str, Attack] = {
    "LOGIN, token unknown": Attack(_many({"msgid": m.LOGIN, "token": "x"}), is_inside=False),
    "LOGIN and LOGINOUT": Attack(
        lambda world, n: b"".join(
            line({"msgid": m.LOGIN, "rid": 1, "token": world.accounts[n % 20].token, "takeover": True})
            + line({"msgid": m.LOGINOUT, "rid": 2})
            for _ in range(100)
        ),
        is_inside=False,
    ),
    "REG": Attack(_each(lambda _, n: {"msgid": m.REG, "name": f"r{n}", "password": "secret word"}), False),
    "ONE_CHAT": Attack(_many({"msgid": m.ONE_CHAT, "toid": "VICTIM", "msg": _TEXT})),
    "ONE_CHAT, to all": Attack(_each(lambda _, n: {"msgid": m.ONE_CHAT, "toid": n % 2000 + 1, "msg": "x"})),
    "ADD_FRIEND": Attack(_each(lambda _, n: {"msgid": m.ADD_FRIEND, "friendid": n % 2000 + 1})),
    "CREATE_GROUP": Attack(_many({"msgid": m.CREATE_GROUP, "groupname": "g", "groupdesc": "d" * 200})),
    "ADD_GROUP": Attack(_each(lambda _, n: {"msgid": m.ADD_GROUP, "groupid": n % 400 + 1})),
    "GROUP_CHAT": Attack(_many({"msgid": m.GROUP_CHAT, "groupid": "GROUP", "msg": _TEXT})),
    "HELLO": Attack(_many({"msgid": m.HELLO})),
    "PING": Attack(_many({"msgid": m.PING})),
    "PONG": Attack(_many({"msgid": m.PONG}, rid=False)),
    "SYNC": Attack(_many({"msgid": m.SYNC})),
    "FETCH": Attack(_many({"msgid": m.FETCH, "conv": "CONV"})),
    "RECV": Attack(_many({"msgid": m.RECV, "c": _KEYS}, rid=False)),
    "READ": Attack(_many({"msgid": m.READ, "conv": "CONV", "seq": 9})),
    "TYPING": Attack(_many({"msgid": m.TYPING, "conv": "CONV"})),
    "FRIENDS list": Attack(_many({"msgid": m.FRIENDS, "op": "list"})),
    "FRIENDS remove": Attack(_many({"msgid": m.FRIENDS, "op": "remove", "friendid": "VICTIM"})),
    "GROUPS list": Attack(_many({"msgid": m.GROUPS, "op": "list"})),
    "GROUPS members": Attack(_many({"msgid": m.GROUPS, "op": "members", "groupid": "GROUP"})),
    "GROUPS leave": Attack(_many({"msgid": m.GROUPS, "op": "leave", "groupid": 1})),
    "GROUPS remove": Attack(_many({"msgid": m.GROUPS, "op": "remove", "groupid": 1, "id": "VICTIM"})),
    "ACCOUNT": Attack(_many({"msgid": m.ACCOUNT, "op": "password", "old": "wrong", "new": "new password"})),
    "LOOKUP": Attack(_each(lambda _, n: {"msgid": m.LOOKUP, "name": f"nobody {n}"})),
    "unknown msgid": Attack(_many({"msgid": 999})),
    "garbage inside": Attack(_raw(b"1\n")),
    "PING, unread": Attack(_many({"msgid": m.PING}), reads=False),
    "FETCH, unread": Attack(_many({"msgid": m.FETCH, "conv": "CONV"}), reads=False),
}
#: Attacks of strangers, from 50 connections.
ANONYMOUS: dict[str, Attack] = {
    "garbage": Attack(_raw(b"1\n"), is_inside=False),
    "garbage, unread": Attack(_raw(b"1\n"), is_inside=False, reads=False),
    "large garbage": Attack(_raw(b"[" * 4000 + b"\n"), is_inside=False),
    "no end": Attack(_raw(b"x" * 60_000), is_inside=False),
    "a byte at a time": Attack(lambda _world, _number: b"x", is_inside=False, pause=0.01),
    "come and go": Attack(lambda _world, _number: b"", is_inside=False),
}


def run() -> None:
    measure(10.0)


def quick() -> None:
    """Run all attacks for 2 s each."""
    measure(2.0)


def measure(seconds: float) -> None:
    found: dict[str, float] = {}
    with Server("-w", "2") as server:
        world = make_world(server)
        print("                                ms: p50   p99  worst  MiB  leases lost   MB in  MB out  ended")
        plans = [(name, attack, count) for name, attack in ATTACKS.items() for count in (1, _MANY)]
        plans += [(name, attack, _ANONYMOUS) for name, attack in ANONYMOUS.items()]
        for name, attack, count in plans:
            outcome = strike(server, world, attack, count, seconds)
            print(
                f"{name:22} x {count:3} {outcome.p50:12.1f} {outcome.p99:6.1f} {outcome.worst:6.1f}"
                f" {outcome.grown:5.1f} {outcome.lost:12} {outcome.sent / 1e6:7.2f}"
                f" {outcome.heard / 1e6:7.2f} {outcome.ended:6}",
                flush=True,
            )
            found[f"p99 ms, {name} x {count}"] = outcome.p99
    history.note("hostile", found)


def make_world(server: Server) -> World:
    """Make a large group, and attackers with as many friends and groups as are allowed."""
    accounts = make_accounts(server, 2000)
    first = accounts[0].id
    with closing(database(server)) as connection, connection.cursor() as cursor:
        connection.autocommit(False)
        for at in range(1, _GROUPS + 1):
            cursor.execute("INSERT INTO chat_group (id, name, description) VALUES (%s, 'g', '')", (at,))
        convs = [(f"g{at}",) for at in range(1, _GROUPS + 1)]
        cursor.executemany("INSERT INTO conversation (conv, touched) VALUES (%s, UTC_TIMESTAMP(3))", convs)
        big = [(first + n, f"g{_GROUPS}") for n in range(_MEMBERS)]
        small = [(first + n, f"g{at}") for n in range(_MANY) for at in range(2, _GROUPS)]
        cursor.executemany("INSERT INTO member (user, conv) VALUES (%s, %s)", big + small)
        friends = [
            (first + n, first + other) for n in range(_MANY) for other in range(_FRIENDS) if other != n
        ]
        cursor.executemany("INSERT INTO friend (user, friend) VALUES (%s, %s)", friends)
        connection.commit()
    return World(server.port, accounts, _GROUPS, accounts[-1].id)


def strike(server: Server, world: World, attack: Attack, count: int, seconds: float) -> Outcome:
    """Run an attack with `count` connections for `seconds`, and return its effect on others."""
    workers = list(server.workers().values())
    before, lost = sum(map(pss, workers)), server.log().count("lease.lost")
    ours, theirs = multiprocessing.Pipe()
    seen, tell = multiprocessing.Pipe()
    attackers = multiprocessing.Process(target=_attack, args=(world, attack, count, seconds + 1, theirs))
    bystanders = multiprocessing.Process(target=_stand_by, args=(world, seconds, tell))
    bystanders.start()
    assert seen.recv() == "ready"
    attackers.start()
    assert ours.recv() == "begun"
    tell_at = time.monotonic()
    seen.send("go")
    p50, p99, worst = seen.recv()
    grown = sum(map(pss, workers)) - before
    sent, heard, ended = ours.recv()
    attackers.join()
    bystanders.join()
    assert time.monotonic() - tell_at < seconds + 60
    lost = server.log().count("lease.lost") - lost
    return Outcome(p50, p99, worst, grown, lost, sent, heard, ended)


# The attackers.


class _Client:
    """One connection that sends as much as it can, and reads only if its attack does."""

    def __init__(self, world: World, attack: Attack, number: int):
        self.world, self.attack, self.number = world, attack, number
        self.times = self.sent = self.heard = self.ended = 0
        self.rest = b""
        self.not_before = 0.0
        self.open()

    def open(self) -> None:
        self.sock = socket.socket()
        if not self.attack.reads:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.connect(("127.0.0.1", self.world.port))
        self.rest = line({"msgid": m.HELLO})
        if self.attack.is_inside:
            token = self.world.accounts[self.number].token
            self.sock.sendall(self.rest + line({"msgid": m.LOGIN, "token": token, "takeover": True}))
            self.rest = b""
            self.sock.settimeout(30)
            with suppress(OSError):  # the server may have closed the connection
                while b'"msgid":2,' not in self.sock.recv(1 << 20):
                    pass
        self.sock.setblocking(False)

    def step(self) -> None:
        now = time.monotonic()
        try:
            if self.attack.reads:
                with suppress(BlockingIOError):
                    data = self.sock.recv(1 << 18)
                    if not data:
                        raise ConnectionResetError
                    self.heard += len(data)
            if now < self.not_before:
                return
            if not self.rest:
                self.times += 1
                self.rest = self.attack.block(self.world, self.number + 100 * self.times)
                self.not_before = now + self.attack.pause
            if not self.rest:
                raise ConnectionResetError
            with suppress(BlockingIOError):
                sent = self.sock.send(self.rest)
                self.sent += sent
                self.rest = self.rest[sent:]
        except OSError:
            self.ended += 1
            self.sock.close()
            self.open()


def _attack(world: World, attack: Attack, count: int, seconds: float, pipe: Connection) -> None:
    os.nice(19)
    clients = [_Client(world, attack, number) for number in range(count)]
    pipe.send("begun")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for client in clients:
            client.step()
        if attack.pause:
            time.sleep(attack.pause)
        else:
            select.select([each.sock for each in clients], [], [], 0.001)
    pipe.send(tuple(sum(getattr(each, what) for each in clients) for what in ("sent", "heard", "ended")))
    for client in clients:
        client.sock.close()


# The bystanders.


def _stand_by(world: World, seconds: float, pipe: Connection) -> None:
    async def stand() -> None:
        accounts = world.accounts[-1 - 2 * _BYSTANDERS : -1]
        talkers = [Talker(Tally()) for _ in accounts]
        for n, talker in enumerate(talkers):
            await talker.open(world.port)
            await talker.log_in(accounts[n].token)
            talker.address(toid=accounts[n - _BYSTANDERS].id)
        await pace(talkers, _RATE, 1)  # the first messages create the conversations
        pipe.send("ready")
        await asyncio.to_thread(pipe.recv)
        tally = new_tally(talkers)
        pings: list[float] = []
        pinging = asyncio.create_task(_ping(talkers, pings))
        await pace(talkers, _RATE, seconds)
        await asyncio.sleep(1)
        pinging.cancel()
        late = [time.monotonic() - since for talker in talkers for since in talker.unanswered()]
        delays = [*tally.acked, *tally.shown, *pings, *late]
        pipe.send(tuple(milliseconds(delays, part) for part in (0.5, 0.99, 1.0)))
        for talker in talkers:
            talker.transport.abort()

    asyncio.run(stand())


async def _ping(talkers: list[Talker], pings: list[float]) -> None:
    while True:
        for talker in talkers:
            since = time.monotonic()
            await talker.ask({"msgid": m.PING})
            pings.append(time.monotonic() - since)
            await asyncio.sleep(0.02)
