"""Accounts under attack: guessed passwords, owners kept out, weak passwords, names that deceive."""

from __future__ import annotations

import resource
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from forkchat.service.attempts import network
from forkchat.service.passwords import is_common
from forkchat.wire import msgid as m
from forkchat.wire.names import skeletons
from tests.bench.accounts import database
from tests.server import Server, limit, until
from tests.talk import PASSWORD, PROXY, Classic, Message, Modern, new_name

#: Failed logins a minute to one account from one address, at most.
#: Failed logins a minute from one address, at most.
#: Failed logins an hour to one account from all addresses, at most.
PAIR, ADDRESS, ACCOUNT = 5, 20, 10
LIMITS = f"""
[limits]
message_rate = 0
login_rate = {PAIR}
login_rate_address = {ADDRESS}
login_rate_account = {ACCOUNT}
register_rate = 8
login_time = 60
[session]
tokens = 3
[listen]
proxy_from = ['{PROXY}']
"""
#: Hasher with the parameters of earlier versions.
OLD = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=1)

_last = iter(range(1, 65536))


def new_address() -> str:
    """Return an address that no test has used yet."""
    high, low = divmod(next(_last), 250)
    return f"198.18.{high}.{low + 1}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config=LIMITS) as server:
        yield server


@pytest.fixture
def cursor(server: Server) -> Iterator[Any]:
    with closing(database(server)) as connection:
        yield connection.cursor()


def header(address: str) -> bytes:
    family = "TCP6" if ":" in address else "TCP4"
    return f"PROXY {family} {address} {address} 4321 6000\r\n".encode()


def at(server: Server, address: str = "") -> Modern:
    return Modern(server.port, header=header(address or new_address()))


def guess(server: Server, address: str, password: str = "a guess", **who: Any) -> Message:
    with at(server, address) as client:
        return client.ask(m.LOGIN, password=password, **who)


def guesses(server: Server, address: str, count: int, **who: Any) -> list[int]:
    return [guess(server, address, **who)["errno"] for _ in range(count)]


# Guessing.


@pytest.mark.parametrize("is_there", [True, False], ids=["an account", "none"])
def test_no_more_are_checked_at_once_than_the_limit(server: Server, is_there: bool) -> None:
    li = at(server).register()
    who = {"name": li.name if is_there else new_name()}
    here = new_address()
    clients = [at(server, here) for _ in range(25)]
    rids = [client.say(m.LOGIN, password="a guess", **who) for client in clients]
    answers = [client.answer(rid) for client, rid in zip(clients, rids, strict=True)]
    assert Counter(answer["errno"] for answer in answers) == {1: PAIR, 8: 20}
    assert all(55 < answer["retry_after"] <= 60 for answer in answers if answer["errno"] == 8)


@pytest.mark.parametrize("is_there", [True, False], ids=["an account", "none"])
def test_one_account_however_it_is_named(server: Server, cursor: Any, is_there: bool) -> None:
    name = new_name("ñi")
    li = at(server).register(name)
    names: list[dict[str, Any]] = [
        {"name": name},
        {"name": name.replace("ñ", "n\u0303")},
        {"name": "ｎ\u0303i" + name[2:]},
    ]
    if is_there:
        names.append({"id": li.id})
    else:
        cursor.execute("DELETE FROM user WHERE id = %s", (li.id,))
    here = new_address()
    tried = [guess(server, here, **names[n % len(names)])["errno"] for n in range(PAIR + 2)]
    assert tried == [1] * PAIR + [8] * 2


def test_changing_a_password_is_no_way_to_guess_it(server: Server) -> None:
    here = new_address()
    li = at(server, here).join_in()
    tries = [li.ask(m.ACCOUNT, op="password", old="a guess", new="another horse") for _ in range(PAIR)]
    assert [answer["errno"] for answer in tries] == [1] * PAIR
    late = li.ask(m.ACCOUNT, op="password", old=PASSWORD, new="another horse")
    assert late["errno"] == 8 and 0 < late["retry_after"] <= 60
    assert guess(server, here, name=li.name)["errno"] == 8  # logins share the bucket


