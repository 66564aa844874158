"""MySQL and Redis of the operator's own: the documented rights suffice, and the start names each problem."""

from __future__ import annotations

import ast
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from forkchat.bus import check as bus_check
from forkchat.config import data_files
from forkchat.errors import StartError
from forkchat.store import check as store_check
from forkchat.store import schema
from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from tests.cluster import free_port
from tests.doing import UNAVAILABLE, Person, do_everything
from tests.own import PASSWORD as KEY
from tests.own import Directory, directory, documented_acl, documented_grant, execute, least
from tests.server import ROOT, Server, forkchat, until
from tests.talk import PASSWORD, UNLIMITED, Modern, new_name


@pytest.fixture(scope="module")
def home() -> Iterator[Directory]:
    with directory() as made:
        yield made


@pytest.fixture(scope="module")
def mysql(home: Directory) -> Iterator[str]:
    """The administrator's URL of a MariaDB, with `{}` for the name of the database."""
    with home.mariadb() as url:
        yield url


@pytest.fixture(scope="module")
def redis_port(home: Directory) -> Iterator[int]:
    with home.redis(acl=documented_acl()) as port:
        yield port


@pytest.fixture(scope="module")
def admin(redis_port: int) -> Iterator[redis.Redis]:
    with closing(redis.Redis(port=redis_port, username="admin", password="admin")) as client:
        yield client


@pytest.fixture(scope="module")
def redis_url(redis_port: int) -> str:
    return f"redis://forkchat:{KEY}@127.0.0.1:{redis_port}/0"


@pytest.fixture(scope="module")
def urls(mysql: str, redis_url: str) -> dict[str, str]:
    return {"FORKCHAT_MYSQL_URL": least(mysql, "least"), "FORKCHAT_REDIS_URL": redis_url}


def soon() -> float:
    return time.monotonic() + 1


def mysql_problems(url: str, **limits: int) -> str:
    """Return the problems of a MySQL, "" if it can be used."""
    try:
        schema.status(url, schema.read(data_files("sql")), soon(), **limits)
    except StartError as error:
        return str(error)
    return ""


def redis_problems(url: str) -> str:
    try:
        bus_check.check(url, soon())
    except StartError as error:
        return str(error)
    return ""


class TestDocumentedRights:
    def test_everything_can_be_done(self, urls: dict[str, str], admin: redis.Redis) -> None:
        config = f"{UNLIMITED}[retention]\nmessages = 100\n"
        with Server("-w", "2", config=config, env=urls) as host:
            do_everything(host.port)
            li, bo = (Person(host.port).join_in() for _ in range(2))
            li.done(m.ADD_FRIEND, friendid=bo.id)
            self._cut_subscriptions(host, admin)
            li.done(m.ONE_CHAT, toid=bo.id, msg="still there?", cid="1")
            assert bo.push(m.ONE_CHAT)["msg"] == "still there?"
            for worker in host.workers().values():
                os.kill(worker, signal.SIGKILL)
            host.wait_log(r"lease\.cleared lease=\S+:1:1 ")
            host.wait_log(r"lease\.cleared lease=\S+:2:1 ")
            do_everything(host.port)
            host.send(signal.SIGTERM)
            assert host.wait() == 0
            self._expect_no_complaint(host)

    def test_wrong_passwords_up_to_the_limit(self, urls: dict[str, str]) -> None:
        config = "[limits]\nlogin_rate = 3\nregister_rate = 3\n"
        env = urls | {"FORKCHAT_REDIS_URL": urls["FORKCHAT_REDIS_URL"].removesuffix("0") + "5"}
        with Server("-w", "1", config=config, env=env) as host:
            li = Person(host.port).register()
            assert self._errnos(host, m.LOGIN, name=li.name, password="a wrong one") == {1, 8}
            assert self._errnos(host, m.REG, password=PASSWORD) == {0, 8}
            self._expect_no_complaint(host)

    @staticmethod
    def _errnos(host: Server, msgid: int, **fields: str) -> set[int]:
        given = [Modern(host.port).ask(msgid, **({"name": new_name()} | fields)) for _ in range(8)]
        return {answer["errno"] for answer in given}

    @staticmethod
    def _cut_subscriptions(host: Server, admin: redis.Redis) -> None:
        admin.client_kill_filter(_type="pubsub")
        until(lambda: host.log().count("link=subscriber why=") >= 2, "the workers have noticed")
        until(lambda: host.log().count("redis.up link=subscriber") >= 4, "they subscribe again")

    @staticmethod
    def _expect_no_complaint(host: Server) -> None:
        for complaint in ("NOPERM", "denied", "Traceback", "refuses"):
            assert complaint not in host.log()

    def test_other_databases_of_redis_too(self, urls: dict[str, str]) -> None:
        url = urls["FORKCHAT_REDIS_URL"].removesuffix("0") + "3"
        assert redis_problems(url) == ""
        with Server("-w", "1", config=UNLIMITED, env=urls | {"FORKCHAT_REDIS_URL": url}) as host:
            Person(host.port).join_in()


