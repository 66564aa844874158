"""The schema on a real MariaDB, and the connections and errors of the store."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from forkchat.config import Config, data_files
from forkchat.errors import StartError, Unavailable
from forkchat.process.embedded import with_urls
from forkchat.store import schema
from forkchat.store.connection import (
    Address,
    connect,
    is_deadlock,
    is_duplicate,
    is_lock_timeout,
    is_lost,
    keeps_connection,
    translate,
)
from tests.server import ROOT, Server, frozen, until

_database = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1") as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    """The URL of a database that does not exist yet."""
    config = Config().with_value("server.data_dir", str(server.data_dir))
    return with_urls(config).mysql.url.replace("/forkchat?", f"/test_{next(_database)}?")


@pytest.fixture
def sql_dir(tmp_path: Path) -> Path:
    (tmp_path / "001-first.sql").write_text(
        "-- A comment; with a semicolon;\nCREATE TABLE IF NOT EXISTS a (x INT COMMENT 'one; two');\n\n"
        "CREATE TABLE IF NOT EXISTS b (\n    x INT\n);\nINSERT INTO a VALUES (1);\n"
    )
    (tmp_path / "002-second.sql").write_text("INSERT INTO a VALUES (2);\n")
    return tmp_path


def soon() -> float:
    return time.monotonic() + 5


def rows(url: str, query: str) -> list[Any]:
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]


def test_files_are_applied_in_order_and_once(url: str, sql_dir: Path) -> None:
    assert schema.status(url, schema.read(sql_dir), soon())[1:] == (0, 2)
    for _ in range(2):
        assert schema.migrate(url, schema.read(sql_dir), soon())[1:] == (2, 2)
    assert rows(url, "SELECT x FROM a") == [1, 2]
    (sql_dir / "003-third.sql").write_text("INSERT INTO a VALUES (3)")
    assert schema.status(url, schema.read(sql_dir), soon())[1:] == (2, 3)
    schema.migrate(url, schema.read(sql_dir), soon())
    assert rows(url, "SELECT x FROM a") == [1, 2, 3]
    assert rows(url, "SELECT name FROM schema_version") == ["first", "second", "third"]


def test_what_failed_halfway_is_run_again(url: str, sql_dir: Path) -> None:
    good = (sql_dir / "002-second.sql").read_text()
    (sql_dir / "002-second.sql").write_text("CREATE TABLE IF NOT EXISTS c (x INT);\nNONSENSE;\n")
    with pytest.raises(StartError, match="MySQL: You have an error in your SQL syntax"):
        schema.migrate(url, schema.read(sql_dir), soon())
    assert schema.status(url, schema.read(sql_dir), soon()).version == 1
    (sql_dir / "002-second.sql").write_text(good)
    assert schema.migrate(url, schema.read(sql_dir), soon()).version == 2


def test_a_newer_schema_is_left_alone(url: str, sql_dir: Path) -> None:
    schema.migrate(url, schema.read(sql_dir), soon())
    (sql_dir / "002-second.sql").unlink()
    for look in (schema.migrate, schema.status):
        with pytest.raises(StartError, match="has version 2, and this forkchat knows 1"):
            look(url, schema.read(sql_dir), soon())


@pytest.mark.parametrize("name", ["first.sql", "004-gap.sql", "002-double.sql"])
def test_misnamed_files_are_refused(url: str, sql_dir: Path, name: str) -> None:
    (sql_dir / name).write_text("SELECT 1;")
    with pytest.raises(StartError, match=r"named like|numbered"):
        schema.migrate(url, schema.read(sql_dir), soon())


def test_hosts_that_start_together_all_succeed(url: str, sql_dir: Path) -> None:
    """All hosts succeed. Their migration is slow, so that they surely overlap."""
    (sql_dir / "003-slow.sql").write_text("DO SLEEP(0.3);\nINSERT INTO a VALUES (3);")
    code = (
        "import sys, time; from pathlib import Path; from forkchat.store import schema\n"
        "sys.stdin.read(1); files = schema.read(Path(sys.argv[2]))\n"
        "print(schema.migrate(sys.argv[1], files, time.monotonic() + 10).version)"
    )
    argv = [sys.executable, "-c", code, url, str(sql_dir)]
    pipe = subprocess.PIPE
    hosts = [subprocess.Popen(argv, stdin=pipe, stdout=pipe, cwd=ROOT, text=True) for _ in range(3)]
    for host in hosts:
        assert host.stdin
        host.stdin.write("!")
        host.stdin.flush()
    assert [host.communicate(timeout=20)[0] for host in hosts] == ["3\n"] * 3
    assert rows(url, "SELECT x FROM a") == [1, 2, 3]


def test_a_host_that_freezes_while_it_migrates_is_not_waited_for(
    url: str, sql_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema.migrate(url, schema.read(sql_dir), soon())
    (sql_dir / "003-slow.sql").write_text(
        "DO SLEEP(1);\nINSERT INTO a VALUES (3);\nINSERT INTO a VALUES (4);"
    )
    code = (
        "import sys; from pathlib import Path; from forkchat.store import schema\n"
        "schema._SILENCE = 2; schema.migrate(sys.argv[1], schema.read(Path(sys.argv[2])), 0)"
    )
    running = "SELECT id FROM information_schema.processlist WHERE info = 'DO SLEEP(1)'"
    with subprocess.Popen([sys.executable, "-c", code, url, str(sql_dir)], cwd=ROOT) as host:
        try:
            (session,) = until(lambda: rows(url, running), "the host migrates")
            with frozen(host.pid):
                assert schema.migrate(url, schema.read(sql_dir), soon()).version == 3
        finally:
            host.kill()
    assert rows(url, "SELECT x FROM a") == [1, 2, 3, 4]
    assert f'schema.waiting why="another host migrates the database" connection={session}' in caplog.text


def test_hosts_that_start_together_where_locks_do_not_hold(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All hosts succeed without a common lock, as on two nodes of a Galera cluster."""
    monkeypatch.setattr(schema, "_lock", lambda connection, database: None)
    newest = schema.status(url, schema.read(data_files("sql")), soon()).newest
    with ThreadPoolExecutor(4) as hosts:
        for number in range(15):
            fresh = url.replace("?", f"_{number}?")
            together = threading.Barrier(4)

            def migrate(url: str = fresh, together: threading.Barrier = together) -> int:
                together.wait()
                return schema.migrate(url, schema.read(data_files("sql")), soon()).version

            started = [hosts.submit(migrate) for _ in range(4)]
            assert [host.result() for host in started] == [newest] * 4
            assert rows(fresh, "SELECT version FROM schema_version") == list(range(1, newest + 1))


