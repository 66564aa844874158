"""Input, output and the cost of a client, measured with the default limits except those that a test sets."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import count

import orjson
import pytest

from client.aio.client import Client
from client.protocol.events import Disconnected, Event, Message, Problem
from forkchat.net.connection import Connection
from forkchat.net.loop import EventLoop
from forkchat.net.wheel import Wheel
from forkchat.process.bucket import Bucket
from forkchat.process.inbox import Inbox, Turns
from forkchat.wire import msgid as m
from forkchat.wire.frames import FrameDecoder
from forkchat.wire.states import LEGAL, State
from forkchat.wire.weights import WEIGHTS
from tests.bench.accounts import database, make_accounts
from tests.bench.hostile import ANONYMOUS, ATTACKS, make_world, strike
from tests.server import Server, pss, until
from tests.talk import QUIET, Classic, Modern, Wire, come_back
from tests.talk import Message as Frame

_CAPS = "friends = 3\ngroups = 2\nmembers = 2\n"


@pytest.fixture(scope="module")
def free() -> Iterator[Server]:
    """A server without rates, and with one worker, which all clients share."""
    with Server("-w", "1", config=QUIET) as server:
        yield server


@pytest.fixture(scope="module")
def narrow() -> Iterator[Server]:
    """A server with a small output limit and short timeouts for silent clients."""
    config = f"{QUIET}output = 65536\nlogin_time = 1.0\n[session]\nheartbeat = 0.5\ndead_after = 6.0\n"
    with Server("-w", "1", config=config) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A server with the default limits."""
    with Server("-w", "2") as server:
        yield server


def reload(server: Server, config: str) -> None:
    """Make all workers load a new configuration."""
    before = server.log().count("worker.reloaded")
    server.config_path.write_text(config)
    server.send(signal.SIGHUP)
    until(lambda: server.log().count("worker.reloaded") == before + len(server.workers()), "reloaded")


def pour(client: Wire, data: bytes, is_over: Callable[[bytearray], bool], seconds: float = 20.0) -> bytes:
    """Send `data` while reading. Return the input up to `is_over(input)`, or up to the server's close.

    Raises AssertionError if neither happens within `seconds`.
    """
    sock, heard = client._sock, bytearray()
    sock.setblocking(False)
    deadline, view = time.monotonic() + seconds, memoryview(data)
    try:
        while time.monotonic() < deadline:
            readable, writable, _ = select.select([sock], [sock] if view else [], [], 0.1)
            if readable:
                got = sock.recv(1 << 18)
                if not got:
                    return bytes(heard)
                heard += got
            if writable:
                view = view[sock.send(view) :]
            if not view and is_over(heard):
                return bytes(heard)
    except (ConnectionResetError, BrokenPipeError):
        return bytes(heard)
    finally:
        sock.settimeout(10)
    raise AssertionError(f"not over after {seconds} s; {len(heard)} bytes came")


def frames(data: bytes) -> list[Frame]:
    return [orjson.loads(each) for each in data.splitlines()]


def is_alive(client: Modern) -> bool:
    return client.ask(m.PING)["errno"] == 0


# Output.


#: The `rid` and the PING are padded, so that the kernels' buffers do not hold too many PINGs.
_RID = b"x" * 60
_PING = b'{"msgid":102,"rid":"%s","pad":"%s"}\n' % (_RID, b"x" * 60)
_PONG = b'{"msgid":103,"rid":"%s","errno":0}\n' % _RID


def send_until_stuck(client: Modern) -> int:
    """Send PINGs without reading, until the server stops reading. Return the number of bytes sent."""
    block, sent = _PING * 1000, 0
    client.deadline(1.0)
    with suppress(TimeoutError):
        while sent < 64 << 20:
            sent += client._sock.send(block[sent % len(_PING) :])
    client.deadline(10)
    return sent