def test_a_right_password_is_not_counted(server: Server) -> None:
    here = new_address()
    li = at(server, here).register()
    client = at(server, here)
    for _ in range(ADDRESS + 5):
        client.done(m.LOGIN, name=li.name, password=PASSWORD)
        client.done(m.LOGINOUT)
    client.done(m.LOGIN, name=li.name, password=PASSWORD)
    for _ in range(PAIR):
        client.done(m.ACCOUNT, op="password", old=PASSWORD, new="another horse")
        client.done(m.ACCOUNT, op="password", old="another horse", new=PASSWORD)


def test_a_school_that_logs_in_at_once(server: Server) -> None:
    """More users log in at once than the limit of their address.

    Each correct password gives its place back, while the other logins wait for one.
    """
    school = new_address()
    people = [at(server).register() for _ in range(ADDRESS + 10)]
    clients = [at(server, school) for _ in people]
    rids = [
        client.say(m.LOGIN, name=who.name, password=PASSWORD)
        for client, who in zip(clients, people, strict=True)
    ]
    assert {client.answer(rid)["errno"] for client, rid in zip(clients, rids, strict=True)} == {0}


def test_one_address_that_tries_many_accounts(server: Server) -> None:
    here = new_address()
    tried = [guess(server, here, name=new_name())["errno"] for _ in range(ADDRESS + 1)]
    assert tried == [1] * ADDRESS + [8]


def test_an_address_of_ipv6_is_a_64(server: Server) -> None:
    li = at(server).register()
    tried = [guess(server, f"2001:db8:5:7::{n + 1:x}", name=li.name)["errno"] for n in range(PAIR + 2)]
    assert tried == [1] * PAIR + [8] * 2
    assert guess(server, "2001:db8:5:8::1", name=li.name)["errno"] == 1


def test_an_address_of_ipv4_is_one_in_the_form_of_ipv6_too(server: Server) -> None:
    li = at(server).register()
    tried = [
        guess(server, ("::ffff:198.51.100.7", "198.51.100.7")[n % 2], name=li.name)["errno"]
        for n in range(PAIR + 2)
    ]
    assert tried == [1] * PAIR + [8] * 2
    assert guess(server, "::ffff:198.51.100.8", name=li.name)["errno"] == 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unix:", "unix:"),
        ("", ""),
    ],
)
def test_network(host: str, expected: str) -> None:
    assert network(host) == expected


# The owner.


def test_a_stranger_does_not_keep_the_owner_out(server: Server) -> None:
    """Guesses of a stranger do not lock the owner out, at a known address or anywhere else."""
    home, stranger = new_address(), new_address()
    li = at(server, home).register()
    assert guesses(server, stranger, PAIR + 1, name=li.name) == [1] * PAIR + [8]
    assert guess(server, home, PASSWORD, id=li.id)["errno"] == 0
    until(
        lambda: guess(server, new_address(), PASSWORD, name=li.name)["errno"] in (0, 2), "from elsewhere too"
    )


def test_many_addresses_that_try_one_account(server: Server) -> None:
    """Beyond the account's limit, guesses from new addresses are refused.

    The owner logs in from a known address. At a new address the owner has to wait.
    """
    home = new_address()
    with at(server, home).join_in() as li:
        token = li.token
        strangers = [guess(server, new_address(), name=li.name)["errno"] for _ in range(ACCOUNT + 3)]
        assert strangers == [1] * ACCOUNT + [8] * 3
        late = guess(server, new_address(), PASSWORD, id=li.id)
        assert late["errno"] == 8 and 60 < late["retry_after"] <= 3600
        assert "minutes" in late["errmsg"]
        assert guesses(server, home, 2, name=li.name) == [1, 1]
        answer = at(server, home).ask(m.LOGIN, name=li.name, password=PASSWORD, takeover=True)
        assert answer["errno"] == 0
        assert at(server).ask(m.LOGIN, token=token, takeover=True)["errno"] == 0


