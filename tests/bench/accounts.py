"""Large numbers of accounts, inserted straight into MySQL.

Registration would take an hour, because the server hashes a password for each account.
"""

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
    """Connect to the private MariaDB of a server. `read_timeout`: seconds that a statement may take."""
    socket = quote(str(run_dir(server.data_dir) / "mysql.sock"))
    return connect(f"mysql://root@/forkchat?unix_socket={socket}", read_timeout=read_timeout)


def make_accounts(server: Server, count: int) -> list[Account]:
    """Insert `count` new accounts, which log in by token because they have no password."""
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
    """Pair each account with the next `reach` accounts of a ring.

    `said`: messages of each pair, all received and read. Only the counters are inserted, not the messages.
    """
    first, count = accounts[0].id, len(accounts)
    other = f"IF(p.seq + n.seq >= {first + count}, p.seq + n.seq - {count}, p.seq + n.seq)"
    conv = f"CONCAT('d', LEAST(p.seq, {other}), '-', GREATEST(p.seq, {other}))"
    ring = f"FROM seq_{first}_to_{first + count - 1} p JOIN seq_1_to_{reach} n"
    with closing(database(server, read_timeout=600)) as connection, connection.cursor() as cursor:
        # Fill an empty table with checks off, because InnoDB then sorts all rows first.
        cursor.execute("SET SESSION unique_checks = 0, foreign_key_checks = 0")
        cursor.execute(
            f"INSERT INTO conversation (conv, last_seq, touched) SELECT {conv}, {said}, '2020-01-01' {ring}"
        )
        cursor.execute(
            "INSERT INTO member (user, conv, recv_seq, read_seq)"
            f" SELECT p.seq, {conv}, {said}, {said} {ring}"
            f" UNION ALL SELECT {other}, {conv}, {said}, {said} {ring}"
        )
