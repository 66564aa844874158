"""Connections through a proxy: a header names the client, and only a known proxy may send a header."""

from __future__ import annotations

import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from forkchat.process.embedded import run_dir
from forkchat.process.trail import Trail
from forkchat.store.connection import connect
from forkchat.wire import msgid as m
from tests.server import Server, until
from tests.talk import PASSWORD, PROXY, Classic, Modern, Wire, new_name

_LIMITS = "[server]\nlog_level = 'debug'\n[limits]\nlogin_time = 3\nlogin_rate_address = 3\n"
_BEHIND = f"[listen]\nproxy_from = ['{PROXY}', 'fd00::/8']\n"


def version1(client: str) -> bytes:
    family = "TCP6" if ":" in client else "TCP4"
    return f"PROXY {family} {client} {client} 4321 6000\r\n".encode()


def version2(client: str) -> bytes:
    kind = socket.AF_INET6 if ":" in client else socket.AF_INET
    packed = socket.inet_pton(kind, client) * 2 + struct.pack("!HH", 4321, 6000)
    family = 0x21 if kind == socket.AF_INET6 else 0x11
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(packed)) + packed


VERSIONS = pytest.mark.parametrize("header", [version1, version2])
Header = Callable[[str], bytes]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "2", config=_LIMITS + _BEHIND) as server:
        yield server


@pytest.fixture
def strict() -> Iterator[Server]:
    """A server with one worker that allows one connection per address."""
    with Server("-w", "1", config=_LIMITS + "connections_per_address = 1\n" + _BEHIND) as server:
        yield server


@VERSIONS
@pytest.mark.parametrize(
    ("client", "shown"), [("192.0.2.1", "192.0.2.1:4321"), ("2001:db8::7", r"\[2001:db8::7\]:4321")]
)
def test_the_log_names_the_client(server: Server, header: Header, client: str, shown: str) -> None:
    modern = Modern(server.port, header=header(client)).join_in()
    server.wait_log(rf"session\.start user={modern.id} peer={shown} ")
    modern.close()
    server.wait_log(rf"session\.end user={modern.id} reason=eof peer={shown}")


@VERSIONS
def test_a_classic_client_talks_as_ever(server: Server, header: Header) -> None:
    li = Classic(server.port, header=header("192.0.2.1")).join_in()
    bo = Classic(server.port).join_in()
    li.say(m.ONE_CHAT, toid=bo.id, msg="hi")
    assert bo.hear()["msg"] == "hi"


@VERSIONS
def test_failed_logins_are_counted_for_the_client(server: Server, header: Header) -> None:
    guesser, other = (
        ("198.51.100.1", "198.51.100.2") if header is version1 else ("2001:db8::1", "2001:db8:0:1::1")
    )

    def guess(client: str) -> int:
        attempt = Modern(server.port, header=header(client))
        return int(attempt.ask(m.LOGIN, name=new_name(), password=PASSWORD)["errno"])

    assert [guess(guesser) for _ in range(4)] == [1, 1, 1, 8]
    assert guess(other) == 1
    Modern(server.port).join_in()


@VERSIONS
def test_connections_are_counted_for_the_client(strict: Server, header: Header) -> None:
    first = Modern(strict.port, header=header("192.0.2.1"))
    Modern(strict.port, header=header("192.0.2.2"))
    assert Wire(strict.port, header=header("192.0.2.1")).wait_closed() == b""
    strict.wait_log(r"peer\.turned_away peer=192\.0\.2\.1:4321 why=\"too many connections")
    first.close()
    strict.wait_log(r"peer\.closed peer=192\.0\.2\.1:4321 reason=eof")
    Modern(strict.port, header=header("192.0.2.1"))


@VERSIONS
def test_a_forged_header_is_refused(server: Server, header: Header) -> None:
    forger = Wire(server.port)
    forger.send(header("192.0.2.66") + b'{"msgid":100,"rid":"1"}\n')
    assert forger.wait_closed() == b""
    server.wait_log(
        rf"WARNING worker\d peer\.turned_away peer=127\.0\.0\.1:{forger.own_port} "
        r'why="a PROXY header, and listen\.proxy_from does not name its address"'
    )
    assert "192.0.2.66" not in server.log()