def test_client_that_does_not_read_is_not_read(free: Server) -> None:
    """The server does not read a client that does not read.

    When the client reads again, all its requests are answered.
    """
    client, witness = Modern(free.port, receive_buffer=4096).join_in(), Modern(free.port).join_in()
    (worker,) = free.workers().values()
    before = pss(worker)
    sent = send_until_stuck(client)
    assert is_alive(witness)
    assert pss(worker) - before < 8
    assert sent < 16 << 20  # mostly in the kernels' buffers
    rest = _PING[sent % len(_PING) :]
    total = (sent + len(rest)) // len(_PING)
    heard = pour(client, rest, lambda heard: len(heard) >= total * len(_PONG))
    assert frames(heard).count(orjson.loads(_PONG)) == total


def test_peer_that_is_not_read_lives_while_it_takes_what_it_is_sent(narrow: Server) -> None:
    stuck, taking = (Modern(narrow.port, receive_buffer=4096).join_in() for _ in range(2))
    for client in (stuck, taking):
        send_until_stuck(client)
    long, ended = time.monotonic() + 7.0, f"session.end user={stuck.id} reason=idle"
    until(
        lambda: not taking._sock.recv(1024) or (time.monotonic() > long and ended in narrow.log()),
        "it has outlived the one that takes nothing",
    )
    assert ended in narrow.log()
    assert f"session.end user={taking.id}" not in narrow.log()


# Input.


class _Stub:
    """The part of a peer that an inbox needs."""

    address = "here"
    session = object()

    def __init__(self) -> None:
        self.split = FrameDecoder(65536).feed


def test_a_peer_has_a_share_of_a_turn() -> None:
    """A peer that sent much at once is served a little at a time, with other peers in between."""
    loop, handled = EventLoop(), list[str]()
    turns = Turns(loop)
    ours = []

    def come(name: str) -> None:
        our, their = socket.socketpair()
        ours.append(our)
        connection = Connection(loop, their, 1 << 20)
        inbox = Inbox(_Stub(), connection, turns, lambda _peer, _frame: handled.append(name))  # type: ignore[arg-type]
        connection.start(inbox.feed, str, list, inbox.wake)

    come("greedy")
    come("modest")
    ours[0].sendall(b"1\n" * 30_000)
    loop.call_later(0.0, ours[1].sendall, b"1\n")
    loop.call_later(2.0, loop.stop)
    loop.run()
    for each in ours:
        each.close()
    assert handled.count("greedy") == 30_000
    assert handled.index("modest") < 1000


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the hard limit allows, because a shell's soft limit is 1024."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("crowd", ["peers", "timers"])
def test_redis_and_the_like_wait_for_no_crowd(crowd: str, many_files: None) -> None:
    """Events of Redis and the like are handled in every turn, however many clients end at once."""
    loop, handled = EventLoop(), list[str]()
    redis, peers = os.eventfd(0), list[int]()

    def note(what: str) -> None:
        if not handled:
            os.eventfd_write(redis, 1)
        handled.append(what)
        if len(handled) == 3001:
            loop.stop()

    def end(what: str, fd: int, _events: int) -> None:
        loop.unregister(fd)
        note(what)

    loop.register(redis, select.EPOLLIN, partial(end, "redis", redis))
    for _ in range(3000):
        if crowd == "timers":
            loop.call_later(0.0, note, "one of many")
        else:
            peers.append(peer := os.eventfd(1))
            loop.register(peer, select.EPOLLIN, partial(end, "one of many", peer), is_peer=True)
    loop.run()
    loop.close()
    for fd in (redis, *peers):
        os.close(fd)
    assert handled.index("redis") < 1500


@pytest.mark.parametrize("size", [1, 3, 4095, 4096, 4097, 65535, 65536, 200_000])
def test_input_in_any_pieces_is_handled_once_and_in_order(free: Server, size: int) -> None:
    client = Modern(free.port)
    wanted = min(3000, 3 * size + 100)
    data = b"".join(b'{"msgid":102,"rid":%d}\n' % n for n in range(wanted))
    last = b'"rid":%d,"errno":0}\n' % (wanted - 1)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    heard = b"".join(pour(client, piece, lambda _: True) for piece in pieces)
    heard += pour(client, b"", lambda more: (heard + more).endswith(last))
    assert [each["rid"] for each in frames(heard)] == list(range(wanted))


