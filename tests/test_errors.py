"""MySQL errors outside the list of known ones: work waits, requests are answered, all goes on afterwards."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from forkchat.process.embedded import run_dir
from forkchat.store.connection import Connection, connect
from forkchat.wire import msgid as m
from tests.server import Server, frozen, make_data_dir, until
from tests.talk import PASSWORD, UNLIMITED, Message, Modern, elsewhere, new_name

_OUTPUT = 65536


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config=f"{UNLIMITED}output = {_OUTPUT}\n") as server:
        yield server


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[Connection]:
    socket = quote(str(run_dir(server.data_dir) / "mysql.sock"))
    with closing(connect(f"mysql://root@/forkchat?unix_socket={socket}")) as connection:
        yield connection


@contextmanager
def without(database: Connection, table: str) -> Iterator[None]:
    """Rename the table while entered. MySQL then answers 1146, which does not mean that MySQL is away."""
    with database.cursor() as cursor:
        cursor.execute(f"RENAME TABLE {table} TO {table}_away")
        try:
            yield
        finally:
            cursor.execute(f"RENAME TABLE {table}_away TO {table}")


def _texts(client: Modern) -> list[Any]:
    return [each["msg"] for each in client.pushed() if each["msgid"] == m.ONE_CHAT]


def test_what_was_acknowledged_meanwhile_is_shown_afterwards(server: Server, database: Connection) -> None:
    """A message is shown late if the recipient's worker cannot read the conversation's position meanwhile."""
    li = Modern(server.port).join_in()
    bo = elsewhere(server, li, lambda: Modern(server.port)).join_in()
    li.done(m.ONE_CHAT, toid=bo.id, msg="before", cid="0")
    bo.push(m.ONE_CHAT, msg="before")
    bo = _come_again(server, li, bo)
    with without(database, "member"):
        assert li.done(m.ONE_CHAT, toid=bo.id, msg="meanwhile", cid="1")["seq"] == 2
        server.wait_log(r"store\.conversations\.locate")
        assert _texts(bo) == []
    assert bo.push(m.ONE_CHAT)["msg"] == "meanwhile"
    li.done(m.ONE_CHAT, toid=bo.id, msg="after", cid="2")
    assert bo.push(m.ONE_CHAT)["msg"] == "after"


def _come_again(server: Server, li: Modern, bo: Modern) -> Modern:
    bo.done(m.LOGINOUT)
    again = elsewhere(server, li, lambda: Modern(server.port))
    assert again.login(name=bo.name, password=PASSWORD)["errno"] == 0
    return again


def test_session_that_ends_meanwhile_is_over(server: Server, database: Connection) -> None:
    """A session's claim is released although its cursors cannot be written. They are written later."""
    li, bo = (Modern(server.port).join_in() for _ in range(2))
    last = li.done(m.ONE_CHAT, toid=bo.id, msg="hi", cid="1")["seq"]
    bo.push(m.ONE_CHAT)
    bo.tell(m.RECV, c={f"d{li.id}-{bo.id}": last})
    bo.done(m.PING)
    with without(database, "member"):
        bo.close()
        server.wait_log(rf"session\.end user={bo.id} ")
        server.wait_log(r"store\.cursors\.advance")
        again = Modern(server.port)
        answer = until(lambda: _unless_online(again, bo.name), "the claim is released")
        assert answer is not None and answer["errno"] == 11  # not 2, nor a closed connection
    until(lambda: _if_done(again, bo.name), "log-ins work again", 10)
    # The confirmed position may be written only a moment after the login.
    until(lambda: again.done(m.SYNC)["convs"][0]["recv"] == last, "the cursor is written", 10)


def _unless_online(client: Modern, name: str) -> Message | None:
    answer = client.login(name=name, password=PASSWORD)
    return answer if answer["errno"] != 2 else None


def _if_done(client: Modern, name: str) -> Message | None:
    answer = client.login(name=name, password=PASSWORD)
    return answer if answer["errno"] == 0 else None


@pytest.mark.parametrize(
    ("table", "msgid", "fields"),
    [
        ("user", m.REG, {"name": "?", "password": PASSWORD}),
        ("user", m.LOGIN, {"name": "?", "password": PASSWORD}),
        ("token", m.LOGIN, {"token": "unknown"}),
        ("user", m.LOOKUP, {"name": "?"}),
        ("friend", m.FRIENDS, {"op": "list"}),
        ("friend", m.ADD_FRIEND, {"friendid": 1}),
        ("chat_group", m.CREATE_GROUP, {"groupname": "ops"}),
        ("removed", m.ADD_GROUP, {"groupid": 1}),
        ("member", m.SYNC, {}),
        ("member", m.FETCH, {"conv": "d1-2"}),
        ("member", m.READ, {"conv": "d1-2", "seq": 1}),
        ("message", m.ONE_CHAT, {"toid": 1, "msg": "hi", "cid": "x"}),
    ],
)
def test_request_is_answered_and_the_connection_stays(
    server: Server, database: Connection, table: str, msgid: int, fields: dict[str, Any]
) -> None:
    others = [Modern(server.port).join_in() for _ in range(2)]
    group = others[0].done(m.CREATE_GROUP, groupname="ops")["groupid"]
    fields = {key: new_name() if value == "?" else value for key, value in fields.items()}
    for key, value in (("friendid", others[0].id), ("toid", others[0].id), ("groupid", group)):
        if key in fields:
            fields[key] = value
    client = Modern(server.port)
    if msgid not in (m.REG, m.LOGIN):
        client.join_in()
    if msgid == m.ONE_CHAT:
        client.done(msgid, **fields | {"cid": "before"})
    with without(database, table):
        answer = client.ask(msgid, **fields)
        assert (answer["errno"], answer["code"]) == (11, "unavailable"), answer
        assert answer["retry_after"] > 0
    until(lambda: client.ask(msgid, **fields)["errno"] != 11, "it is served again", 10)