@pytest.mark.parametrize(
    "opening",
    [b'{"msgid":100,"rid":"1"}\n', b"PROXY TCP4 " + b"1" * 500, version2("192.0.2.1")[:14] + b"\xff\xff"],
    ids=["none", "endless", "endless v2"],
)
def test_a_header_that_is_none_is_refused(server: Server, opening: bytes) -> None:
    proxy = Wire(server.port, header=opening)
    assert proxy.wait_closed() == b""
    server.wait_log(rf"peer\.turned_away peer={PROXY}:{proxy.own_port}")
    Modern(server.port, header=version1("192.0.2.1")).join_in()


@pytest.mark.parametrize("opening", [b"P", version1("192.0.2.1")[:-1], version2("192.0.2.1")[:-1]])
def test_a_header_that_does_not_end_is_waited_for_no_longer_than_a_login(
    server: Server, opening: bytes
) -> None:
    began = time.monotonic()
    assert Wire(server.port, header=opening).wait_closed() == b""
    assert time.monotonic() - began < 10


def test_hup_changes_the_proxies_for_whoever_comes_next(strict: Server) -> None:
    there = Modern(strict.port, header=version1("192.0.2.1"))
    strict.config_path.write_text(_LIMITS)
    strict.send(signal.SIGHUP)
    strict.wait_log(r"worker1 worker\.reloaded")
    assert Wire(strict.port, header=version1("192.0.2.2")).wait_closed() == b""
    there.done(m.PING)


class TestClassicCursor:
    """Messages to a classic client through nginx, which takes the bytes even if the client does not.

    A message counts as received only if the connection lives on.
    """

    def deliver(self, server: Server) -> tuple[Classic, Classic]:
        """Return a classic client that was shown a message just now, and its sender."""
        bo = Classic(server.port, header=version1("192.0.2.1")).join_in()
        li = Classic(server.port).join_in()
        li.say(m.ONE_CHAT, toid=bo.id, msg="are you there?")
        assert bo.hear()["msg"] == "are you there?"
        return bo, li

    def missed(self, server: Server, bo: Classic) -> list[str]:
        """Return the messages that bo is given at the next login."""
        again = Classic(server.port, header=version1("192.0.2.1"))
        answer = until(lambda: (got := again.login(bo.id))["errno"] == 0 and got, "the session is over")
        return [each["msg"] for each in answer.get("offlinemsg", [])]

    def test_a_client_lost_just_then_gets_it_again(self, server: Server) -> None:
        bo, _ = self.deliver(server)
        bo.close()
        assert self.missed(server, bo) == ["are you there?"]

    def test_a_client_that_logs_out_has_read_it(self, server: Server) -> None:
        bo, _ = self.deliver(server)
        bo.say(m.LOGINOUT, id=bo.id)
        assert "offlinemsg" not in bo.login()

    def test_a_client_that_stays_has_read_it(self, server: Server) -> None:
        bo, _ = self.deliver(server)
        socket_path = run_dir(server.data_dir) / "mysql.sock"
        with closing(connect(f"mysql://root@/forkchat?unix_socket={socket_path}")) as database:

            def confirmed() -> bool:
                with database.cursor() as cursor:
                    cursor.execute("SELECT recv_seq FROM member WHERE user = %s", (bo.id,))
                    database.commit()
                    return bool(cursor.fetchone() == (1,))

            until(confirmed, "the cursor has moved", 20)
        bo.close()
        assert self.missed(server, bo) == []


def test_what_a_proxy_took_has_reached_its_client_after_three_seconds() -> None:
    trail = Trail()
    assert [trail.reached(10.0, 100), trail.reached(11.0, 300), trail.reached(12.9, 300)] == [0, 0, 0]
    assert [trail.reached(13.0, 300), trail.reached(13.9, 400), trail.reached(14.0, 400)] == [100, 100, 300]
    trail.confirm(400)
    assert trail.reached(14.0, 500) == 400
    assert trail.reached(17.0, 500) == 500