GARBAGE = {
    "numbers": b"1\n",
    "no JSON": b"x\n",
    "no msgid": b"{}\n",
    "unknown msgid": b'{"msgid":999,"rid":1}\n',
    "not now": b'{"msgid":100,"rid":1}\n',
    "a field is wrong": b'{"msgid":5,"rid":1,"toid":"x","msg":"x"}\n',
    "a rid is wrong": b'{"msgid":102,"rid":[]}\n',
    "large": b"[" * 3000 + b"\n",
}


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("is_inside", [False, True], ids=["stranger", "inside"])
def test_broken_input_is_answered_so_many_times(plain: Server, frame: bytes, is_inside: bool) -> None:
    client = Modern(plain.port)
    if is_inside:
        (account,) = make_accounts(plain, 1)
        assert client.login(token=account.token)["errno"] == 0
    heard = frames(pour(client, frame * 20_000, lambda _: False))
    most = 100 if is_inside else 20
    assert most <= len(heard) - 1 <= most + 20  # some are forgiven meanwhile
    assert {each["errno"] for each in heard[:-1]} <= {3, 4, 8, 12}
    assert (heard[-1]["msgid"], heard[-1]["reason"]) == (m.BYE, "kicked")


def test_a_classic_peer_is_closed_for_the_same(plain: Server) -> None:
    client = Classic(plain.port)
    assert pour(client, b"x\0" * 20_000, lambda _: False) == b""


def test_too_fast_is_forgiven_for_long(plain: Server) -> None:
    """A client that sends a thousand requests at once is told when to retry each, at different times.

    Only a much longer flood gets the client kicked.
    """
    (account,) = make_accounts(plain, 1)
    client = Modern(plain.port)
    client.login(token=account.token)
    heard = frames(pour(client, b'{"msgid":102,"rid":7}\n' * 1000, lambda heard: heard.count(b"\n") >= 1000))
    waits = [each["retry_after"] for each in heard if each["errno"] == 8]
    assert len(waits) > 700
    assert waits[-1] > (len(waits) - 50) / 50 / 2
    heard = frames(pour(client, b'{"msgid":102,"rid":7}\n' * 20_000, lambda _: False))
    assert (heard[-1]["msgid"], heard[-1]["reason"]) == (m.BYE, "kicked")
    assert 1000 < len(heard) < 8000


def test_a_flood_of_bad_connections_is_counted_in_the_log(plain: Server) -> None:
    def bad() -> int:
        return sum(int(n) for n in re.findall(r"peers\.ended count=(\d+)", plain.log()))

    before, lines = bad(), plain.log().count("peer.frame_too_long")
    for _ in range(500):
        with Wire(plain.port) as client:
            client.send(b"x" * 5000)
            client.wait_closed()
    until(lambda: bad() > before, "they are counted")
    until(lambda: bad() - before + plain.log().count("peer.frame_too_long") - lines == 500, "each is")


def test_strangers_whose_requests_wait_get_little_memory(free: Server) -> None:
    """Input that strangers send while a request waits stays in the kernels' buffers."""
    (worker,) = free.workers().values()
    with ExitStack() as stack:
        clients = [stack.enter_context(Wire(free.port)) for _ in range(800)]
        before, most = pss(worker), 0.0
        for client in clients:
            client._sock.setblocking(False)
            client.send(b'{"msgid":1,"id":4000000000,"password":"x"}\n')
            with suppress(BlockingIOError):
                client._sock.send(b"x" * 100_000)
        for _ in range(20):
            most = max(most, pss(worker))
        assert most - before < 45  # MiB; hashing takes 19; it was 72 with 64 KiB read of each


# Rates.


@pytest.mark.parametrize("rate", [1, 7, 50, 199, 200, 201, 1000, 99_999, 100_000, 10**6])
@pytest.mark.parametrize("step", [1e-6, 1e-4, 0.003, 0.0049, 0.0051, 0.5])
def test_a_bucket_is_exact(rate: int, step: float) -> None:
    bucket, burst, now, taken = Bucket(10), 10, 1.0, 0
    tries = 5000
    for _ in range(tries):
        while taken < 200_000 and not bucket.take(rate, burst, now):
            taken += 1
        now += step
    wanted = burst + rate * step * (tries - 1) if rate * step <= burst - 1 else (burst - 1) * tries
    assert taken <= min(200_000, burst + rate * step * (tries - 1), burst * tries) + 1
    assert taken >= min(200_000, wanted) - 1


