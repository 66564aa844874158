"""Machines that are network namespaces: two hosts, one with MySQL and Redis, one where the people are."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import MySQLdb

from forkchat.store.connection import connect
from tests.server import make_data_dir, until

#: The networks, and who is in them, at 10.9.NETWORK.MACHINE.
_NETWORKS = {"front": 1, "redis": 2, "mysql": 3}
_MACHINES = {"a": 1, "b": 2, "data": 3, "people": 4}
_JOINED = {
    "a": ("front", "redis", "mysql"),
    "b": ("front", "redis", "mysql"),
    "data": ("redis", "mysql"),
    "people": ("front",),
}
_CLONE_NEWNET = 0x40000000

MYSQL_URL = "mysql://forkchat:geheim@10.9.3.3/forkchat"
REDIS_URL = "redis://10.9.2.3/0"


def address(machine: str, network: str = "front") -> str:
    return f"10.9.{_NETWORKS[network]}.{_MACHINES[machine]}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """As a context manager. The machines' networks are bridges in a namespace of their own."""

    def __init__(self) -> None:
        self._prefix = f"fc{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self._stack = ExitStack()

    def __enter__(self) -> Network:
        try:
            self._add(self._switch)
            for network in _NETWORKS:
                _ip("-n", self._switch, "link", "add", network, "type", "bridge")
                _ip("-n", self._switch, "link", "set", network, "up")
            for machine, networks in _JOINED.items():
                self._add(self.namespace(machine))
                for network in networks:
                    self._plug_in(machine, network)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def namespace(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"

    def cut(self, machine: str, network: str) -> None:
        """From now on nothing comes or goes, and nobody is told."""
        _ip("-n", self._switch, "link", "set", f"{machine}-{network}", "nomaster")

    def join(self, machine: str, network: str) -> None:
        _ip("-n", self._switch, "link", "set", f"{machine}-{network}", "master", network)

    @contextmanager
    def without(self, machine: str, network: str) -> Iterator[None]:
        """Cut off meanwhile."""
        self.cut(machine, network)
        try:
            yield
        finally:
            self.join(machine, network)

    @contextmanager
    def at(self, machine: str) -> Iterator[None]:
        """Sockets that this thread makes, and processes that it starts, are that machine's."""
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self.namespace(machine)}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def _add(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._stack.callback(_ip, "netns", "delete", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")

    def _plug_in(self, machine: str, network: str) -> None:
        namespace, port = self.namespace(machine), f"{machine}-{network}"
        _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", network, "netns", namespace)
        _ip("-n", self._switch, "link", "set", port, "master", network, "up")
        _ip("-n", namespace, "address", "add", f"{address(machine, network)}/24", "dev", network)
        _ip("-n", namespace, "link", "set", network, "up")


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def data_services(network: Network) -> Iterator[None]:
    """MySQL and Redis on the machine `data`, at MYSQL_URL and REDIS_URL."""
    path = make_data_dir()
    started: list[subprocess.Popen[bytes]] = []
    try:
        with network.at("data"):
            started = [_start_redis(path), _start_mariadb(path)]
            until(_answers, "MySQL answers", 30)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        shutil.rmtree(path)


def _start_redis(path: Path) -> subprocess.Popen[bytes]:
    command = ["redis-server", "--bind", address("data", "redis"), "--protected-mode", "no", "--save", ""]
    return subprocess.Popen([*command, "--dir", path], stdout=subprocess.DEVNULL)


def _start_mariadb(path: Path) -> subprocess.Popen[bytes]:
    tmp, init = path / "tmp", path / "init.sql"
    tmp.mkdir()
    shutil.chown(tmp, "mysql")
    init.write_text("CREATE USER forkchat IDENTIFIED BY 'geheim';\nGRANT ALL ON forkchat.* TO forkchat;\n")
    common = ["--no-defaults", "--user=mysql", f"--datadir={path}/mysql", f"--tmpdir={tmp}"]
    subprocess.run(["mariadb-install-db", *common, "--skip-test-db"], check=True, stdout=subprocess.DEVNULL)
    return subprocess.Popen(
        [
            *("mariadbd", *common, f"--socket={tmp}/mysql.sock", f"--log-error={tmp}/mysql.log"),
            *(f"--bind-address={address('data', 'mysql')}", f"--init-file={init}", "--skip-name-resolve"),
        ]
    )


def _answers() -> bool:
    with suppress(MySQLdb.Error), closing(connect(MYSQL_URL, use_database=False)):
        return True
    return False