def test_a_migration_waits_for_who_holds_a_table(url: str, sql_dir: Path) -> None:
    """A migration waits for a session that uses the table, even if the server limits such waits to 1 s."""
    schema.migrate(url, schema.read(sql_dir), soon())
    (sql_dir / "003-third.sql").write_text("ALTER TABLE a ADD COLUMN y INT;")
    with closing(connect(url)) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT @@global.lock_wait_timeout")
        (before,) = cursor.fetchone()
        cursor.execute("SET GLOBAL lock_wait_timeout = 1")
        try:
            holder.begin()
            cursor.execute("SELECT * FROM a")
            release = threading.Timer(1.5, holder.rollback)
            release.start()
            assert schema.migrate(url, schema.read(sql_dir), soon()).version == 3
            release.join()
        finally:
            cursor.execute("SET GLOBAL lock_wait_timeout = %s", (before,))


def test_the_real_files_may_be_run_again(url: str) -> None:
    schema.migrate(url, schema.read(data_files("sql")), soon())
    tables = rows(url, "SHOW TABLES")
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM schema_version")
    schema.migrate(url, schema.read(data_files("sql")), soon())
    assert rows(url, "SHOW TABLES") == tables


def test_it_waits_for_a_server_until_its_deadline(sql_dir: Path) -> None:
    started = time.monotonic()
    with pytest.raises(StartError, match="Can't connect"):
        schema.migrate("mysql://u@127.0.0.1:1/d", schema.read(sql_dir), started + 0.5)
    assert 0.5 <= time.monotonic() - started < 3


def test_a_database_of_a_strange_name_is_not_made(url: str, sql_dir: Path) -> None:
    with pytest.raises(StartError, match="forkchat makes none of that name"):
        schema.migrate(url.replace("/test_", "/te%60st_"), schema.read(sql_dir), soon())


def test_a_url_in_its_parts() -> None:
    address = Address.parse("mysql://a%40b:p%2Fw@h.example:3307/d?ssl_ca=/ca.pem")
    assert address == Address("d", "h.example", 3307, "", "a@b", "p/w", "/ca.pem")
    assert "p/w" not in repr(address)
    assert Address.parse("mysql:///d?unix_socket=/a%20b").unix_socket == "/a b"
    assert Address.parse("mysql://localhost/d").host == "localhost"
    assert Address.parse("mysql://localhost:3306/d").host == "127.0.0.1"


