"""Tests of the client over TLS. A listener here ends TLS, as nginx does, and passes on to the real server."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from client.aio import client as transport
from client.aio import race, tls
from client.aio.client import Client
from client.aio.server import TLS_PORT
from client.commands.directory import Directory
from client.commands.wording import Wording
from client.local.accounts import Account, Accounts
from client.main import main
from client.protocol import backoff
from client.protocol.events import Disconnected, Event, LoggedIn, LoggedOut, Problem
from client.script.codes import NETWORK, OK, USAGE
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.network import Network
from tests.pane import Pane, Tmux
from tests.scripted import answer_all, scripted
from tests.server import Server
from tests.server import chatcli as run_chatcli
from tests.talk import PASSWORD
from tests.test_chatcli import said, unique

#: Host and days of validity of each certificate. "ca" has signed them, and "stranger" has signed itself.
CERTIFICATES = {"good": ("localhost", 2), "elsewhere": ("example.org", 2), "expired": ("localhost", -1)}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with NAME.pem and NAME.key of "ca", "stranger" and the CERTIFICATES."""
    path = tmp_path_factory.mktemp("papers")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=path, check=True, capture_output=True)

    def request(name: str, host: str, *arguments: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
        names = ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
        openssl("req", *key, *names, *arguments)

    request("ca", "ca.example.org", "-x509", "-out", "ca.pem")
    request("stranger", "localhost", "-x509", "-out", "stranger.pem")
    for name, (host, days) in CERTIFICATES.items():
        request(name, host, "-out", f"{name}.csr")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", str(days), "-copy_extensions", "copy"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return path


def server_context(papers: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers / f"{name}.pem", papers / f"{name}.key")
    return context


class Front:
    """A TLS listener on a free port, in a thread of its own, that passes on to `target`.

    `context` may be changed for later handshakes. `arrivals` counts the handshakes begun. `connections` holds
    the connections that succeeded and have not ended.
    """

    def __init__(self, target: int, context: ssl.SSLContext):
        self.context = context
        self.arrivals = 0
        self.connections: set[asyncio.StreamWriter] = set()
        self.port = 0
        self._target = target
        self._first = context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(15)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(15)
        assert not self._thread.is_alive()

    def cut(self) -> None:
        """Abort all connections."""
        for connection in list(self.connections):
            self._loop.call_soon_threadsafe(connection.transport.abort)

    async def _run(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self._first.sni_callback = self._arrive
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._first)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._ended.wait()
            for connection in self.connections:
                connection.transport.abort()

    def _arrive(self, connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        self.arrivals += 1
        connection.context = self.context

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            above = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(_pump(reader, above[1]), _pump(above[0], writer))
        finally:
            self.connections.discard(writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


chatcli = partial(run_chatcli, password=PASSWORD)


def assert_no_connection(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that chatcli ended with NETWORK and one line, which has all `words`."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (NETWORK, "", 1), done
    for word in words:
        assert word in done.stderr


async def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition` holds, as `until` does, in a coroutine."""
    with suppress(TimeoutError):
        async with asyncio.timeout(15):
            while not condition():
                await asyncio.sleep(0.01)
    assert condition(), what


class TestTrust:
    def test_an_authority_that_is_named(self, server: Server, papers: Path) -> None:
        li, bo = unique("li"), unique("bo")
        with Front(server.port, server_context(papers, "good")) as front:
            trusting = ("--tls", "--ca", papers / "ca.pem", f"localhost:{front.port}")
            chatcli(*trusting, lines=(f"/register {bo}",))
            texts = [f"{number} " + "x" * 4000 for number in range(50)]
            sending = chatcli(*trusting, lines=(f"/register {li}", f"/msg {bo}", *texts))
            assert (sending.returncode, sending.stderr) == (OK, "")
            waiting = chatcli(*trusting, lines=(f"/login {bo}",))
            assert (waiting.returncode, waiting.stderr) == (OK, "")
            assert said(waiting.stdout) == [f"{li}: {text}" for text in texts]
            assert front.arrivals == 3

    def test_an_address_without_tls_hides_none_that_has_it(
        self, server: Server, papers: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look_up = socket.getaddrinfo
        silent = "127.0.0.2"

        def found(_host: str, port: int, *arguments: int, **options: int) -> list[Any]:
            return [*look_up(silent, port, **options), *look_up("127.0.0.1", port, **options)]

        async def run(front: Front) -> None:
            async with Client("localhost", front.port, ssl=tls.context(papers / "ca.pem")) as client:
                await client.register(unique("li"), PASSWORD)

        with (
            Front(server.port, server_context(papers, "good")) as front,
            socket.create_server((silent, front.port)),
        ):
            monkeypatch.setattr(socket, "getaddrinfo", found)
            asyncio.run(asyncio.wait_for(run(front), 5))
            monkeypatch.undo()

    def test_an_authority_of_the_system(self, server: Server, papers: Path) -> None:
        with Front(server.port, server_context(papers, "good")) as front:
            done = chatcli("--tls", f"localhost:{front.port}", SSL_CERT_FILE=str(papers / "ca.pem"))
        assert (done.returncode, done.stderr) == (OK, "")

    def test_named_authorities_replace_those_of_the_system(self, server: Server, papers: Path) -> None:
        with Front(server.port, server_context(papers, "good")) as front:
            command = ("--tls", "--ca", papers / "stranger.pem", f"localhost:{front.port}")
            done = chatcli(*command, SSL_CERT_FILE=str(papers / "ca.pem"))
        assert_no_connection(done, "--ca")

    @pytest.mark.parametrize(
        ("certificate", "host", "words"),
        [
            ("stranger", "localhost", ["self-signed certificate", "--ca FILE"]),
            ("elsewhere", "localhost", ["not valid for 'localhost'", "the name that it is made for"]),
            ("good", "127.0.0.1", ["not valid for '127.0.0.1'", "the name that it is made for"]),
            ("expired", "localhost", ["certificate has expired", "renew"]),
        ],
    )
    def test_a_bad_certificate(
        self, server: Server, papers: Path, certificate: str, host: str, words: list[str]
    ) -> None:
        with Front(server.port, server_context(papers, certificate)) as front:
            done = chatcli("--tls", "--ca", papers / "ca.pem", f"{host}:{front.port}", lines=("/register x",))
            assert front.arrivals == 1
        assert_no_connection(done, *words)

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
    def test_tls_1_1_is_refused(self, server: Server, papers: Path, tmp_path: Path) -> None:
        """TLS 1.1 is refused, also where the system's configuration would allow it."""
        lenient = tmp_path / "openssl.cnf"
        lenient.write_text(
            "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n"
            "[c]\nMinProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n"
        )
        context = server_context(papers, "good")
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1
        with Front(server.port, context) as front:
            command = ("--tls", "--ca", papers / "ca.pem", f"localhost:{front.port}")
            done = chatcli(*command, OPENSSL_CONF=str(lenient))
        assert_no_connection(done, "no TLS connection")


class TestNoTLS:
    @pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b'{"msgid":101}\n'])
    def test_what_answers_speaks_none(self, papers: Path, greeting: bytes) -> None:
        with scripted(lambda connection: connection.sendall(greeting)) as port:
            done = chatcli("--tls", "--ca", papers / "ca.pem", f"localhost:{port}")
        assert_no_connection(done, "no TLS connection", "--plain connects without it")

    def test_a_plain_forkchat(self, server: Server, papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(race, "ADDRESS_TIME", 0.5)
        client = Client("localhost", server.port, ssl=tls.context(papers / "ca.pem"))
        with pytest.raises(ConnectionError, match="--plain connects without it"):
            asyncio.run(asyncio.wait_for(client.connect(), 5))

    def test_nobody_listens(self, papers: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        done = chatcli("--tls", "--ca", papers / "ca.pem", f"127.0.0.1:{port}")
        assert_no_connection(done, f"nothing to chat with at 127.0.0.1, port {port}: Connection refused")

    def test_a_plain_client(self, server: Server, papers: Path) -> None:
        with Front(server.port, server_context(papers, "good")) as front:
            done = chatcli(f"localhost:{front.port}")
        assert done.returncode == NETWORK
        assert "the server has closed the connection at once" in done.stderr
        assert "Traceback" not in done.stderr


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["--ca", "ca.pem"], "--ca is for --tls"),
            (["--plain", "--ca", "ca.pem"], "--ca is for --tls"),
            (["--plain", "--tls"], "--tls and --plain exclude each other"),
            (["--tls", "--ca", "missing.pem"], "--ca missing.pem: No such file or directory"),
            (["--tls", "--ca", "."], "--ca .: Is a directory"),
            (["--tls", "--ca", ""], "--ca .: Is a directory"),
            (["--tls", "--ca", "ca.key"], "--ca ca.key: no certificate in PEM form"),
            (["--tls", "host:port"], "no such port: port"),
        ],
    )
    def test_wrong(
        self, papers: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
    ) -> None:
        monkeypatch.chdir(papers)
        done = chatcli(*arguments)
        assert (done.returncode, done.stderr.splitlines()[-1:]) == (USAGE, [f"chatcli: {complaint}"])
        assert "Traceback" not in done.stderr

    def test_the_port_when_none_is_given(self, papers: Path) -> None:
        done = chatcli("--tls", "--ca", papers / "ca.pem", "127.0.0.77")
        assert_no_connection(done, f"at 127.0.0.77, port {TLS_PORT}: ")


class TestFromThenOn:
    """Accounts that were used over TLS. From then on they are used over TLS."""

    @pytest.mark.parametrize(
        ("arguments", "lines", "password"),
        [
            (["-u", "li", "send", "bo", "hi"], [], ""),
            (["-u", "li", "tail", "bo"], [], PASSWORD),
            (["-u", "li"], [], ""),
            ([], ["/friends"], ""),
            ([], ["/login li"], PASSWORD),
            (["--json", "-u", "li"], [], PASSWORD),
            ([], ["/register another"], PASSWORD),
        ],
    )
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_nothing_goes_to_a_plain_server(
        self, tmp_path: Path, host: str, arguments: list[str], lines: list[str], password: str
    ) -> None:
        heard: list[bytes] = []
        with scripted(lambda connection: heard.append(connection.recv(65536))) as port:
            accounts = Accounts(tmp_path / "chatcli/accounts.json", f"localhost:{port}")
            accounts.is_tls = True
            accounts.save(Account(12, "li", "the token of li"))
            done = run_chatcli(
                "-s",
                f"{host}:{port}",
                *arguments,
                lines=lines,
                password=password,
                XDG_DATA_HOME=str(tmp_path),
            )
        assert done.returncode == NETWORK
        assert "--plain connects without it, and others can read what is sent" in done.stderr + done.stdout
        assert len(heard) == 1
        assert heard[0].startswith(b"\x16\x03")  # a TLS handshake

    def test_unless_the_user_says_so(self, tmp_path: Path) -> None:
        heard: list[Any] = []
        with scripted(lambda connection: heard.extend(answer_all(connection, b""))) as port:
            accounts = Accounts(tmp_path / "chatcli/accounts.json", f"localhost:{port}")
            accounts.is_tls = True
            accounts.save(Account(12, "li", "the token of li"))
            where = ["-s", f"127.0.0.1:{port}", "-u", "li"]
            done = run_chatcli(*where, "--plain", "send", "bo", "hi", XDG_DATA_HOME=str(tmp_path))
            assert (done.returncode, done.stderr) == (OK, "")
            assert [each["token"] for each in heard if each["msgid"] == m.LOGIN] == ["the token of li"]
            assert accounts.need_tls()  # --plain was said of this run only

    def test_on_the_screen(self, server: Server, papers: Path, tmux: Tmux) -> None:
        li = unique("li")
        with Front(server.port, server_context(papers, "good")) as front:
            authority = ("--ca", str(papers / "ca.pem"))
            pane = Pane(tmux, front.port, host="localhost", arguments=("--tls", *authority))
            pane.enter("register", li)
            pane.sees("🔒")
            pane.leave()
            again = Pane(tmux, front.port, host="LOCALHOST", home=pane.home, arguments=authority)
            again.sees(f"welcome back, {li}", f"logged in as {li}", "🔒")
            again.leave()
        plain = Pane(tmux, server.port)
        plain.sees("connected to")
        plain.sees("🔒", "not encrypted", times=0)
        plain.leave()


@pytest.mark.skipif(os.getuid() != 0, reason="network namespaces are made by root alone")
class TestToAnotherMachine:
    """Connections to another machine without TLS. chatcli says once that others can read what is sent."""

    @pytest.fixture
    def network(self) -> Iterator[Network]:
        with Network({"a": ("lan",)}) as network:
            yield network

    @pytest.mark.parametrize(("arguments", "times"), [([], 1), (["--json"], 1), (["--plain"], 0)])
    def test_in_scripts(
        self,
        network: Network,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        arguments: list[str],
        times: int,
    ) -> None:
        monkeypatch.setenv("FORKCHAT_PASSWORD", PASSWORD)
        host = network.address("a", "lan")
        with network.at("a"), scripted(lambda connection: answer_all(connection, b""), host) as port:
            assert main([*arguments, "-s", f"{host}:{port}", "-u", "li", "send", "bo", "hi"]) == OK
        assert capfd.readouterr().err.count(f"-- the connection to {host} is not encrypted: ") == times

    def test_on_the_screen(self, network: Network, tmux: Tmux) -> None:
        host, namespace = network.address("a", "lan"), network.namespace("a")
        with Server("-w", "1", "-b", "0.0.0.0", namespace=namespace) as server:
            pane = Pane(tmux, server.port, host=host, namespace=namespace)
            pane.enter("register", "li")
            pane.sees(f"the connection to {host} is not encrypted", "│ not encrypted")
            os.kill(server.workers()[1], signal.SIGKILL)
            pane.sees("connected again")
            pane.sees(f"the connection to {host} is not encrypted", "│ not encrypted")
            pane.leave()


class TestLostConnection:
    def test_it_comes_back_over_tls_and_tells_of_a_bad_certificate_once(
        self, server: Server, papers: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(backoff, "LAST", 0.1)
        good, stranger = server_context(papers, "good"), server_context(papers, "stranger")
        events: list[Event] = []

        def count(kind: type[Event]) -> int:
            return sum(isinstance(event, kind) for event in events)

        async def lose(front: Front, outage: int) -> None:
            front.context = stranger
            begun = front.arrivals
            front.cut()
            await eventually(lambda: front.arrivals >= begun + 3, "it tries again")
            assert count(Problem) == outage
            front.context = good
            await eventually(lambda: count(LoggedIn) == outage + 1, "it is back")

        async def run(front: Front) -> None:
            context = tls.context(papers / "ca.pem")
            async with Client("localhost", front.port, ssl=context, on_event=events.append) as client:
                li = unique("li")
                await client.register(li, PASSWORD)
                await client.login(li, PASSWORD)
                await lose(front, 1)
                await lose(front, 2)
                assert await client.request(m.FRIENDS, op="list")

        with Front(server.port, good) as front:
            asyncio.run(run(front))
        wording = Wording(Directory())
        rows = [text for event in events for text in wording.tell(event)]
        told = ["the connection is lost", "--ca FILE", "connected again"]
        assert [next(word for word in told if word in row) for row in rows[1:]] == told * 2

    def test_the_session_ends_elsewhere(self, server: Server, papers: Path) -> None:
        """The client closes its TLS connection when its session ends elsewhere."""
        events: list[Event] = []

        async def run(front: Front) -> None:
            context = tls.context(papers / "ca.pem")
            async with Client("localhost", front.port, ssl=context, on_event=events.append) as client:
                li = unique("li")
                await client.register(li, PASSWORD)
                await client.login(li, PASSWORD)
                async with Client("localhost", front.port, ssl=context) as other:
                    await other.login(li, PASSWORD, takeover=True)
                    await eventually(lambda: Disconnected(False) in events, "the connection has ended")
                    assert LoggedOut("replaced") in events
                    await eventually(lambda: len(front.connections) == 1, "for the listener, too")

        with Front(server.port, server_context(papers, "good")) as front:
            asyncio.run(run(front))


def test_closing_when_the_server_does_not_answer(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CLOSE_TIME", 0.2)
    hung_up = threading.Event()

    def greet_and_freeze(connection: socket.socket) -> None:
        with server_context(papers, "good").wrap_socket(connection, server_side=True) as stream:
            stream.recv(4096)
            stream.sendall(
                line({"msgid": m.HELLO_ACK, "rid": "1", "errno": 0, "epoch": "e", "heartbeat": 30})
            )
            end = select.poll()
            end.register(stream, select.POLLRDHUP)
            if end.poll(10_000):
                hung_up.set()

    async def run(port: int) -> None:
        async with Client("localhost", port, ssl=tls.context(papers / "ca.pem")) as client:
            assert client.session.is_ready
        assert await asyncio.to_thread(hung_up.wait, 5)

    with scripted(greet_and_freeze) as port:
        asyncio.run(run(port))