def commands_in(source: str) -> set[str]:
    """Return the commands that a module sends to Redis, directly and in scripts."""
    found = {name.upper() for name in re.findall(r"redis\.p?call\(\s*['\"](\w+)", source)}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="call" | "send" | "tell" | "send_command"), args=[first, *_]
            ):
                first = first.elts[0] if isinstance(first, ast.Tuple) else first
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_every_command_of_the_bus_is_tried() -> None:
    sources = [p.read_text() for p in (ROOT / "forkchat/bus").glob("*.py") if p.name != "check.py"]
    used = set().union(*map(commands_in, sources))
    assert {"EVAL", "SUBSCRIBE", "PTTL", "PUBLISH"} <= used, "they are found"
    assert used <= {command[0] for command in bus_check.commands(0)}


def test_commands_are_found_however_they_are_sent() -> None:
    source = (
        "a.call('GET', x); b.send(('SET', x), f); c.tell(('SUBSCRIBE', *x))\n_S = '''redis.call('PTTL', 1)'''"
    )
    assert commands_in(source) == {"GET", "SET", "SUBSCRIBE", "PTTL"}


def test_every_right_is_needed_and_named(mysql: str) -> None:
    """A missing right is named, both on an empty database and on one with a schema."""
    rights = documented_grant().split(", ")
    for _ in range(2):
        for right in rights:
            url = least(mysql, "rights", ", ".join(each for each in rights if each != right))
            assert mysql_problems(url) == f"MySQL: the user may not {right}: GRANT {right} ON rights.* TO it"
        schema.migrate(least(mysql, "rights"), schema.read(data_files("sql")), soon())
    assert mysql_problems(least(mysql, "rights")) == ""


def test_rights_on_some_tables_do_not_suffice(mysql: str) -> None:
    url = least(mysql, "partly")
    schema.migrate(url, schema.read(data_files("sql")), soon())
    least(mysql, "partly", "SELECT, INSERT, UPDATE, CREATE, ALTER, INDEX")
    grants = [f"GRANT DELETE ON partly.{table} TO partly@localhost" for table in ("message", "user")]
    execute(mysql.format("mysql"), *grants)
    assert mysql_problems(url) == "MySQL: the user may not DELETE: GRANT DELETE ON partly.* TO it"


def test_the_check_changes_nothing(mysql: str, admin: redis.Redis, redis_url: str) -> None:
    url = least(mysql, "unchanged")
    before = execute(url, "SHOW TABLES")
    assert (mysql_problems(url), redis_problems(redis_url)) == ("", "")
    assert execute(url, "SHOW TABLES") == before == []
    assert [key for key in admin.keys("*") if b"check" in key] == []


def test_every_redis_right_is_named(admin: redis.Redis, redis_url: str) -> None:
    rights = documented_acl().split()
    names: dict[str, str] = {}
    try:
        for right in rights:
            rest = [each for each in rights if each != right]
            admin.execute_command("ACL", "SETUSER", "forkchat", "reset", "on", f">{KEY}", *rest)
            names[right] = redis_problems(redis_url)
    finally:
        admin.execute_command("ACL", "SETUSER", "forkchat", "reset", "on", f">{KEY}", *rights)
    implied = {"-@all", "+hello", "+auth", "+select"}  # never refused, or only for databases other than 0
    assert {right for right, said in names.items() if not said} == implied
    assert all(right in said for right, said in names.items() if said)
    assert all(len(said.splitlines()) == 1 for said in names.values() if said)