def test_a_bucket_below_zero_is_waited_for() -> None:
    bucket = Bucket(10)
    assert bucket.take(10, 10, 1.0) == 0.0
    bucket.spend(29)
    assert bucket.take(10, 10, 1.0) == pytest.approx(2.1)
    assert bucket.take(10, 10, 1.0) == pytest.approx(2.2)  # each waits after the one before
    assert bucket.take(10, 10, 3.11) == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(50, 200), (200, 200), (250, 20), (1000, 100)])
def test_messages_at_once_are_stored_at_the_rate(plain: Server, rate: int, burst: int) -> None:
    """Of 20,000 messages in one write, as many are stored as the rate allows in the time taken."""
    limits = f"[limits]\nmessage_rate = {rate}\nmessage_burst = {burst}\nfault_burst = 0\n"
    reload(plain, limits)
    a, b = make_accounts(plain, 2)
    client = Modern(plain.port)
    assert client.login(token=a.token)["errno"] == 0
    number = count()
    data = b"".join(
        orjson.dumps({"msgid": m.ONE_CHAT, "rid": n, "toid": b.id, "cid": f"{n}", "msg": "x"}) + b"\n"
        for n in (next(number) for _ in range(20_000))
    )
    begun = time.monotonic()
    heard = frames(
        pour(client, data, lambda heard: heard.count(b"\n", -400) > 0 and heard.count(b"\n") >= 20_000)
    )
    took = time.monotonic() - begun
    stored = sum(each.get("errno") == 0 for each in heard)  # PINGs of the server have no errno
    reload(plain, "")
    assert burst - 10 <= stored <= burst + rate * took + 10
    assert stored >= burst - 10  # the server may finish long before the client has read all answers


def test_every_message_weighs_something() -> None:
    weighed = {key if isinstance(key, int) else key[0] for key in WEIGHTS}
    assert weighed == set().union(*(LEGAL[state] for state in State))
    assert min(WEIGHTS.values()) >= 1


def test_dear_requests_are_answered_less_often(plain: Server) -> None:
    (account,) = make_accounts(plain, 1)
    client = Modern(plain.port)
    client.login(token=account.token)
    asked = b'{"msgid":130,"rid":7,"op":"list"}\n' * 400
    begun = time.monotonic()
    heard = frames(pour(client, asked, lambda heard: heard.count(b"\n") >= 400))
    took = time.monotonic() - begun
    answered = sum(each["errno"] == 0 for each in heard)
    assert 30 <= answered <= (200 + 50 * took) / WEIGHTS[m.FRIENDS, "list"] + 2


def test_recv_weighs_by_its_conversations(plain: Server) -> None:
    (account,) = make_accounts(plain, 1)
    client = Modern(plain.port)
    client.login(token=account.token)
    client.tell(m.RECV, c={f"d{n}-{n + 1}": 1 for n in range(1, 3900)})
    answer = client.ask(m.PING)
    assert (answer["errno"], answer["retry_after"] > 0.5) == (8, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"msgid": m.TYPING, "conv": "GROUP"},
        {"msgid": m.GROUP_CHAT, "groupid": 0, "msg": "x"},
        {"msgid": m.GROUP_CHAT, "groupid": 0, "msg": "x", "ephemeral": True},
    ],
    ids=["typing", "chat", "ephemeral"],
)
def test_what_goes_to_many_weighs_more(crowded: tuple[Modern, int], fields: Frame) -> None:
    talker, group = crowded
    known = {"conv": f"g{group}", "groupid": group}
    asked = orjson.dumps({"rid": 7} | {key: known.get(key, value) for key, value in fields.items()}) + b"\n"
    begun = time.monotonic()
    heard = pour(talker, asked * 400, lambda heard: heard.count(b'"rid":7') >= 400)
    took = time.monotonic() - begun
    answered = sum(each.get("rid") == 7 and each["errno"] == 0 for each in frames(heard))
    assert 1 <= answered <= (200 + 50 * took) / 2


