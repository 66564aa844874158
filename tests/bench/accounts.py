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


def make_ring(server: Server, accounts: list[Account], reach: int, said: int) -> None:
    """Pairs of each with the `reach` who stand next, the last with the first. So many messages were said in
    each, all of them read; they themselves are not there.
    """
    first, count = accounts[0].id, len(accounts)
    other = f"IF(p.seq + n.seq >= {first + count}, p.seq + n.seq - {count}, p.seq + n.seq)"
    conv = f"CONCAT('d', LEAST(p.seq, {other}), '-', GREATEST(p.seq, {other}))"
    ring = f"FROM seq_{first}_to_{first + count - 1} p JOIN seq_1_to_{reach} n"
    with closing(database(server, read_timeout=600)) as connection, connection.cursor() as cursor:
        # Into an empty table that is not checked, InnoDB sorts all rows first.
        cursor.execute("SET SESSION unique_checks = 0, foreign_key_checks = 0")
        cursor.execute(
            f"INSERT INTO conversation (conv, last_seq, touched) SELECT {conv}, {said}, '2020-01-01' {ring}"
        )
        cursor.execute(
            "INSERT INTO member (user, conv, recv_seq, read_seq)"
            f" SELECT p.seq, {conv}, {said}, {said} {ring}"
            f" UNION ALL SELECT {other}, {conv}, {said}, {said} {ring}"
        )