def test_a_single_stranger_makes_up_a_fifth_of_an_accounts_limit(server: Server) -> None:
    li, stranger = at(server).register(), new_address()
    assert guesses(server, stranger, PAIR, name=li.name) == [1] * PAIR
    others = [guess(server, new_address(), name=li.name)["errno"] for _ in range(ACCOUNT)]
    assert others == [1] * (ACCOUNT - ACCOUNT // 5) + [8] * (ACCOUNT // 5)


def test_a_stranger_with_a_whole_site_is_a_single_one(server: Server) -> None:
    """The 65,536 networks of an IPv6 site count as one stranger.

    They fill no more than a fifth of the account's limit, and their guesses are limited in total.
    """
    li = at(server).register()
    site = [guess(server, f"2001:db8:51:{n:x}::1", name=li.name)["errno"] for n in range(1, 2 * PAIR + 3)]
    assert site == [1] * 2 * PAIR + [8] * 2
    others = [guess(server, new_address(), name=li.name)["errno"] for _ in range(ACCOUNT)]
    assert others == [1] * (ACCOUNT - ACCOUNT // 5) + [8] * (ACCOUNT // 5)


def test_the_owner_has_no_limit_of_a_site(server: Server) -> None:
    """A stranger of the same provider does not lock the owner out at home."""
    li = at(server, "2001:db8:52:1::1").register()
    for n in range(2, 2 * PAIR + 3):
        guess(server, f"2001:db8:52:{n:x}::1", name=li.name)
    assert guess(server, "2001:db8:52:1::9", PASSWORD, name=li.name)["errno"] == 0


def test_addresses_are_remembered_up_to_a_bound_and_in_no_readable_form(server: Server, cursor: Any) -> None:
    li = at(server).register()
    for n in range(25):
        cursor.execute(
            "INSERT INTO known_address VALUES (UNHEX(SHA2(%s, 256)), %s, UTC_DATE() - INTERVAL %s DAY)",
            (f"{li.id} {n}", li.id, n),
        )
    home = new_address()
    assert guess(server, home, PASSWORD, name=li.name)["errno"] == 0
    cursor.execute("SELECT address FROM known_address WHERE user = %s", (li.id,))
    kept = [row[0] for row in cursor.fetchall()]
    assert len(kept) == 20
    assert all(home.encode() not in address for address in kept)


def test_whoever_guesses_takes_as_long_as_whoever_is_unknown(server: Server, cursor: Any) -> None:
    """A check takes as long for an existing account as for an unknown name.

    Both compute a hash with the same parameters.
    """
    li, unknown = at(server).register(), new_name()

    def seconds(name: str) -> float:
        client = at(server)
        began = time.monotonic()
        assert client.ask(m.LOGIN, name=name, password="a guess")["errno"] == 1
        return time.monotonic() - began

    # Compare the shortest times, because a busy machine delays some of the checks.
    there, nowhere = [], []
    for _ in range(PAIR):
        there.append(seconds(li.name))
        nowhere.append(seconds(unknown))
    assert 0.25 < min(there) / min(nowhere) < 4


# Registering.


def test_registering_is_limited_by_network(server: Server) -> None:
    def register(address: str) -> int:
        return int(at(server, address).ask(m.REG, name=new_name(), password=PASSWORD)["errno"])

    assert [register(f"2001:db8:9:9::{n + 1:x}") for n in range(10)] == [0] * 8 + [8] * 2
    assert register("2001:db8:9:a::1") == 0


@pytest.fixture(scope="module")
def narrow() -> Iterator[Server]:
    """A server with one worker that allows one registration a minute for each address.

    It does not limit failed logins to one account from one address.
    """
    config = LIMITS.replace("register_rate = 8", "register_rate = 1")
    with Server("-w", "1", config=config.replace(f"login_rate = {PAIR}", "login_rate = 0")) as server:
        yield server


def test_registering_is_limited_by_site(narrow: Server) -> None:
    found = [
        at(narrow, f"2001:db8:9:{n:x}::1").ask(m.REG, name=new_name(), password=PASSWORD)["errno"]
        for n in range(1, 13)
    ]
    assert found == [0] * 10 + [8] * 2


def test_logins_to_one_account_do_not_fill_the_queue_of_hashes(narrow: Server) -> None:
    """Many connections log in to one account with the correct password, which is not counted.

    A login to another account is served meanwhile.
    """
    li, bo = (at(narrow).register() for _ in range(2))
    crowd = [at(narrow) for _ in range(70)]
    mine = at(narrow)
    for client in crowd:
        client.say(m.LOGIN, name=li.name, password=PASSWORD)
    assert mine.ask(m.LOGIN, name=bo.name, password=PASSWORD)["errno"] == 0


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("x", "at least 8"),
        ("1234567", "at least 8"),
        ("李雷李雷李雷李", "at least 8"),
        *((word, "too common") for word in ("12345678", "password", "Password1", "PASSWORD", "qwertyuiop")),
        *((word, "too common") for word in ("aaaaaaaa", "88888888", "abcdefgh", "p@ssw0rd", "iloveyou")),
        *((word, "too common") for word in ("11111111111111", "abcabcabcabc", "1q2w3e4r5t", "a" * 1000)),
        ("<name>", "too common"),
    ],
)
def test_weak_passwords_are_refused(server: Server, password: str, why: str) -> None:
    name = "margaret-" + new_name()
    password = name if password == "<name>" else password
    modern = at(server)
    refused = modern.ask(m.REG, name=name, password=password)
    assert (refused["errno"], why in refused["errmsg"]) == (3, True), refused
    classic = Classic(server.port, header=header(new_address())).ask(m.REG, name=name, password=password)
    assert (classic["errno"], why in classic["errmsg"]) == (1, True), classic
    modern.done(m.REG, name=name, password=PASSWORD)
    modern.done(m.LOGIN, name=name, password=PASSWORD)
    refused = modern.ask(m.ACCOUNT, op="password", old=PASSWORD, new=password)
    assert (refused["errno"], why in refused["errmsg"]) == (3, True), refused


