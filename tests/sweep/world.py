"""Two hosts of one worker each, connected to MySQL and Redis through proxies."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import redis

from forkchat.process.embedded import run_dir
from forkchat.store.connection import Connection, connect
from tests.server import Server
from tests.sweep.mysql import MySQLProxy
from tests.sweep.redis import RedisProxy
from tests.sweep.strikes import Seen

_CONFIG = """\
[server]
log_level = "debug"
[limits]
message_rate = 2000
login_rate = 1000
login_rate_address = 100000
login_rate_account = 1000
register_rate = 100000
session_rate = 100000
begin_rate = 100000
change_rate = 100000
fault_burst = 0
output = 65536
[retention]
days = 1000
"""
_numbers = count(1)


class World:
    """An asynchronous context manager. `owner` is the server with the services."""

    def __init__(self, owner: Server):
        run = run_dir(owner.data_dir)
        self._dir = Path(tempfile.mkdtemp(prefix="fcs-"))
        self._dir.chmod(0o711)  # for the hosts' workers, which are not root
        self.seen = Seen()
        self._database = f"s{secrets.token_hex(4)}"
        self._mysql_socket = str(run / "mysql.sock")
        self._number = next(_numbers) % 15 + 1
        self._redis_socket = str(run / "redis.sock")
        self.mysql = MySQLProxy(self._mysql_socket, self.seen)
        self.redis = RedisProxy(str(self._dir / "redis.sock"), self._redis_socket, self.seen)
        self.hosts: list[Server] = []

    async def __aenter__(self) -> World:
        with self.redis_client() as client:
            client.flushdb()
        await self.mysql.start()
        await self.redis.start()
        (self._dir / "redis.sock").chmod(0o666)
        self._dir.chmod(0o755)
        self.hosts += await asyncio.gather(*(asyncio.to_thread(self._host) for _ in range(2)))
        return self

    def _host(self) -> Server:
        url = f"mysql://root@127.0.0.1:{self.mysql.port}/{self._database}"
        redis_url = f"unix://{quote(str(self._dir / 'redis.sock'))}?db={self._number}"
        return Server("-w", "1", "--mysql-url", url, "--redis-url", redis_url, config=_CONFIG).__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self.hosts:
            await asyncio.to_thread(host.__exit__, None, None, None)
        await self.mysql.stop()
        await self.redis.stop()
        shutil.rmtree(self._dir, ignore_errors=True)
        connection = self.connection()
        connection.query(f"DROP DATABASE {self._database}")
        connection.close()

    def connection(self) -> Connection:
        """Connect to MySQL without the proxy.

        This connection waits longer for locks than the server does, because a strike may hold some.
        """
        url = f"mysql://root@/{self._database}?unix_socket={quote(self._mysql_socket)}"
        connection = connect(url, read_timeout=90)
        connection.query("SET SESSION lock_wait_timeout = 60, innodb_lock_wait_timeout = 60")
        return connection

    def redis_client(self) -> redis.Redis:
        """Return a client of Redis, without the proxy."""
        return redis.Redis(unix_socket_path=self._redis_socket, db=self._number)

    def execute(self, sql: str, *args: object) -> None:
        connection = self.connection()
        with connection.cursor() as cursor:
            cursor.execute(sql, args)
        connection.close()

    def kill_worker(self, host: int) -> None:
        for pid in self.hosts[host].workers().values():
            os.kill(pid, signal.SIGKILL)

    def traces(self) -> list[str]:
        """Return the tracebacks in the logs of the hosts, as the place and the exception."""
        found = []
        for host in self.hosts:
            for part in host.log().split("Traceback (most recent call last)")[1:]:
                lines = part.splitlines()
                end = next(
                    (n for n, text in enumerate(lines) if n and not text.startswith(" ")), len(lines) - 1
                )
                found.append(f"{lines[end - 2].strip()} → {lines[end].strip()}")
        return found