def test_slow_reader_that_drains_meanwhile_is_told(server: Server, database: Connection) -> None:
    """A slow reader gets the pending 112 once MySQL can give the conversations' positions again."""
    li = Modern(server.port).join_in()
    bo = Modern(server.port, receive_buffer=4096).join_in()
    count = 0

    def is_congested() -> bool:
        nonlocal count
        for _ in range(20):
            count += 1
            li.done(m.ONE_CHAT, toid=bo.id, msg="x" * 4000, cid=f"{count}")
        return count * 4000 > 8 << 20  # more than both kernels and the output limit hold

    until(is_congested, "bo's connection is full", 30)
    with without(database, "member"):
        shown = [each["seq"] for each in _drain(bo)]
        assert len(shown) < count
        server.wait_log(r"store\.conversations\.of")
    standing = bo.push(m.CONVS)["convs"]
    assert [(each["conv"], each["last"]) for each in standing] == [(f"d{li.id}-{bo.id}", count)]


def _drain(client: Modern) -> list[Message]:
    """Return all messages sent to a slow reader before the answer to its PING."""
    return [each for each in client.pushed() if each["msgid"] == m.ONE_CHAT]


def test_lock_of_a_stopped_worker_is_given_up(server: Server, database: Connection) -> None:
    """A host that loses its cable inside a transaction holds its row locks for seconds, not for hours."""
    li, bo = (Modern(server.port).join_in() for _ in range(2))
    group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    socket = quote(str(run_dir(server.data_dir) / "mysql.sock"))
    with closing(connect(f"mysql://root@/forkchat?unix_socket={socket}")) as lost:
        lost.begin()
        lost.cursor().execute(
            "SELECT 1 FROM conversation WHERE conv = %s FOR UPDATE", (f"g{group}".encode(),)
        )
        began = time.monotonic()
        until(lambda: bo.ask(m.ADD_GROUP, groupid=group)["errno"] == 0, "the lock is given up", 15)
        assert time.monotonic() - began < 10


def test_logout_is_answered_while_redis_is_away(server: Server) -> None:
    """The session ends at once. Redis is told when it is back, and logins fail until then."""
    bo = Modern(server.port).join_in()
    pid = server.service("redis-server")
    assert pid
    with frozen(pid):
        began = time.monotonic()
        bo.done(m.LOGINOUT)
        assert time.monotonic() - began < 5
        assert bo.ask(m.SYNC)["errno"] == 4
        assert bo.login(name=bo.name, password=PASSWORD)["errno"] == 11
    until(lambda: _if_done(bo, bo.name), "log-ins work again", 10)


def test_requests_are_answered_while_a_backup_locks_all_tables(server: Server, database: Connection) -> None:
    """Requests that write are refused within seconds, and requests that only read are served meanwhile."""
    clients = [Modern(server.port).join_in() for _ in range(2)]
    with database.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        try:
            began = time.monotonic()
            rids = [(each, each.say(m.CREATE_GROUP, groupname="ops")) for each in clients]
            for each, rid in rids:
                assert each.answer(rid)["errno"] == 11
                each.done(m.SYNC)
            assert time.monotonic() - began < 8
        finally:
            cursor.execute("UNLOCK TABLES")
    for each in clients:
        each.done(m.CREATE_GROUP, groupname="ops")


_THREADS = ("reader0", "reader1", "cursors", "writer", "redis", "hashing")


def test_a_worker_does_not_outlive_one_of_its_threads() -> None:
    """A worker logs the trace and ends when any of its threads dies, and the master starts another."""
    directory = make_data_dir()
    directory.chmod(0o777)
    command = [sys.executable, "-m", "tests.dying", str(directory)]
    try:
        with Server("-w", "3", config=UNLIMITED, command=command) as server:
            threads = list(Path(f"/proc/{server.workers()[1]}/task").iterdir())
            assert len(threads) == 1 + len(_THREADS), "there is one that is not tried"
            for thread in _THREADS:
                (directory / thread).touch()
            path = str(run_dir(server.data_dir) / "redis.sock")
            redis.Redis(unix_socket_path=path).client_kill_filter(_type="pubsub")
            until(partial(_have_died, server), "each of them dies", 30)
            assert Modern(server.port).join_in().done(m.PING)
    finally:
        shutil.rmtree(directory)


def _have_died(server: Server) -> bool:
    _stir(server)
    died = re.findall(r"worker\.thread_died thread=(\w+)\nTraceback", server.log())
    return sorted(died) == sorted(_THREADS)


def _stir(server: Server) -> None:
    """Make every thread of a worker do something. The worker may end, or serve nobody for a moment."""
    with suppress(OSError, EOFError, AssertionError), Modern(server.port) as client:
        client.join_in()
        group = client.done(m.CREATE_GROUP, groupname="ops")["groupid"]
        client.done(m.GROUP_CHAT, groupid=group, msg="hi", cid="2")
        for rid in [client.say(m.SYNC) for _ in range(20)]:
            client.answer(rid)
        client.done(m.READ, conv=f"g{group}", seq=1)
        client.done(m.LOGINOUT)