def test_all_that_is_missing_is_said_at_once(mysql: str, admin: redis.Redis, urls: dict[str, str]) -> None:
    env = urls | {"FORKCHAT_MYSQL_URL": least(mysql, "little", "SELECT, INSERT")}
    rights = documented_acl().split()
    try:
        few = [right for right in rights if right not in ("~*", "&*", "+pttl", "+eval")]
        admin.execute_command("ACL", "SETUSER", "forkchat", "reset", "on", f">{KEY}", "~mine:*", *few)
        for arguments in (["-t"], ["-p", "0"]):
            ended = forkchat(*arguments, env=env)
            assert ended.returncode == 1
            said = [line for line in ended.stderr.splitlines() if line.startswith("forkchat: ")]
            assert len(said) == 5, said
            for name in (
                "~*",
                "&*",
                "+pttl",
                "+eval",
                "GRANT ALTER, CREATE, DELETE, INDEX, UPDATE ON little",
            ):
                assert sum(name in line for line in said) == 1, said
            assert KEY not in ended.stderr
    finally:
        admin.execute_command("ACL", "SETUSER", "forkchat", "reset", "on", f">{KEY}", *rights)
    assert execute(mysql.format("little"), "SHOW TABLES") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cluster-enabled", "yes"], "a node of a Redis Cluster"),
        (["--replicaof", "127.0.0.1", "1"], "a replica of another Redis: name the primary"),
        (["--sentinel"], "a sentinel"),
        (["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"], "set it to noeviction"),
        (["--rename-command", "EVAL", ""], "EVAL: unknown command: it must not be renamed"),
        (["--requirepass", "x"], "asks for a password, and its URL names none"),
        (["--maxclients", "3"], "maxclients is 3, and the workers hold 8 connections"),
        (["--rename-command", "HELLO", ""], "too old: version 6"),
        (["--maxmemory", "1"], "command not allowed when used memory"),
        (["--min-replicas-to-write", "1"], "NOREPLICAS Not enough good replicas"),
    ],
)
def test_a_redis_that_is_not_fit(
    home: Directory, urls: dict[str, str], options: list[str], says: str
) -> None:
    if "--cluster-enabled" in options:
        nodes = home.path / f"nodes-{secrets.token_hex(4)}.conf"
        options = [*options, "--cluster-config-file", str(nodes), "--cluster-port", str(free_port())]
    with home.redis(*options) as port:
        for arguments in (["-t"], ["-p", "0"]):
            env = urls | {"FORKCHAT_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
            ended = forkchat(*arguments, env=env)
            assert ended.returncode == 1
            assert re.search(rf"^forkchat: Redis.*{re.escape(says)}", ended.stderr, re.MULTILINE), (
                ended.stderr
            )
            assert "master.ready" not in ended.stderr


#: Modes that a session cannot change, or should not change, and the complaint about each.
_UNFIT = {
    "--log-bin --binlog-format=STATEMENT": "binlog_format is STATEMENT",
    "--read-only=1": "read-only, as a replica is: name the primary",
    "--max-allowed-packet=1M": "max_allowed_packet is 1048576, and messages of [limits] text need 2097152",
    "--enforce-storage-engine=Aria": "enforce_storage_engine is Aria",
    "--max-connections=15": "max_connections is 15, and the workers hold 16",
    "--max-user-connections=15": "max_user_connections is 15, and the workers hold 16",
}


@pytest.fixture(scope="module")
def second_home() -> Iterator[Directory]:
    """A directory for MariaDBs that are started with other options."""
    with directory() as made:
        yield made


@pytest.mark.parametrize("options", _UNFIT)
def test_a_mariadb_that_is_not_fit(second_home: Directory, redis_url: str, options: str) -> None:
    with second_home.mariadb() as url:
        schema.migrate(least(url, "unfit"), schema.read(data_files("sql")), soon())
    with second_home.mariadb(*options.split()) as url:
        for user, database in (("unfit", "unfit"), ("root", "unfit"), ("root", "missing")):
            own = url.format(database).replace("root@", f"{user}@" if user == "root" else f"{user}:{KEY}@")
            for arguments in (["-t"], ["-p", "0"]) if user == "unfit" else (["-t"],):
                env = {"FORKCHAT_MYSQL_URL": own, "FORKCHAT_REDIS_URL": redis_url}
                ended = forkchat(*arguments, env=env)
                assert ended.returncode == 1
                said = [line for line in ended.stderr.splitlines() if line.startswith("forkchat: ")]
                assert len(said) == 1 and f"MySQL: {_UNFIT[options]}" in said[0].replace("it is ", ""), said


def test_a_limit_of_the_user_on_connections(mysql: str) -> None:
    url = least(mysql, "narrow")
    execute(mysql.format("mysql"), "ALTER USER narrow@localhost WITH MAX_USER_CONNECTIONS 7")
    assert "max_user_connections is 7, and the workers hold 8" in mysql_problems(url, sessions=8)
    assert mysql_problems(url, sessions=7) == ""


def test_a_server_that_speaks_german(mysql: str) -> None:
    url = least(mysql, "deutsch", "SELECT, INSERT")
    execute(mysql.format("mysql"), "SET GLOBAL lc_messages = 'de_DE'")
    try:
        (problem,) = mysql_problems(url).splitlines()
    finally:
        execute(mysql.format("mysql"), "SET GLOBAL lc_messages = 'en_US'")
    assert "GRANT ALTER, CREATE, DELETE, INDEX, UPDATE ON deutsch.* TO it" in problem


def test_a_database_that_the_start_would_not_make(mysql: str) -> None:
    assert "forkchat makes none of that name" in mysql_problems(mysql.format("a%20b"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1/?foo=geheim", "unknown parameter; known are db"),
        ("redis://127.0.0.1/?ssl_ca_certs=/geheim", "unknown parameter"),
        ("redis://127.0.0.1/?max_connections=1", "unknown parameter"),
        ("redis://u:12?geheim=1@127.0.0.1/0", "unknown parameter"),
        ("redis://127.0.0.1/geheim", "the number of a database"),
        ("redis://127.0.0.1/-1", "the number of a database"),
        ("unix://geheim.sock", "of the form unix:///path"),
        ("unix://", "of the form unix:///path"),
    ],
)
def test_a_url_of_redis_that_says_something_else(url: str, says: str) -> None:
    said = redis_problems(url)
    assert said.startswith("Redis: its URL ") and says in said
    assert "geheim" not in said


def test_tables_of_another_engine(mysql: str) -> None:
    url = least(mysql, "engines")
    schema.migrate(url, schema.read(data_files("sql")), soon())
    execute(url, "ALTER TABLE friend ENGINE = MyISAM", "ALTER TABLE epoch ENGINE = Aria")
    assert mysql_problems(url).splitlines() == [
        "MySQL: the table epoch is Aria: ALTER TABLE epoch ENGINE = InnoDB",
        "MySQL: the table friend is MyISAM: ALTER TABLE friend ENGINE = InnoDB",
    ]


def test_the_packet_that_texts_need(mysql: str) -> None:
    url = least(mysql, "packets")
    text, frame = 15_000_000, 16 << 20
    assert "max_allowed_packet is 16777216, and" in mysql_problems(url, text=text, frame=frame)
    needed = store_check.packet_for(text, frame)
    assert str(needed) in mysql_problems(url, text=text, frame=frame)
    execute(mysql.format("mysql"), f"SET GLOBAL max_allowed_packet = {needed + 1024}")
    try:
        assert mysql_problems(url, text=text, frame=frame) == ""
    finally:
        execute(mysql.format("mysql"), "SET GLOBAL max_allowed_packet = 16777216")


@pytest.mark.parametrize(
    ("server", "is_old"),
    [
        ("5.5.5-10.5.23-MariaDB-log", True),
        ("10.3.39-MariaDB", True),
        ("5.5.5-10.6.1-MariaDB", False),
        ("11.4.2-MariaDB-ubu2404", False),
        ("5.7.44-log", True),
        ("8.0.36", False),
        ("8.4.0", False),
        ("8.0.mysql_aurora.3.04.0", False),
        ("9.1.0", False),
    ],
)
def test_versions(server: str, is_old: bool) -> None:
    assert bool(store_check._too_old(server)) is is_old


#: Global modes of a MariaDB with which everything works. Our sessions override them, or they do not matter.
_MODES = (
    "sql_mode = 'ORACLE'",
    "sql_mode = 'TRADITIONAL,ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH,IGNORE_SPACE,HIGH_NOT_PRECEDENCE'",
    "sql_mode = 'NO_BACKSLASH_ESCAPES,EMPTY_STRING_IS_NULL,SIMULTANEOUS_ASSIGNMENT,NO_AUTO_VALUE_ON_ZERO'",
    "sql_safe_updates = 1, sql_auto_is_null = 1, completion_type = CHAIN, sql_select_limit = 1,"
    " max_join_size = 1, tx_read_only = 1, tx_isolation = 'SERIALIZABLE', autocommit = 0",
    "unique_checks = 0, innodb_strict_mode = 0, character_set_server = latin1, query_cache_type = ON,"
    " collation_server = latin1_german1_ci, time_zone = '+11:00', auto_increment_increment = 7,"
    " alter_algorithm = 'INSTANT', innodb_default_row_format = 'compact', default_storage_engine = MyISAM",
    "innodb_lock_wait_timeout = 1, lock_wait_timeout = 5, wait_timeout = 3, net_read_timeout = 2,"
    " idle_transaction_timeout = 1, idle_write_transaction_timeout = 1, innodb_force_primary_key = 1",
)


@pytest.mark.parametrize("mode", _MODES)
def test_modes_with_which_everything_works(mysql: str, redis_url: str, mode: str) -> None:
    database = f"mode_{secrets.token_hex(4)}"
    settings = re.split(r", (?=\w+ = )", mode)
    url = least(mysql, database)
    before = dict(execute(mysql.format("mysql"), "SHOW GLOBAL VARIABLES"))
    execute(mysql.format("mysql"), *(f"SET GLOBAL {setting}" for setting in settings))
    try:
        env = {"FORKCHAT_MYSQL_URL": url, "FORKCHAT_REDIS_URL": redis_url}
        with Server("-w", "1", config=UNLIMITED, env=env) as host:
            do_everything(host.port)
            assert f"errno={UNAVAILABLE}" not in host.log()
            for complaint in ("Traceback", "job.failed", "writer.failed"):
                assert complaint not in host.log()
    finally:
        with closing(connect(mysql.format("mysql"))) as connection, connection.cursor() as cursor:
            for name in (setting.split(" = ")[0] for setting in settings):
                value = before[name]
                cursor.execute(f"SET GLOBAL {name} = %s", (int(value) if value.isdecimal() else value,))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("FORKCHAT_REDIS_URL", (KEY, "falsch"), "Redis refuses the user or password"),
        ("FORKCHAT_MYSQL_URL", (KEY, "falsch"), "MySQL: Access denied for user 'least'"),
        ("FORKCHAT_MYSQL_URL", ("/least?", "/other?"), "MySQL: Access denied for user 'least'"),
    ],
)
def test_a_wrong_password_is_said_at_once(
    urls: dict[str, str], name: str, change: tuple[str, str], says: str
) -> None:
    began = time.monotonic()
    ended = forkchat("-p", "0", env=urls | {name: urls[name].replace(*change)})
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "docs/operations.md" in ended.stderr or "Redis" in says
    assert "falsch" not in ended.stderr
    assert time.monotonic() - began < 8  # the start does not retry


@pytest.mark.parametrize(
    ("name", "url", "says"),
    [
        ("FORKCHAT_REDIS_URL", "redis://u:geheim@127.0.0.1:1", "Redis cannot be reached"),
        ("FORKCHAT_MYSQL_URL", "mysql://u:geheim@127.0.0.1:1/d", "MySQL: Can't connect to server"),
    ],
)
def test_who_is_not_there_is_waited_for_and_then_named(
    urls: dict[str, str], name: str, url: str, says: str
) -> None:
    ended = forkchat("-p", "0", env=urls | {name: url})
    assert ended.returncode == 1
    assert says in ended.stderr
    assert "geheim" not in ended.stderr
    assert "master.ready" not in ended.stderr