@pytest.fixture
def crowded(plain: Server) -> Iterator[tuple[Modern, int]]:
    """A client and its group, whose 240 members are all online, on two workers."""
    first, *others = make_accounts(plain, 240)
    with ExitStack() as stack:
        talker = stack.enter_context(Modern(plain.port))
        talker.login(token=first.token)
        group = talker.done(m.CREATE_GROUP, groupname="big")["groupid"]
        with closing(database(plain)) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO member (user, conv) VALUES (%s, %s)", [(each.id, f"g{group}") for each in others]
            )
            connection.commit()
        for each in others:
            assert stack.enter_context(Modern(plain.port)).login(token=each.token)["errno"] == 0
        yield talker, group


def test_what_a_session_owes_its_account_pays(plain: Server) -> None:
    """A client cannot avoid the weight of a request by disconnecting and logging in again."""
    (account,) = make_accounts(plain, 1)
    spent, begun, frame = 0, time.monotonic(), b'{"msgid":102,"rid":7,"pad":"%s"}\n' % (b"x" * 60_000)
    for _ in range(40):
        with Modern(plain.port) as client:
            assert client.login(token=account.token, takeover=True)["errno"] == 0
            heard = frames(pour(client, frame * 10, lambda heard: heard.count(b"\n") >= 10))
            spent += 59 * sum(each["errno"] == 0 for each in heard)
    assert 100 < spent <= 2 * (200 + 50 * (time.monotonic() - begun)) + 60


# Caps and slow rates.


def test_caps() -> None:
    config = f"{QUIET}{_CAPS}"
    with Server("-w", "1", config=config) as server:
        accounts = make_accounts(server, 6)
        li, bo, cy = (Modern(server.port) for _ in range(3))
        for client, account in zip((li, bo, cy), accounts, strict=False):
            client.login(token=account.token)
        ids = [account.id for account in accounts]
        answers = [li.ask(m.ADD_FRIEND, friendid=other) for other in ids[1:5]]
        assert [each["errno"] for each in answers] == [0, 0, 0, 5]
        assert "3 friends" in answers[-1]["errmsg"]
        assert li.done(m.ADD_FRIEND, friendid=ids[1])  # a second time changes nothing
        assert len(li.done(m.FRIENDS, op="list")["friends"]) == 3
        groups = [li.ask(m.CREATE_GROUP, groupname="g") for _ in range(3)]
        assert [each["errno"] for each in groups] == [0, 0, 5]
        assert "2 groups" in groups[-1]["errmsg"]
        assert len(li.done(m.GROUPS, op="list")["groups"]) == 2
        group = groups[0]["groupid"]
        assert bo.ask(m.ADD_GROUP, groupid=group)["errno"] == 0
        full = cy.ask(m.ADD_GROUP, groupid=group)
        assert (full["errno"], "2 members" in full["errmsg"]) == (5, True)
        assert bo.ask(m.ADD_GROUP, groupid=group)["errno"] == 0
        third = cy.done(m.CREATE_GROUP, groupname="h")["groupid"]
        assert li.ask(m.ADD_GROUP, groupid=third)["errno"] == 5
        li.done(m.GROUPS, op="leave", groupid=group)
        assert li.ask(m.ADD_GROUP, groupid=third)["errno"] == 0
        with closing(database(server)) as connection, connection.cursor() as cursor:  # from before the cap
            cursor.executemany(
                "INSERT IGNORE INTO friend (user, friend) VALUES (%s, %s)",
                [(ids[0], other) for other in ids[1:]],
            )
            connection.commit()
        assert len(come_back(server.port, li).done(m.FRIENDS, op="list")["friends"]) == 5


@pytest.fixture(scope="module")
def counted() -> Iterator[Server]:
    """A server with rates per minute for new conversations, changes and logins, and without other rates."""
    config = QUIET
    for key, rate in (("begin_rate", 4), ("change_rate", 4), ("session_rate", 40)):
        config = config.replace(f"{key} = 0", f"{key} = {rate}")
    with Server("-w", "2", config=config) as server:
        yield server