@pytest.mark.parametrize("password", ["4@8({[<36%9#!1|0$5+7", "|!7!6($4+951|<[@", "49665/153A755101$165"])
def test_rating_a_password_takes_little(password: str) -> None:
    """Rating takes less than 10 ms, because the worker does nothing else meanwhile."""

    def seconds() -> float:
        began = time.thread_time()
        assert not is_common(password, "li")
        return time.thread_time() - began

    assert min(seconds() for _ in range(5)) < 0.01


def test_a_password_that_was_rated_counts_as_a_registration(server: Server) -> None:
    here = new_address()

    def register(password: str) -> int:
        return int(at(server, here).ask(m.REG, name=new_name(), password=password)["errno"])

    assert [register("x") for _ in range(9)] == [3] * 9
    assert [register("12345678") for _ in range(8)] == [3] * 8
    assert register(PASSWORD) == 8


@pytest.mark.parametrize(
    ("is_inside", "msgid", "fields", "errno"),
    [
        (False, m.REG, {"name": "li", "password": "x"}, 3),
        (True, m.LOOKUP, {"name": "nobody at all"}, 6),
        (True, m.GROUP_CHAT, {"groupid": 10**9, "msg": "hi", "cid": "1"}, 6),
    ],
)
def test_refusals_count_whenever_they_come(
    server: Server, is_inside: bool, msgid: int, fields: dict[str, Any], errno: int
) -> None:
    client = at(server).join_in() if is_inside else at(server)
    for _ in range(150):
        client.say(msgid, **fields)
    *refused, last = client.wait_closed().splitlines()
    assert (100 if is_inside else 20) <= len(refused) < 150
    assert all(b'"errno":%d,' % errno in each for each in refused)
    assert b'"reason":"kicked"' in last


def test_a_password_is_taken_as_it_was_typed(server: Server) -> None:
    li = at(server)
    name, password = new_name(), "cafe\u0301 \u3000 ｌａ"
    li.done(m.REG, name=name, password=password)
    assert li.ask(m.LOGIN, name=name, password="café \u3000 ｌａ")["errno"] == 1
    li.done(m.LOGIN, name=name, password=password)


def stored_password(cursor: Any, client: Modern) -> str:
    cursor.execute("SELECT password FROM user WHERE id = %s", (client.id,))
    return str(cursor.fetchone()[0])


