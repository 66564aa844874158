"""`make cluster`: supervisor, nginx and two hosts, and chat across them."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from forkchat.wire import msgid as m
from tests.cluster import HOSTS, Cluster
from tests.server import chatcli, is_alive, until
from tests.talk import PASSWORD, Classic, Modern, Wire, new_name


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(is_new=True)
    cluster.edit(
        "cluster.toml", "[listen]", "[limits]\nmessage_rate = 0\nregister_rate = 0\nchange_rate = 0\n[listen]"
    )
    with cluster:
        await_answers(cluster)
        yield cluster


def answers(address: str, port: int, header: bytes = b"") -> bool:
    try:
        with socket.create_connection((address, port), 5, ("127.0.0.1", 0)) as client:
            client.sendall(header + b'{"msgid":100,"rid":"1"}\n')
            return b'"errno":0' in client.recv(1000)
    except OSError:
        return False


def await_answers(cluster: Cluster, seconds: float = 30) -> None:
    """Wait until both hosts and nginx answer."""
    for address in ("127.0.0.2", "127.0.0.3"):
        host = partial(answers, address, cluster.host_port, b"PROXY UNKNOWN\r\n")
        until(host, f"{address} answers", seconds)
    until(partial(answers, "127.0.0.1", cluster.port), "nginx has a host that answers", seconds)


def on_each_host(cluster: Cluster, connect: Callable[[], Modern | Classic]) -> list[Modern | Classic]:
    """Return a logged-in client on each host."""
    found: dict[str, Modern | Classic] = {}
    with ExitStack() as tried:  # kept open, so that nginx picks the other host next
        for _ in range(20):
            client = connect()
            if found.setdefault(cluster.host_of(client.id), client) is not client:
                tried.enter_context(client)
            if len(found) == len(HOSTS):
                return list(found.values())
    raise AssertionError(f"all of 20 clients came to {set(found)}")


def test_clients_of_the_course_that_leave_out_delimiters(cluster: Cluster) -> None:
    """Course clients that leave out delimiters chat through nginx.

    A client that only logs in and listens is written to in its own numbering, on either host.
    """

    def connect() -> Classic:
        return Classic(cluster.port, numbering="course")

    li, bo = on_each_host(cluster, lambda: connect().join_in())
    assert isinstance(li, Classic)
    assert isinstance(bo, Classic)
    for text in ("{}{", "hi"):
        li.send(li.encode(m.ADD_FRIEND, friendid=bo.id)[:-1])
        li.send(li.encode(m.ONE_CHAT, toid=bo.id, msg=text)[:-1])
        heard = bo.hear()
        assert (heard["msgid"], heard["msg"]) == (m.ONE_CHAT, text)
    bo.close()
    silent = connect()
    until(lambda: silent.login(bo.id)["errno"] == 0, "the session is over")
    li.send(li.encode(m.ONE_CHAT, toid=bo.id, msg="are you there?"))
    heard = silent.hear()
    assert (heard["msgid"], heard["msg"]) == (m.ONE_CHAT, "are you there?")
    li.send(li.encode(m.LOGINOUT)[:-1])
    assert [friend["id"] for friend in li.login()["friends"]] == [bo.id]


@pytest.mark.parametrize("kind", [Modern, Classic])
def test_people_on_different_hosts_chat(cluster: Cluster, kind: type[Modern | Classic]) -> None:
    li, bo = on_each_host(cluster, lambda: kind(cluster.port).join_in())
    li.say(m.ONE_CHAT, toid=bo.id, msg="hi", cid="1")
    bo.say(m.ONE_CHAT, toid=li.id, msg="hi!", cid="1")
    for client, text in ((bo, "hi"), (li, "hi!")):
        heard = client.push(m.ONE_CHAT) if isinstance(client, Modern) else client.hear()
        assert heard["msg"] == text


def test_hosts_see_the_clients_address(cluster: Cluster) -> None:
    client = Modern(cluster.port).join_in()
    log = cluster.log(cluster.host_of(client.id))
    assert re.search(rf"session\.start user={client.id} peer=127\.0\.0\.1:{client.own_port} ", log)


def test_the_hosts_themselves_take_nothing_from_nginx_s_address_without_a_header(cluster: Cluster) -> None:
    with socket.create_connection(("127.0.0.2", cluster.host_port), 5, ("127.0.0.1", 0)) as direct:
        direct.sendall(b'{"msgid":100,"rid":"1"}\n')
        assert direct.recv(100) == b""


@pytest.mark.skipif(os.getuid() != 0, reason="root alone can start programs as another user")
def test_only_masters_are_root(cluster: Cluster) -> None:
    titles = cluster.processes()
    roots = [titles[pid] for pid in titles if Path(f"/proc/{pid}").stat().st_uid == 0]
    assert all("master" in title for title in roots), roots
    assert {title.split()[0] for title in titles.values()} > {"mariadbd", "redis-server"}, titles


def test_tls(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.state / "server.crt"))
    with (
        socket.create_connection(("127.0.0.1", cluster.tls_port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(b'{"msgid":100,"rid":"1"}\n')
        assert b'"errno":0' in secure.recv(1000)


def test_a_stopped_host_tells_its_clients_when_to_come_back(cluster: Cluster) -> None:
    clients = on_each_host(cluster, lambda: Modern(cluster.port).join_in())
    leaver = next(c for c in clients if cluster.host_of(c.id) == HOSTS[0])
    assert isinstance(leaver, Modern)
    cluster.control("stop", HOSTS[0])
    try:
        bye = leaver.push(m.BYE)
        assert bye["reason"] == "draining"
        assert 0 <= bye["retry_after"] <= 3
        again = Modern(cluster.port)
        assert again.login(token=leaver.token)["errno"] == 0
    finally:
        cluster.control("start", HOSTS[0])


def test_stop_all_leaves_no_process_and_no_socket(cluster: Cluster) -> None:
    talking = [Modern(cluster.port).join_in() for _ in range(4)]
    family = cluster.processes()
    assert len(family) > 10
    cluster.control("stop", "all")
    assert not any(map(is_alive, family)), family
    assert [path.name for path in cluster.sockets()] == ["supervisor.sock"]  # kept for `start`
    with pytest.raises(OSError):
        Wire(cluster.port)
    cluster.control("start", "all")
    await_answers(cluster)
    assert Modern(cluster.port).login(token=talking[0].token)["errno"] == 0


def test_a_shutdown_ends_the_hosts_first(cluster: Cluster) -> None:
    """The hosts end before nginx. So clients are told, and nginx has no connection left to wait for."""
    client, family, supervisord = Modern(cluster.port).join_in(), cluster.processes(), cluster.pid()
    cluster.control("shutdown")
    assert client.push(m.BYE)["reason"] == "draining"
    until(lambda: not is_alive(supervisord), "supervisord has ended", 30)
    assert not any(map(is_alive, family)), family
    assert cluster.sockets() == []
    stopped = re.findall(r"stopped: (\S+)", (cluster.state / "log/supervisord.log").read_text())[-5:]
    assert set(stopped[:2]) == set(HOSTS), stopped
    assert cluster.start().returncode == 0


def test_chatcli_through_tls(cluster: Cluster) -> None:
    where = f"localhost:{cluster.tls_port}"
    commands = (f"/register {new_name()}", "/friends")
    done = chatcli("--tls", "--ca", cluster.state / "server.crt", where, lines=commands, password=PASSWORD)
    assert done.returncode == 0, done.stderr
    assert "logged in as" in done.stdout
