"""The place of a round: the cluster of etc/, with its parts on machines of their own."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from shlex import quote as quote_word
from typing import Any
from urllib.parse import quote

import MySQLdb
import redis

from forkchat.store.connection import Connection
from tests.clock import Clock
from tests.cluster import HOSTS, Cluster
from tests.database import ACCOUNT, make_database
from tests.faults.history import Loss
from tests.network import Network
from tests.replication import administer, following
from tests.server import ROOT, until
from tests.talk import QUIET

#: Networks by machine: nginx and supervisor, two hosts, MySQL and Redis, and two machines of users.
_MACHINES = {
    "front": ("outside", "inside"),
    "a": ("inside", "redis", "mysql"),
    "b": ("inside", "redis", "mysql"),
    "data": ("redis", "mysql"),
    "people": ("outside", "inside"),
    "far": ("outside",),
}
_USERS = """\
SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS forkchat IDENTIFIED BY 'geheim';
GRANT ALL ON forkchat.* TO forkchat;
CREATE USER IF NOT EXISTS repl IDENTIFIED BY 'repl';
GRANT REPLICATION SLAVE ON *.* TO repl;
"""
#: Ports of the two MariaDB servers and the two Redis servers on the machine `data`.
#: Clients connect to addresses with the usual ports, which lead to the primaries.
PORTS = {"mariadb": 3307, "mariadb-2": 3308, "redis": 6380, "redis-2": 6381}
_GATEWAYS = {"mariadb": 3306, "redis": 6379}
_BINARY_LOG = "--log-bin=binlog --binlog-format=ROW --log-slave-updates --gtid-strict-mode --skip-slave-start"
#: Machines by host.
MACHINE_OF = dict(zip(HOSTS, "ab", strict=True))


class World(Cluster):
    """A context manager that runs the cluster; the code in it runs on the machine `people`.

    Its server may be broken on purpose (see `broken`).
    """

    def __init__(self, breakage: str = "") -> None:
        super().__init__()
        self._stack = ExitStack()
        self._far_sockets: list[socket.socket] = []
        self.roles = threading.RLock()  # held by tasks that need a certain server to stay the primary
        self.membership = threading.Lock()  # held while memberships change, or must not change
        self.losses: list[Loss] = []
        self.network = Network(_MACHINES)
        mysql, redis_ = self.network.address("data", "mysql"), self.network.address("data", "redis")
        self.mysql_url = f"mysql://forkchat:geheim@{mysql}/forkchat"
        self.redis_url = f"redis://{redis_}/0"
        self.address = self.network.address("front", "outside")
        (self.root / "users.sql").write_text(_USERS)
        self.edit("cluster.toml", "[listen]", f"{QUIET}[listen]")
        self.edit("cluster.toml", "127.0.0.1", self.network.address("front", "inside"))
        conf = "supervisord.conf"
        self.edit(conf, "mysql://root@/forkchat?unix_socket=%(ENV_CLUSTER)s/run/mysql.sock", self.mysql_url)
        self.edit(conf, "unix://%(ENV_CLUSTER)s/run/redis.sock", self.redis_url)
        self.edit(conf, "user=%(ENV_CLUSTER_USER)s", "user=root")  # only root may enter a network namespace
        mariadb = f"--bind-address=127.0.0.1 --port={PORTS['mariadb']} --init-file={self.root}/users.sql"
        mariadb += f" --server-id={PORTS['mariadb']} {_BINARY_LOG} --user=%(ENV_CLUSTER_USER)s"
        self.edit(conf, "--skip-networking", mariadb)
        port = f"--port {PORTS['redis']} --bind 127.0.0.1 --repl-diskless-sync-delay 0"
        port += " --dbfilename redis.rdb --rdb-del-sync-files yes"
        self.edit(conf, "--port 0 --unixsocket %(ENV_CLUSTER)s/run/redis.sock --unixsocketperm 700", port)
        self.edit("nginx.conf", "listen 127.0.0.1:", f"listen {self.address}:")
        self._place("command=mariadbd", "data")
        self._place("command=redis-server", "data")
        self.serving = {"mariadb": "mariadb", "redis": "redis"}  # the server that is the primary, by program
        for program, address in {"mariadb": mysql, "redis": redis_}.items():
            self._add_second(program)
            self._add_gateway(program, address)
        self._clocks = {host: Clock(self.root, f"clock-{host}") for host in HOSTS}
        for number, (host, machine) in enumerate(MACHINE_OF.items()):
            was, inside = f"127.0.0.{number + 2}", self.network.address(machine, "inside")
            self.edit("nginx.conf", f"server {was}:", f"server {inside}:")
            command = f"command=%(here)s/../bin/forkchat -c %(here)s/cluster.toml -b {was}"
            self._place(command, machine, self._clocks[host].env)
            self.edit(conf, f"-b {was}", "-b 0.0.0.0")  # so that only the machines distinguish the hosts
        self._breakage = self.root / "breakage"
        if breakage:
            self._breakage.write_text(breakage)
            python = f"/usr/bin/env PYTHONPATH={ROOT} {ROOT}/.venv/bin/python"
            broken = f"{python} -m tests.faults.broken {self._breakage}"
            self.edit(conf, "%(here)s/../bin/forkchat", broken)

    def break_it(self, breakage: str) -> None:
        """Switch the server, which was started broken, to this breakage."""
        self._breakage.write_text(breakage)
        self.control("restart", *HOSTS)

    def _add_second(self, program: str) -> None:
        """Add a second server with the same settings to the program's."""
        path = self.root / "etc/supervisord.conf"
        text = path.read_text()
        section = re.search(rf"\[program:{program}\].*?\n\n", text, re.DOTALL)
        assert section
        second = section[0].replace(str(PORTS[program]), str(PORTS[f"{program}-2"]))
        second = second.replace(f"[program:{program}]", f"[program:{program}-2]")
        second = second.replace(f"{program}.log", f"{program}-2.log").replace("redis.rdb", "redis-2.rdb")
        second = re.sub(r"/mysql(?=[ .\n])", "/mysql-2", second)
        path.write_text(f"{text}\n\n{second}")

    def _add_gateway(self, program: str, address: str) -> None:
        """Add the gateway: the address that leads to the program's primary."""
        self.lead_to(program, program)
        path = self.root / "etc/supervisord.conf"
        path.write_text(
            f"{path.read_text()}\n[program:{program}-gateway]\n"
            f"command=ip netns exec {self.network.namespace('data')} /usr/bin/env PYTHONPATH={ROOT}"
            f" {ROOT}/.venv/bin/python -m tests.faults.gateway {address} {_GATEWAYS[program]}"
            f" {self.root}/{program}.port\nuser=root\npriority=10\n"
        )

    def lead_to(self, program: str, server: str) -> None:
        """Lead new connections to the program's address to this one of its servers."""
        path = self.root / f"{program}.port"
        path.with_suffix(".new").write_text(str(PORTS[server]))
        path.with_suffix(".new").rename(path)
        self.serving[program] = server

    def pid(self, program: str = "") -> int:
        """Return the program's process id; for MariaDB and Redis, that of the primary."""
        return super().pid(self.serving.get(program, program))

    def snapshot(self) -> Path:
        """Return the path of Redis's snapshot."""
        return self.state / "run" / f"{self.serving['redis']}.rdb"

    def set_clock(self, host: str, seconds: int) -> None:
        """Set a host's wall clock off by this many seconds."""
        self._clocks[host].step(seconds)

    def _place(self, command: str, machine: str, env: dict[str, str] | None = None) -> None:
        """Run the programs whose line in supervisord.conf begins with `command` on that machine."""
        variables = "".join(f"{key}={value} " for key, value in (env or {}).items())
        into = f"command=ip netns exec {self.network.namespace(machine)} /usr/bin/env {variables}"
        self.edit("supervisord.conf", command, command.replace("command=", into))

    def far_socket(self) -> socket.socket:
        """Return a new socket on the machine `far`, which may be cut off."""
        with self.network.at("far"):
            sock = socket.socket()
        self._far_sockets.append(sock)
        return sock

    def lose_far_sockets(self) -> None:
        """Reset the sockets of the machine `far`. The server learns of it only if it can be reached."""
        sockets, self._far_sockets = self._far_sockets, []
        for sock in sockets:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)

    def start(self) -> subprocess.CompletedProcess[str]:
        second = self.state / "mysql-2"
        if not second.exists():
            second.with_suffix(".tmp").mkdir()
            if ACCOUNT:
                shutil.chown(second.with_suffix(".tmp"), ACCOUNT)
            make_database(second)
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
    def redis(self, server: str = "") -> Iterator[redis.Redis]:
        """Connect to the primary, or to the named server."""
        port = PORTS[server or self.serving["redis"]]
        with self.network.at("data"), redis.Redis(port=port, socket_timeout=5) as client:
            yield client

    def copy_mysql(self, primary: str, replica: str) -> None:
        """Replace one server's data by the other's, and make it that server's replica."""
        dump = "mariadb-dump --no-defaults --user=root --single-transaction --gtid --master-data=1"
        load = "mariadb --no-defaults --user=root"
        emptied = (
            "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0; SET SESSION sql_log_bin = 0;"
            " DROP DATABASE forkchat; RESET MASTER;"
        )
        subprocess.run(
            f"set -o pipefail; (echo {quote_word(emptied)};"
            f" {dump} --socket={self._mysql_socket(primary)} --databases forkchat)"
            f" | {load} --socket={self._mysql_socket(replica)}",
            shell=True,
            executable="/bin/bash",
            check=True,
        )
        with self.mysql(replica) as connection, connection.cursor() as cursor:
            for statement in following(PORTS[primary]):
                cursor.execute(statement)

    def _mysql_socket(self, server: str) -> Path:
        name = (server or self.serving["mariadb"]).replace("mariadb", "mysql")
        return self.state / f"run/{name}.sock"

    @contextmanager
    def mysql(self, server: str = "") -> Iterator[Connection]:
        """Connect to the primary, or to the named server; wait up to 30 s for an answer.

        The user is root, which can log in to a read-only or full server.
        """

        url = f"mysql://root@/mysql?unix_socket={quote(str(self._mysql_socket(server)))}"

        def attempt() -> Any:
            with suppress(MySQLdb.Error):
                return administer(url)
            return None

        with closing(until(attempt, "MySQL answers, at last", 30)) as connection:
            yield connection
