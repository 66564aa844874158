"""Pairs of real servers, a primary and its replica, with an address that can be switched between them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import MySQLdb
import redis

from forkchat.store.connection import connect
from tests.cluster import free_port
from tests.database import ACCOUNT, make_database
from tests.server import make_data_dir, until

#: Options of both MariaDB servers. Commits are not flushed, because no test needs them after a crash.
_MARIADB = (
    *("--skip-name-resolve", "--character-set-server=utf8mb4", "--performance-schema=OFF"),
    *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--key-buffer-size=1M"),
    *("--aria-pagecache-buffer-size=8M", "--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"),
    *("--max-connections=500", "--log-bin=binlog", "--binlog-format=ROW", "--log-slave-updates"),
    *("--skip-slave-start", "--slave-net-timeout=5", "--bind-address=127.0.0.1"),
)
_USERS = """\
SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS forkchat IDENTIFIED BY 'geheim';
GRANT ALL ON `fc%`.* TO forkchat;
CREATE USER IF NOT EXISTS repl IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl;
"""
_SYSTEM = frozenset({"mysql", "information_schema", "performance_schema", "sys"})


class Forwarder:
    """A TCP address that forwards to a port of 127.0.0.1, which may change.

    Existing connections keep their target.
    """

    def __init__(self, target: int, address: tuple[str, int] = ("127.0.0.1", 0)):
        self.target = target
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(address)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def leads_to(self) -> int:
        """Return the port for a new connection."""
        return self.target

    def forwards(self, data: bytes) -> bytes:
        """Return the bytes to send to the server in place of a client's `data`."""
        return data

    def cut(self) -> None:
        """Close all connections."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            _shut(pair)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=[near], daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        far = socket.socket()
        try:
            far.connect(("127.0.0.1", self.leads_to()))
        except OSError:
            far.close()
            near.close()
            return
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = near, far
        with self._lock:
            self._pairs.add(pair)
        back = threading.Thread(target=_pump, args=[far, near], daemon=True)
        back.start()
        _pump(near, far, self.forwards)
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        near.close()
        far.close()


def _pump(
    source: socket.socket, sink: socket.socket, edit: Callable[[bytes], bytes] = lambda data: data
) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(edit(data))
    _shut((source, sink))


def _shut(pair: tuple[socket.socket, socket.socket]) -> None:
    for sock in pair:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class Process:
    """A program that runs inside the context manager, and may be killed and restarted meanwhile."""

    process: subprocess.Popen[bytes]

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = free_port()

    def command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.directory, start_new_session=True
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


NodeT = TypeVar("NodeT", bound=Process)


class Pair(Generic[NodeT]):
    """A context manager that runs two servers and their address."""

    def __init__(self, primary: NodeT, replica: NodeT):
        self.primary, self.replica = primary, replica
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.prepare()
            for node in (self.primary, self.replica):
                self._stack.enter_context(node)
            self.address = self._stack.enter_context(Forwarder(self.primary.port))
            self.pair()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self) -> None:
        """Prepare the servers before their first start."""

    def pair(self) -> None:
        """Let the replica follow the primary."""


# MySQL.


def administer(url: str) -> Any:
    """Connect with longer timeouts than the server's.

    SET GLOBAL read_only needs them, because it waits for transactions.
    """
    connection = connect(url, read_timeout=30)
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION lock_wait_timeout = 30")
    return connection


class MariaDB(Process):
    """A server with a binary log, and a user `forkchat` for databases whose names begin with `fc`."""

    def __init__(self, directory: Path, number: int):
        super().__init__(directory)
        self._number = number
        self._socket = directory / "mysql.sock"

    def command(self) -> list[str]:
        return [
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self._socket}",
            f"--pid-file={self.directory / 'pid'}",
            f"--tmpdir={self.directory}",
            f"--port={self.port}",
            f"--server-id={self._number}",
            *_MARIADB,
            f"--init-file={self.directory / 'users.sql'}",
            *([f"--user={ACCOUNT}"] if ACCOUNT else []),
        ]

    def install(self) -> None:
        if ACCOUNT:
            shutil.chown(self.directory, ACCOUNT)
        make_database(self.directory / "data")

    def start(self) -> None:
        (self.directory / "users.sql").write_text(_USERS)
        super().start()
        until(self._answers, f"MariaDB {self._number} answers", 30)

    def _answers(self) -> bool:
        with suppress(MySQLdb.Error):
            self.run("SET SESSION sql_log_bin = 0")
            return True
        assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
        return False

    @contextmanager
    def connection(self, database: str = "mysql") -> Iterator[Any]:
        """Connect as root."""
        url = f"mysql://root@/{database}?unix_socket={quote(str(self._socket))}"
        with closing(administer(url)) as connection:
            yield connection

    def run(self, *statements: str, database: str = "mysql") -> list[dict[str, Any]]:
        """Run statements without writing the binary log; return the rows of the last one."""
        with self.connection(database) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            for statement in statements:
                cursor.execute(statement)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def value(self, expression: str) -> Any:
        (row,) = self.run(f"SELECT {expression} AS it")
        return row["it"]

    def follow(self, primary: MariaDB) -> None:
        """Become a read-only replica. Existing connections stay open."""
        self.run(*following(primary.port))
        until(self.is_replicating, f"MariaDB {self._number} replicates")

    def is_replicating(self) -> bool:
        (status,) = self.run("SHOW SLAVE STATUS")
        assert not status["Last_SQL_Errno"], status["Last_SQL_Error"]
        return (status["Slave_IO_Running"], status["Slave_SQL_Running"]) == ("Yes", "Yes")

    def catch_up(self, primary: MariaDB) -> None:
        """Wait until this server has all that the primary has."""
        position = primary.value("@@global.gtid_binlog_pos")
        assert self.value(f"MASTER_GTID_WAIT('{position}', 20)") == 0, "the replica has not caught up"

    def databases(self) -> list[str]:
        return [row["Database"] for row in self.run("SHOW DATABASES") if row["Database"] not in _SYSTEM]


def following(port: int) -> list[str]:
    """Return statements that make a server the replica of another one on this machine.

    Existing connections stay open.
    """
    return [
        "SET GLOBAL read_only = 1",
        "STOP SLAVE",
        f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'repl',"
        " MASTER_PASSWORD = 'repl', MASTER_USE_GTID = current_pos, MASTER_CONNECT_RETRY = 1",
        "START SLAVE",
    ]


class MySQLPair(Pair[MariaDB]):
    def __init__(self, directory: Path):
        super().__init__(*(MariaDB(_made(directory / f"mysql-{n}"), n) for n in (1, 2)))

    def prepare(self) -> None:
        installing = [threading.Thread(target=node.install) for node in (self.primary, self.replica)]
        for thread in installing:
            thread.start()
        for thread in installing:
            thread.join()

    def pair(self) -> None:
        self.replica.follow(self.primary)

    def url(self, database: str) -> str:
        return f"mysql://forkchat:geheim@127.0.0.1:{self.address.port}/{database}"

    def fail_over(self, *, does_old_follow: bool = True) -> None:
        """Make the old primary read-only, and the replica the new primary.

        The replica first applies all that it has received. The address then leads to it. Existing connections
        stay open.
        """
        old, new = self.primary, self.replica
        old.run("SET GLOBAL read_only = 1")
        if does_old_follow:
            new.catch_up(old)
        new.run("STOP SLAVE", "SET GLOBAL read_only = 0")
        self.address.target = new.port
        self.primary, self.replica = new, old
        if does_old_follow:
            old.follow(new)

    def reset(self) -> None:
        """Start again with empty servers, because their contents may have diverged."""
        for node in (self.primary, self.replica):
            node.run("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only = 0")
            for database in node.databases():
                node.run(f"DROP DATABASE `{database}`")
            node.run("RESET MASTER", "SET GLOBAL gtid_slave_pos = ''")
        self.address.cut()
        self.pair()


# Redis.


class Redis(Process):
    """A server that writes to disk only when told to."""

    def __init__(self, directory: Path, *settings: str):
        super().__init__(directory)
        self.settings = settings
        self.client = redis.Redis(port=self.port, socket_timeout=10)

    def command(self) -> list[str]:
        return [
            *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"),
            *("--repl-backlog-size", "1mb", "--repl-timeout", "10"),
            *("--enable-debug-command", "yes", *self.settings),
        ]

    def start(self, *, is_loaded: bool = True) -> None:
        super().start()
        if is_loaded:
            until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def follow(self, primary: Redis) -> None:
        self.client.replicaof("127.0.0.1", str(primary.port))

    def is_following(self) -> bool:
        return bool(self.client.info("replication").get("master_link_status") == "up")

    def save(self) -> None:
        """Write a snapshot, which a later start reads."""
        self.client.save()

    def restore(self) -> None:
        """Kill the server, and restart it from its last snapshot."""
        self.kill()
        self.start()


class RedisPair(Pair[Redis]):
    def __init__(self, directory: Path):
        super().__init__(*(Redis(_made(directory / f"redis-{n}")) for n in (1, 2)))

    def pair(self) -> None:
        self.replica.follow(self.primary)
        until(self.replica.is_following, "the replica follows")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.address.port}/0"

    def fail_over(self) -> None:
        """Swap the roles of primary and replica. Existing connections stay open."""
        self.catch_up()
        old, new = self.primary, self.replica
        new.client.replicaof("NO", "ONE")
        self.address.target = new.port
        old.follow(new)
        self.primary, self.replica = new, old
        until(old.is_following, "the old primary follows the new one")

    def catch_up(self) -> None:
        """Wait until the replica has all that the primary has."""

        def is_there() -> bool:
            offset = self.primary.client.info("replication")["master_repl_offset"]
            return bool(self.replica.client.info("replication").get("slave_repl_offset", -1) >= offset)

        until(is_there, "the replica has caught up")

    def reset(self) -> None:
        """Start again with empty servers."""
        self.primary.client.replicaof("NO", "ONE")
        self.primary.client.flushall()
        self.address.target = self.primary.port
        self.address.cut()
        self.pair()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@contextmanager
def pairs() -> Iterator[tuple[MySQLPair, RedisPair]]:
    """Run both pairs in a temporary directory."""
    directory = make_data_dir()
    try:
        with MySQLPair(directory) as mysql, RedisPair(directory) as redis_:
            yield mysql, redis_
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def within(seconds: float, attempt: Callable[[], bool], what: str) -> float:
    """Wait for the first success; return the seconds that it took."""
    began = time.monotonic()
    until(attempt, what, seconds)
    return time.monotonic() - began
