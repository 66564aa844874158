"""Where a round takes place: the cluster of etc/, its parts on machines of their own."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any
from urllib.parse import quote

import MySQLdb
import redis

from forkchat.store.connection import Connection, connect
from tests.clock import Clock
from tests.cluster import HOSTS, Cluster
from tests.network import Network
from tests.server import ROOT, until

#: nginx and supervisor, two hosts, MySQL and Redis, and two machines of people.
_MACHINES = {
    "front": ("outside", "inside"),
    "a": ("inside", "redis", "mysql"),
    "b": ("inside", "redis", "mysql"),
    "data": ("redis", "mysql"),
    "people": ("outside", "inside"),
    "far": ("outside",),
}
_USERS = """\
CREATE USER IF NOT EXISTS forkchat IDENTIFIED BY 'geheim';
GRANT ALL ON forkchat.* TO forkchat;
"""
_UNLIMITED = (
    "[limits]\nmessage_rate = 0\nlogin_rate = 0\nregister_rate = 0\nchange_rate = 0\nfault_burst = 0\n"
)
#: Whose host a machine is.
MACHINE_OF = dict(zip(HOSTS, "ab", strict=True))


class World(Cluster):
    """As a context manager; who is in it is at `people`. Its server may be broken (see `broken`)."""

    def __init__(self, breakage: str = "") -> None:
        super().__init__()
        self._stack = ExitStack()
        self._far_sockets: list[socket.socket] = []
        self.network = Network(_MACHINES)
        mysql, redis_ = self.network.address("data", "mysql"), self.network.address("data", "redis")
        self.mysql_url = f"mysql://forkchat:geheim@{mysql}/forkchat"
        self.redis_url = f"redis://{redis_}/0"
        self.address = self.network.address("front", "outside")
        (self.root / "users.sql").write_text(_USERS)
        self.edit("cluster.toml", "[listen]", f"{_UNLIMITED}[listen]")
        self.edit("cluster.toml", "127.0.0.1", self.network.address("front", "inside"))
        conf = "supervisord.conf"
        self.edit(conf, "mysql://root@/forkchat?unix_socket=%(ENV_CLUSTER)s/run/mysql.sock", self.mysql_url)
        self.edit(conf, "unix://%(ENV_CLUSTER)s/run/redis.sock", self.redis_url)
        self.edit(conf, "user=%(ENV_CLUSTER_USER)s", "user=root")  # it takes root to change the machine
        mariadb = f"--bind-address={mysql} --init-file={self.root}/users.sql --user=%(ENV_CLUSTER_USER)s"
        self.edit(conf, "--skip-networking", mariadb)
        self.edit(conf, "--port 0 --unixsocket %(ENV_CLUSTER)s/run/redis.sock --unixsocketperm 700", "")
        self.edit(conf, "command=redis-server", f"command=redis-server --bind {redis_} --protected-mode no")
        self.edit("nginx.conf", "listen 127.0.0.1:", f"listen {self.address}:")
        self._place("command=mariadbd", "data")
        self._place("command=redis-server", "data")
        self._clocks = {host: Clock(self.root, f"clock-{host}") for host in HOSTS}
        for number, (host, machine) in enumerate(MACHINE_OF.items()):
            was, inside = f"127.0.0.{number + 2}", self.network.address(machine, "inside")
            self.edit("nginx.conf", f"server {was}:", f"server {inside}:")
            command = f"command=%(here)s/../bin/forkchat -c %(here)s/cluster.toml -b {was}"
            self._place(command, machine, self._clocks[host].env)
            self.edit(conf, f"-b {was}", "-b 0.0.0.0")  # so nothing but their machines tells them apart
        if breakage:
            broken = (
                f"/usr/bin/env PYTHONPATH={ROOT} {ROOT}/.venv/bin/python -m tests.faults.broken {breakage}"
            )
            self.edit(conf, "%(here)s/../bin/forkchat", broken)

    def set_clock(self, host: str, seconds: int) -> None:
        """Have a host's wall clock off by so much."""
        self._clocks[host].step(seconds)

    def _place(self, command: str, machine: str, env: dict[str, str] | None = None) -> None:
        """Have what begins so in supervisord.conf run on that machine."""
        variables = "".join(f"{key}={value} " for key, value in (env or {}).items())
        into = f"command=ip netns exec {self.network.namespace(machine)} /usr/bin/env {variables}"
        self.edit("supervisord.conf", command, command.replace("command=", into))

    def far_socket(self) -> socket.socket:
        """One on the machine `far`, which may be cut off."""
        with self.network.at("far"):
            sock = socket.socket()
        self._far_sockets.append(sock)
        return sock

    def lose_far_sockets(self) -> None:
        """Have them reset, which the others hear of only if they can be reached."""
        sockets, self._far_sockets = self._far_sockets, []
        for sock in sockets:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)

    def start(self) -> subprocess.CompletedProcess[str]:
        with self.network.at("front"):
            return super().start()

    def __enter__(self) -> World:
        try:
            self._stack.enter_context(self.network)
            super().__enter__()
            self._stack.enter_context(self.network.at("people"))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__()
        finally:
            self._stack.close()

    @contextmanager
    def redis(self) -> Iterator[redis.Redis]:
        with self.network.at("data"), redis.Redis.from_url(self.redis_url, socket_timeout=5) as client:
            yield client

    @contextmanager
    def mysql(self) -> Iterator[Connection]:
        """As root, whom neither a read-only nor a full server keeps out; waited for."""
        url = f"mysql://root@/forkchat?unix_socket={quote(str(self.state / 'run/mysql.sock'))}"

        def attempt() -> Any:
            with suppress(MySQLdb.Error):
                return connect(url)
            return None

        with closing(until(attempt, "MySQL answers, at last", 30)) as connection:
            yield connection
