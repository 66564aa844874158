"""A MariaDB and a Redis as an operator would set them up, on this machine, for one test file."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any
from urllib.parse import quote

import MySQLdb

from forkchat.store.connection import connect
from tests.cluster import free_port
from tests.database import ACCOUNT, make_database
from tests.server import ROOT, make_data_dir, until

PASSWORD = "geheim"
_DOCUMENT = (ROOT / "docs/operations.md").read_text()


def documented_grant() -> str:
    """Return the documented rights of the MySQL user: `SELECT, INSERT, …`."""
    found = re.search(r"GRANT (.+) ON forkchat\.\*", _DOCUMENT)
    assert found
    return found[1]


def documented_acl() -> str:
    """Return the documented rights of the Redis user, on one line."""
    found = re.search(r"^user forkchat on >… (.+?)\nuser default off$", _DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found
    return " ".join(found[1].split())


class Directory:
    """A directory for the files of servers, with a new MariaDB."""

    def __init__(self) -> None:
        self.path = make_data_dir()
        self._mysql = self.path / "mysql"
        if ACCOUNT:
            shutil.chown(self.path, ACCOUNT)
        make_database(self._mysql)

    def close(self) -> None:
        shutil.rmtree(self.path)

    @contextmanager
    def mariadb(self, *options: str) -> Iterator[str]:
        """Run a MariaDB with these options.

        Yield its administrator's URL, with `{}` for the name of the database.
        """
        path = self.path / "mysql.sock"
        log = self.path / "mysql.log"
        argv = ["mariadbd", "--no-defaults", f"--datadir={self._mysql}", f"--socket={path}"]
        argv += ["--skip-networking", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"]
        argv += [f"--pid-file={self.path}/mysql.pid", f"--log-error={log}", *options]
        argv += [f"--user={ACCOUNT}"] if ACCOUNT else []
        url = "mysql://root@/{}?unix_socket=" + quote(str(path))
        with _running(argv):
            until(lambda: _answers(url.format("mysql")), f"MariaDB answers {options}: {log}", 30)
            yield url

    @contextmanager
    def redis(self, *options: str, acl: str = "") -> Iterator[int]:
        """Run a Redis with these options; yield its port.

        With `acl` it has a user `forkchat` of these rights.
        """
        port = free_port()
        conf = self.path / f"redis-{port}.conf"
        users = f"user forkchat on >{PASSWORD} {acl}\nuser admin on >admin ~* &* +@all\nuser default off\n"
        conf.write_text(f'port {port}\nbind 127.0.0.1\nsave ""\ndir {self.path}\n{users if acl else ""}')
        with _running(["redis-server", str(conf), *options]):
            until(lambda: _listens(port), "Redis answers")
            yield port


@contextmanager
def _running(argv: Sequence[str]) -> Iterator[None]:
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        connect(url).close()
    except MySQLdb.Error:
        return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as the administrator; return the rows of the last one."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


@contextmanager
def directory() -> Iterator[Directory]:
    with ExitStack() as stack:
        made = Directory()
        stack.callback(made.close)
        yield made


def least(url: str, database: str, rights: str = "") -> str:
    """Make a database, replace its user by one with these or the documented rights, and return its URL."""
    execute(
        url.format("mysql"),
        f"CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4",
        f"DROP USER IF EXISTS {database}@localhost",
        f"CREATE USER {database}@localhost IDENTIFIED BY '{PASSWORD}'",
        f"GRANT {rights or documented_grant()} ON {database}.* TO {database}@localhost",
    )
    return url.format(database).replace("root@", f"{database}:{PASSWORD}@")