def test_an_old_hash_is_renewed_at_the_next_login() -> None:
    """A login with the correct password replaces an old hash. The default parameters are OWASP's."""
    with Server("-w", "1", config="[passwords]\n") as server:
        li = Modern(server.port).register()
        with closing(database(server)) as connection, connection.cursor() as cursor:

            def login(password: str) -> int:
                with Modern(server.port) as client:
                    return int(client.ask(m.LOGIN, name=li.name, password=password)["errno"])

            assert "$m=19456,t=2,p=1$" in stored_password(cursor, li)
            cursor.execute("UPDATE user SET password = %s WHERE id = %s", (OLD.hash(PASSWORD), li.id))
            assert login("a guess") == 1
            assert "$m=65536,t=3,p=1$" in stored_password(cursor, li)
            assert login(PASSWORD) == 0
            assert "$m=19456,t=2,p=1$" in stored_password(cursor, li)
            until(lambda: login(PASSWORD) == 0, "it is the same password")


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$v=19$m=1,t=1$", "!"])
def test_an_account_whose_password_is_disabled(server: Server, cursor: Any, stored: str) -> None:
    li = at(server).register()
    cursor.execute("UPDATE user SET password = %s WHERE id = %s", (stored, li.id))
    for password in (PASSWORD, stored, ""):
        assert guess(server, new_address(), password, name=li.name)["errno"] == 1


def test_parameters_may_change_while_the_server_runs() -> None:
    with Server("-w", "1", config="[passwords]\nmemory = 8192\ntime = 1\n") as server:
        li = Modern(server.port).register()
        with closing(database(server)) as connection, connection.cursor() as cursor:
            assert "$m=8192,t=1,p=1$" in stored_password(cursor, li)
            server.config_path.write_text("[passwords]\nmemory = 9216\nminimum = 1\nrefuse_common = false\n")
            server.send(signal.SIGHUP)
            until(
                lambda: Modern(server.port).ask(m.REG, name=new_name(), password="x")["errno"] == 0,
                "it was read again",
            )
            li.login()
            assert "$m=9216,t=2,p=1$" in stored_password(cursor, li)


def test_no_memory_to_hash() -> None:
    """Logins whose hashes fit into memory succeed.

    Requests that need larger hashes are answered `unavailable`, and are not counted.
    """
    with Server("-w", "1", config="[limits]\nlogin_rate = 1\n") as server:
        li = Modern(server.port).register()
        (worker,) = server.workers().values()
        room = int(Path(f"/proc/{worker}/statm").read_text().split()[0]) * resource.getpagesize() + (1 << 28)
        limit(worker, "as", room)
        server.config_path.write_text("[limits]\nlogin_rate = 1\n[passwords]\nmemory = 1048576\ntime = 1\n")
        server.send(signal.SIGHUP)

        def is_short() -> bool:
            return bool(Modern(server.port).ask(m.REG, name=new_name(), password=PASSWORD)["errno"] == 11)

        until(is_short, "the server has no memory for it")
        for _ in range(3):
            assert Modern(server.port).ask(m.LOGIN, name="nobody", password=PASSWORD)["errno"] == 11
        assert li.login()["errno"] == 0


# Tokens.


def test_tokens_are_bounded(server: Server) -> None:
    li = at(server).register()
    tokens = []
    for _ in range(5):
        client = at(server)
        tokens.append(client.done(m.LOGIN, name=li.name, password=PASSWORD, takeover=True)["token"])
    answers = [at(server).ask(m.LOGIN, token=token, takeover=True)["errno"] for token in tokens]
    assert answers == [13, 13, 0, 0, 0]


def test_tokens_are_bounded_however_many_log_in_at_once(server: Server, cursor: Any) -> None:
    home = new_address()
    li = at(server, home).register()
    clients = [at(server, home) for _ in range(PAIR)]
    for _ in range(3):
        rids = [client.say(m.LOGIN, name=li.name, password=PASSWORD) for client in clients]
        answers = [client.answer(rid)["errno"] for client, rid in zip(clients, rids, strict=True)]
        assert set(answers) <= {0, 2}
        for client, errno in zip(clients, answers, strict=True):
            if errno == 0:
                client.done(m.LOGINOUT)
    cursor.execute("SELECT COUNT(*) FROM token WHERE user = %s", (li.id,))
    assert cursor.fetchone()[0] <= 3


def test_a_login_that_is_refused_ends_no_token(server: Server) -> None:
    li = at(server).join_in()
    for _ in range(4):
        assert guess(server, new_address(), PASSWORD, name=li.name)["errno"] == 2
    assert at(server).ask(m.LOGIN, token=li.token, takeover=True)["errno"] == 0