def test_begun_conversations_have_a_rate(counted: Server) -> None:
    """Only new conversations have a rate, which outlives a session. Existing ones stay writable."""
    li, *others = make_accounts(counted, 8)
    client = Modern(counted.port)
    client.login(token=li.token)
    rids = [client.say(m.ONE_CHAT, toid=other.id, msg=f"{n}") for other in others for n in range(3)]
    answers = [client.answer(rid) for rid in rids]
    assert [each["errno"] for each in answers] == [0] * 12 + [8] * 9
    assert [each["seq"] for each in answers[:12]] == [1, 2, 3] * 4
    assert 0 < answers[-1]["retry_after"] <= 60
    assert "4 conversations" in answers[-1]["errmsg"]
    assert client.ask(m.ONE_CHAT, toid=10**9, msg="x")["errno"] == 8  # an unknown recipient counts, too
    assert client.ask(m.ONE_CHAT, toid=others[-1].id, msg="x", ephemeral=True)["errno"] == 0
    client = come_back(counted.port, client)
    assert client.done(m.ONE_CHAT, toid=others[0].id, msg="x")["seq"] == 4
    assert client.ask(m.ONE_CHAT, toid=others[-1].id, msg="x")["errno"] == 8
    back = Modern(counted.port)  # an answer begins no conversation
    back.login(token=others[0].token)
    assert back.done(m.ONE_CHAT, toid=li.id, msg="x")["seq"] == 5


def test_a_session_follows_so_many_pairs(free: Server) -> None:
    """A pair that a session stopped following, to follow others, is followed again. No message is missing."""
    first, second, *others = make_accounts(free, 1100)
    li, bo = Modern(free.port), Modern(free.port)
    for client, account in ((li, first), (bo, second)):
        client.login(token=account.token)
    bo.done(m.ONE_CHAT, toid=first.id, msg="1")
    rids = [li.say(m.ONE_CHAT, toid=other.id, msg="x") for other in others]
    assert all(li.answer(rid)["errno"] == 0 for rid in rids)
    for n in ("2", "3"):
        bo.done(m.ONE_CHAT, toid=first.id, msg=n)
    assert [li.push(m.ONE_CHAT, id=second.id)["msg"] for _ in range(3)] == ["1", "2", "3"]
    li.done(m.ONE_CHAT, toid=second.id, msg="4")
    assert bo.push(m.ONE_CHAT, id=first.id)["msg"] == "4"
    li = come_back(free.port, li)
    assert is_alive(li)


def test_logins_have_a_rate(counted: Server) -> None:
    li, bo = make_accounts(counted, 2)
    answers = [Modern(counted.port).login(token=li.token, takeover=True) for _ in range(42)]
    assert [each["errno"] for each in answers] == [0] * 40 + [8] * 2
    assert (0 < answers[-1]["retry_after"] <= 60, "40 logins" in answers[-1]["errmsg"]) == (True, True)
    assert Modern(counted.port).login(token=bo.token)["errno"] == 0


def test_changes_have_a_rate_that_outlives_a_connection(counted: Server) -> None:
    accounts = make_accounts(counted, 4)
    li = Modern(counted.port)
    li.login(token=accounts[0].token)
    li.done(m.ADD_FRIEND, friendid=accounts[1].id)
    group = li.done(m.CREATE_GROUP, groupname="g")["groupid"]
    li = come_back(counted.port, li)
    li.done(m.ADD_GROUP, groupid=group)
    li.done(m.CREATE_GROUP, groupname="g")
    for msgid, fields in (
        (m.ADD_FRIEND, {"friendid": accounts[2].id}),
        (m.CREATE_GROUP, {"groupname": "g"}),
    ):
        late = li.ask(msgid, **fields)
        assert (late["errno"], 0 < late["retry_after"] <= 60) == (8, True)
        assert "4 " in late["errmsg"]
    assert li.ask(m.ADD_GROUP, groupid=group)["errno"] == 8
    bo = Modern(counted.port)
    bo.login(token=accounts[1].token)
    bo.done(m.ADD_GROUP, groupid=group)


# Lists in pages.