@pytest.mark.parametrize(
    "bad", ["http://h/d", "mysql://h", "mysql://h/a/b", "mysql://u:secret/x@h/d", "mysql://h/d?secret=1"]
)
def test_a_bad_url_is_not_quoted(bad: str) -> None:
    with pytest.raises(ValueError) as caught:
        Address.parse(bad)
    assert "secret" not in str(caught.value)


def test_a_connection_commits_by_itself_and_reads_what_is_committed(url: str, sql_dir: Path) -> None:
    schema.migrate(url, schema.read(sql_dir), soon())
    with closing(connect(url)) as one, closing(connect(url)) as other:
        mine, yours = one.cursor(), other.cursor()
        one.begin()
        mine.execute("SELECT COUNT(*) FROM a")
        yours.execute("INSERT INTO a VALUES (9)")
        mine.execute("SELECT COUNT(*) FROM a")
        assert mine.fetchone() == (3,)
        mine.execute("SELECT @@character_set_connection")
        assert mine.fetchone() == ("utf8mb4",)


def test_a_read_timeout_is_a_lost_connection(url: str, sql_dir: Path) -> None:
    schema.migrate(url, schema.read(sql_dir), soon())
    with closing(connect(url, read_timeout=1)) as connection, pytest.raises(MySQLdb.Error) as caught:
        connection.cursor().execute("DO SLEEP(3)")
    assert is_lost(caught.value)
    assert isinstance(translate(caught.value), Unavailable)


def test_errors_are_told_apart(url: str, sql_dir: Path) -> None:
    schema.migrate(url, schema.read(sql_dir), soon())
    with closing(connect(url)) as one, closing(connect(url)) as other:
        mine, yours = one.cursor(), other.cursor()
        mine.execute("CREATE TABLE k (x INT PRIMARY KEY)")
        mine.execute("INSERT INTO k VALUES (1), (2)")
        with pytest.raises(MySQLdb.Error) as caught:
            mine.execute("INSERT INTO k VALUES (1)")
        assert is_duplicate(caught.value)
        assert isinstance(translate(caught.value), Unavailable)  # every MySQL error becomes Unavailable
        assert keeps_connection(caught.value)
        one.begin()
        mine.execute("SELECT * FROM k WHERE x = 1 FOR UPDATE")
        yours.execute("SET SESSION innodb_lock_wait_timeout = 1")
        with pytest.raises(MySQLdb.Error) as caught:
            yours.execute("UPDATE k SET x = 3 WHERE x = 1")
        assert is_lock_timeout(caught.value)
        yours.execute("SET SESSION innodb_lock_wait_timeout = 10")
        assert is_deadlock(_deadlock(one, other))


def _deadlock(one: Any, other: Any) -> MySQLdb.Error:
    """Cause a deadlock, and return its error.

    `one` already has a lock on row 1. The server may choose either connection as the victim.
    """
    errors: list[MySQLdb.Error] = []

    def update(connection: Any, row: int) -> None:
        try:
            connection.cursor().execute("SELECT * FROM k WHERE x = %s FOR UPDATE", (row,))
        except MySQLdb.Error as error:
            errors.append(error)
        else:
            connection.rollback()

    other.begin()
    other.cursor().execute("SELECT * FROM k WHERE x = 2 FOR UPDATE")
    thread = threading.Thread(target=update, args=(other, 1))
    thread.start()
    update(one, 2)
    thread.join()
    (error,) = errors
    return error


def test_a_closed_connection_and_a_killed_one_are_lost(url: str, sql_dir: Path) -> None:
    schema.migrate(url, schema.read(sql_dir), soon())
    closed = connect(url)
    closed.close()
    with pytest.raises(MySQLdb.Error) as caught:
        closed.cursor().execute("SELECT 1")
    assert is_lost(caught.value)
    with closing(connect(url)) as victim:
        thread_id = victim.thread_id()
        with closing(connect(url)) as killer, killer.cursor() as cursor:
            cursor.execute("KILL %s", (thread_id,))
        with pytest.raises(MySQLdb.Error) as caught:
            victim.cursor().execute("SELECT 1")
    assert is_lost(caught.value)
