"""Accounts in great number, put straight into MySQL: hashing a password for each would take an hour."""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Any
from urllib.parse import quote

from client.load.roles import Account
from forkchat.process.embedded import run_dir
from forkchat.store.connection import connect
from tests.server import Server

_CHUNK = 1000


def database(server: Server, read_timeout: int = 60) -> Any:
    """A connection to the private MariaDB of a server; a statement may take so many seconds."""
    socket = quote(str(run_dir(server.data_dir) / "mysql.sock"))
    return connect(f"mysql://root@/forkchat?unix_socket={socket}", read_timeout=read_timeout)


def make_accounts(server: Server, count: int) -> list[Account]:
    """New ones, who log in by token; nobody knows a password of theirs."""
    with closing(database(server)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM user")
        first = int(cursor.fetchone()[0]) + 1
        accounts = [Account(id, f"token of {id}") for id in range(first, first + count)]
        connection.autocommit(False)
        for at in range(0, count, _CHUNK):
            some = accounts[at : at + _CHUNK]
            users = [(each.id, f"user {each.id}") for each in some]
            cursor.executemany("INSERT INTO user (id, name, password) VALUES (%s, %s, '')", users)
            tokens = [(hashlib.sha256(each.token.encode()).digest(), each.id) for each in some]
            cursor.executemany(
                "INSERT INTO token (digest, user, expires) VALUES (%s, %s, UTC_TIMESTAMP() + INTERVAL 1 DAY)",
                tokens,
            )
            connection.commit()
    return accounts