def test_lists_come_in_pages(free: Server) -> None:
    accounts = make_accounts(free, 451)
    li, ids = accounts[0], [each.id for each in accounts]
    client = Modern(free.port)
    client.login(token=li.token)
    group = client.done(m.CREATE_GROUP, groupname="big")["groupid"]
    with closing(database(free)) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO member (user, conv) VALUES (%s, %s)", [(n, f"g{group}") for n in ids[1:]]
        )
        cursor.executemany(
            "INSERT INTO friend (user, friend) VALUES (%s, %s)", [(ids[0], n) for n in ids[1:]]
        )
        cursor.executemany(
            "INSERT INTO chat_group (id, name, description) VALUES (%s, 'g', '')",
            [(group + n,) for n in range(1, 301)],
        )
        cursor.executemany(
            "INSERT INTO conversation (conv, touched) VALUES (%s, UTC_TIMESTAMP(3))",
            [(f"g{group + n}",) for n in range(1, 301)],
        )
        cursor.executemany(
            "INSERT INTO member (user, conv) VALUES (%s, %s)",
            [(ids[0], f"g{group + n}") for n in range(1, 301)],
        )
        connection.commit()
    lists = {
        "users": ({"msgid": m.GROUPS, "op": "members", "groupid": group}, ids),
        "friends": ({"msgid": m.FRIENDS, "op": "list"}, ids[1:]),
        "groups": ({"msgid": m.GROUPS, "op": "list"}, [group + n for n in range(301)]),
    }
    for key, (request, wanted) in lists.items():
        found, sizes, fields = list[int](), list[int](), dict(request)
        while True:
            answer = client.done(**fields)
            found += [each["id"] for each in answer[key]]
            sizes.append(len(answer[key]))
            if not answer["more"]:
                break
            fields["after"] = found[-1]
        assert found == wanted
        assert set(sizes[:-1]) == {200}
        beyond = client.done(**request, after=found[-1])
        assert (beyond[key], beyond["more"]) == ([], False)

    async def listed() -> None:
        async with Client("127.0.0.1", free.port) as other:
            logged_in = await other.login(token=li.token, takeover=True)
            assert [each.id for each in logged_in.friends] == ids[1:]
            assert [each.id for each in logged_in.groups] == [group + n for n in range(301)]
            for key, (request, wanted) in lists.items():
                assert [each["id"] for each in await other.listed(key=key, **request)] == wanted

    asyncio.run(listed())


def test_a_start_with_many_conversations_is_not_refused(plain: Server) -> None:
    """The client fetches all conversations, and waits whenever the rate limit says so."""
    conversations, messages = 60, 200
    li, *others = make_accounts(plain, conversations + 1)
    with closing(database(plain)) as connection, connection.cursor() as cursor:
        connection.autocommit(False)
        for other in others:
            conv = f"d{li.id}-{other.id}"
            cursor.execute(
                "INSERT INTO conversation (conv, last_seq, touched) VALUES (%s, %s, UTC_TIMESTAMP(3))",
                (conv, messages),
            )
            cursor.executemany(
                "INSERT INTO member (user, conv) VALUES (%s, %s)", [(li.id, conv), (other.id, conv)]
            )
            body = orjson.dumps({"name": "bo", "msg": "x" * 100})
            cursor.executemany(
                "INSERT INTO message (conv, seq, sender, cid, ts, body) VALUES (%s, %s, %s, %s, 1, %s)",
                [(conv, seq, other.id, f"{conv} {seq}", body) for seq in range(1, messages + 1)],
            )
        connection.commit()

    async def start() -> int:
        seen: set[tuple[str, int]] = set()

        def note(event: Event) -> None:
            assert not isinstance(event, Problem | Disconnected), event
            if isinstance(event, Message):
                seen.add((event.conv, event.seq))

        async with Client("127.0.0.1", plain.port, on_event=note) as client:
            await client.login(token=li.token)
            await client.settle(30)
            client.session.leave()
        return len(seen)

    assert asyncio.run(start()) == conversations * messages


