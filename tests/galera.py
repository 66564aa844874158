"""Two real MariaDB servers as the nodes of a Galera cluster."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid1

import MySQLdb

from tests.cluster import free_port
from tests.database import ACCOUNT
from tests.replication import Forwarder, MariaDB
from tests.server import make_data_dir, until

#: Both nodes claim to come from the last view of a cluster, before its first transaction.
#: They form it again at once. A node that joins would take seconds to copy the other's data.
_STATE = "# GALERA saved state\nversion: 2.1\nuuid: {cluster}\nseqno: 0\nsafe_to_bootstrap: 0\n"
_VIEW = (
    "my_uuid: {own}\n#vwbeg\nview_id: 3 {first} 1\nbootstrap: 0\n"
    "member: {first} 0\nmember: {second} 0\n#vwend\n"
)


class Node(MariaDB):
    """A node of a cluster of two. Without the other, the first node goes on, and the second stops.

    A stopped node answers reads from its own data, because an operator may have set `wsrep_dirty_reads`.
    """

    def __init__(self, directory: Path, number: int):
        super().__init__(directory, number)
        self.address = f"127.0.0.1:{free_port()}"
        self._weight = 3 - number
        self.other = self

    def command(self) -> list[str]:
        provider = {
            "gmcast.listen_addr": f"tcp://{self.address}",
            "ist.recv_addr": f"127.0.0.1:{free_port()}",
            "pc.weight": self._weight,
            "evs.keepalive_period": "PT0.5S",
            "evs.suspect_timeout": "PT2S",  # a node that is silent for this long is excluded
            "evs.inactive_timeout": "PT3S",
            "gcs.fc_limit": 100_000,  # a lagging node must not stop the other
            "gcache.size": "16M",
        }
        return [
            *super().command(),
            *("--wsrep-on=ON", "--wsrep-provider=/usr/lib/galera/libgalera_smm.so"),
            *("--innodb-autoinc-lock-mode=2", "--wsrep-dirty-reads=ON"),
            f"--wsrep-node-address={self.address}",
            f"--wsrep-cluster-address=gcomm://{self.address},{self.other.address}",
            f"--wsrep-provider-options={';'.join(f'{key}={value}' for key, value in provider.items())}",
        ]

    def start(self) -> None:
        super().start()
        until(self.is_ready, "the node is in the cluster", 30)

    def is_ready(self) -> bool:
        with suppress(MySQLdb.Error):  # an excluded node may not answer
            return bool(self.status("wsrep_ready") == "ON")
        return False

    def status(self, name: str) -> Any:
        (row,) = self.run(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return row["Value"]

    def url(self, database: str, port: int = 0) -> str:
        return f"mysql://forkchat:geheim@127.0.0.1:{port or self.port}/{database}"

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """Keep the node from applying commits of the other one. It answers reads from its own data.

        Its applying thread waits for a table lock. (FLUSH TABLES WITH READ LOCK hung once in some 60 times
        under load.)
        """
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES lag.it WRITE")
            try:
                self.other.replicate("INSERT INTO lag.it VALUES ()")
                yield
            finally:
                cursor.execute("UNLOCK TABLES")

    def replicate(self, *statements: str) -> None:
        """Run statements, which are replicated to the other node."""
        with self.connection() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """Cut the node off from the other one."""
        self.run("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")
        try:
            until(lambda: not self.is_ready(), "the node knows that it is cut off")
            yield
        finally:
            self.run("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")


class Galera:
    """A context manager that runs the cluster."""

    def __init__(self, directory: Path):
        self.nodes = first, second = [Node(directory / f"node-{n}", n) for n in (1, 2)]
        first.other, second.other = second, first
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        names = {"cluster": uuid1(), "first": uuid1(), "second": uuid1()}
        try:
            with ThreadPoolExecutor() as pool:
                for _ in pool.map(self._install, self.nodes):
                    pass
            for node, own in zip(self.nodes, ("first", "second"), strict=True):
                for name, text in (("grastate.dat", _STATE), ("gvwstate.dat", _VIEW)):
                    path = node.directory / "data" / name
                    path.write_text(text.format(**names, own=names[own]))
                    if ACCOUNT:
                        shutil.chown(path, ACCOUNT)
            with ThreadPoolExecutor() as pool:  # each start waits for the other
                for _ in pool.map(self._stack.enter_context, self.nodes):
                    pass
            self.nodes[0].replicate(
                "CREATE DATABASE lag",
                "CREATE TABLE lag.it (n INT AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB",
            )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @staticmethod
    def _install(node: Node) -> None:
        node.directory.mkdir()
        node.install()


class Unsynced(Forwarder):
    """A forwarder to a node, through which reads do not wait for commits of the other node.

    It acts as if forkchat had not asked for that wait.
    """

    def forwards(self, data: bytes) -> bytes:
        return data.replace(b"wsrep_sync_wait = 1", b"wsrep_sync_wait = 0")


@contextmanager
def galera() -> Iterator[Galera]:
    """Run a cluster in a temporary directory."""
    directory = make_data_dir()
    try:
        with Galera(directory) as cluster:
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)