def test_the_other_tokens_can_be_ended(server: Server) -> None:
    li = at(server).join_in()
    other = at(server).done(m.LOGIN, name=li.name, password=PASSWORD, takeover=True)["token"]
    with at(server) as third:
        mine = third.done(m.LOGIN, id=li.id, password=PASSWORD, takeover=True)["token"]
        third.done(m.ACCOUNT, op="end_others")
        third.done(m.FRIENDS, op="list")
        assert at(server).ask(m.LOGIN, token=other)["errno"] == 13
        assert at(server).ask(m.LOGIN, token=mine, takeover=True)["errno"] == 0


# Names.


def test_a_name_that_looks_like_another_is_refused(server: Server) -> None:
    name = new_name("paypal")
    at(server).register(name)
    for other in (name.upper(), name.replace("a", "\u0430"), name.replace("l", "I"), name.replace("l", "1")):
        for client in (at(server), Classic(server.port, header=header(new_address()))):
            refused = client.ask(m.REG, name=other, password=PASSWORD)
            assert refused["errno"] in (1, 7)
            assert "looks like" in refused["errmsg"], refused
    assert "taken" in at(server).ask(m.REG, name=name, password=PASSWORD)["errmsg"]


def test_one_of_many_look_alikes_that_come_at_once(server: Server, cursor: Any) -> None:
    stem = new_name("lilili")
    names = [stem.replace("li", "".join(pair), 1) for pair in product("lI1|\u0406", "i\u0456\u04c0")][:12]
    clients = [at(server) for _ in names]
    rids = [
        client.say(m.REG, name=name, password=PASSWORD) for client, name in zip(clients, names, strict=True)
    ]
    answers = [client.answer(rid)["errno"] for client, rid in zip(clients, rids, strict=True)]
    shapes = {name: skeletons(name) for name in names}
    winners = [name for name, errno in zip(names, answers, strict=True) if errno == 0]
    assert set(answers) == {0, 7}
    for one, other in combinations(winners, 2):
        assert set(shapes[one]).isdisjoint(shapes[other])
    cursor.execute("SELECT COUNT(*) FROM user WHERE name IN %s", (names,))
    assert cursor.fetchone()[0] == len(winners)


def test_a_name_is_found_however_it_is_typed(server: Server) -> None:
    typed = new_name("ｌｉ n\u0303")
    client = at(server)
    answer = client.done(m.REG, name=typed, password=PASSWORD)
    name = typed.replace("ｌｉ n\u0303", "li ñ")
    assert answer["name"] == name
    for form in (typed, name):
        with Classic(server.port, header=header(new_address())) as classic:
            assert classic.ask(m.LOGIN, name=form, password=PASSWORD)["id"] == answer["id"]
    until(
        lambda: client.ask(m.LOGIN, name=typed, password=PASSWORD)["errno"] == 0,
        "the classic session is over",
    )
    assert client.done(m.LOOKUP, name=typed) | {"rid": 0} == {
        "msgid": m.ACK,
        "re": m.LOOKUP,
        "rid": 0,
        "errno": 0,
        "id": answer["id"],
        "name": name,
    }


def test_accounts_from_before_keep_their_names() -> None:
    """Accounts with look-alike names, or with names that are now forbidden, can log in.

    New look-alikes are refused.
    """
    old = ["Li", "li", "bo\u3164", "日本 😀"]
    with Server("-w", "1") as server:
        data_dir = server.data_dir
        with closing(database(server)) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO user (name, password) VALUES (%s, %s)",
                [(name, OLD.hash(PASSWORD)) for name in old],
            )
        server.send(signal.SIGTERM)
        server.wait()
        with Server("-w", "2", config="[limits]\nregister_rate = 0\n", data_dir=data_dir) as again:

            def is_indexed() -> bool:
                with closing(database(again)) as connection, connection.cursor() as cursor:
                    cursor.execute("SELECT done FROM name_indexed")
                    return bool(cursor.fetchone()[0] >= len(old))

            until(is_indexed, "all have their skeletons")
            for name in old:
                assert Modern(again.port).ask(m.LOGIN, name=name, password=PASSWORD)["name"] == name
            for name in ("LI", "l\u0456", "1i"):
                assert Modern(again.port).ask(m.REG, name=name, password=PASSWORD)["errno"] == 7
            assert Modern(again.port).ask(m.REG, name="bo", password=PASSWORD)["errno"] == 0