def rows_sent(server: Server) -> int:
    with closing(database(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Rows_sent'")
        return int(cursor.fetchone()[1])


def test_who_comes_and_goes_is_not_told_of_each_time(free: Server) -> None:
    """Short absences are not announced each time. The list of users to tell is not read each time either."""
    li, *watchers = make_accounts(free, 2001)
    with closing(database(free)) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO friend (user, friend) VALUES (%s, %s)", [(each.id, li.id) for each in watchers]
        )
        connection.commit()
    client = Modern(free.port)
    client.login(token=li.token)
    until(lambda: rows_sent(free) > 2000, "its coming is told")
    before = rows_sent(free)
    for _ in range(20):
        client = come_back(free.port, client)
    gone = time.monotonic() + 5.5  # a little longer than a logout's announcement is delayed
    until(lambda: time.monotonic() > gone, "the logouts are looked at")
    assert rows_sent(free) - before < 20_000  # not 40,000; other jobs read recently touched rows, too


def test_what_a_classic_client_missed_is_not_read_at_once(free: Server) -> None:
    """Of 64 MB missed in many groups, only a bounded part is in memory. All of it arrives in order."""
    li, bo = Classic(free.port, delimiter=b"\n").register(), make_accounts(free, 1)[0]
    groups, each = 250, 32
    with closing(database(free)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM chat_group")
        first = int(cursor.fetchone()[0])
        span = f"FROM seq_{first}_to_{first + groups - 1} g"
        cursor.execute(f"INSERT INTO chat_group (id, name, description) SELECT g.seq, 'g', '' {span}")
        cursor.execute(
            "INSERT INTO conversation (conv, last_seq, touched)"
            f" SELECT CONCAT('g', g.seq), {each}, UTC_TIMESTAMP(3) {span}"
        )
        for user in (li.id, bo.id):
            cursor.execute(f"INSERT INTO member (user, conv) SELECT {user}, CONCAT('g', g.seq) {span}")
        cursor.execute(
            "INSERT INTO message (conv, seq, sender, cid, ts, body)"
            f" SELECT CONCAT('g', g.seq), n.seq, {bo.id}, CONCAT(g.seq, ' ', n.seq), n.seq * 1000,"
            f' CONCAT(\'{{"name":"bo","msg":"\', n.seq, REPEAT(\'x\', 8000), \'"}}\')'
            f" {span} JOIN seq_1_to_{each} n"
        )
        connection.commit()
    (worker,) = free.workers().values()
    before, most, heard = pss(worker), 0.0, list[str]()
    answer = li.login()
    while len(heard) < groups * each - len(answer["offlinemsg"]):
        heard.append(li.hear()["msg"])
        if len(heard) % 500 == 1:
            most = max(most, pss(worker))
    numbers = [int(each["msg"].rstrip("x")) for each in answer["offlinemsg"]]
    numbers += [int(text.rstrip("x")) for text in heard]
    assert numbers == sorted(numbers)
    assert most - before < 32


# The timer wheel.


def test_an_item_that_fails_does_not_spoil_the_others() -> None:
    loop, seen = EventLoop(), list[str]()

    def on_due(item: str) -> float | None:
        seen.append(item)
        if item == "bad" and seen.count("bad") == 1:
            raise RuntimeError("bad")
        if seen.count("bad") == 2:
            loop.stop()
        return None

    wheel = Wheel(loop, on_due)
    for item in ("first", "bad", "last"):
        wheel.add(item, 1.0)
    loop.call_later(30.0, loop.stop)  # in case the wheel has stopped
    loop.run()
    assert seen == ["first", "bad", "last", "bad"]


# Hostile clients, on a small scale.

_STREAMS = ("PING", "RECV", "GROUPS members", "garbage inside", "FETCH, unread")


@pytest.fixture(scope="module")
def besieged() -> Iterator[tuple[Server, object]]:
    with Server("-w", "2") as server:
        yield server, make_world(server)


@pytest.mark.parametrize("name", _STREAMS)
def test_hostile_stream(besieged: tuple[Server, object], name: str) -> None:
    server, world = besieged
    outcome = strike(server, world, ATTACKS[name], 10, 1.0)  # type: ignore[arg-type]
    assert (outcome.lost, outcome.grown < 64) == (0, True)


def test_hostile_strangers(besieged: tuple[Server, object]) -> None:
    server, world = besieged
    outcome = strike(server, world, ANONYMOUS["garbage"], 30, 1.0)  # type: ignore[arg-type]
    assert (outcome.lost, outcome.grown < 64) == (0, True)
    assert outcome.ended > 0
    assert outcome.heard < (outcome.ended + 30) * 25 * 100
