"""Tests of names with several addresses, some of them dead.

The client finds a live address, or says which addresses it tried.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from client.aio import race
from client.aio import server as servers
from client.aio.client import Client
from client.aio.race import Unreachable
from client.aio.server import Server
from client.commands.wording import no_server
from tests.scripted import answer_all, scripted
from tests.server import until

NAME = "chat.example.org"


@contextmanager
def black_hole(port: int, address: str = "127.0.0.2") -> Iterator[str]:
    """Yield `address`, where nothing answers on `port` because the listener's queue is full."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((address, port))
        listener.listen(0)

        def is_full() -> bool:
            sock = stack.enter_context(socket.socket(family))
            sock.settimeout(0.1)
            with suppress(TimeoutError):
                sock.connect((address, listener.getsockname()[1]))
                return False
            return True

        until(is_full, "its queue is full")
        yield address


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The addresses that NAME resolves to, in this order."""
    addresses: list[str] = []
    look_up = socket.getaddrinfo

    def found(host: str, port: int, *arguments: int, **options: int) -> list[object]:
        names = addresses if host == NAME else [host]
        return [each for name in names for each in look_up(name, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield addresses


async def connects(port: int, host: str = NAME) -> str:
    """Connect, and return the address that the client took."""
    async with Client(host, port) as client:
        assert client._socket
        return str(client._socket.get_extra_info("peername")[0])


@pytest.mark.parametrize("dead", [["::1"], ["127.0.0.2"], ["::1", "127.0.0.2", "127.0.0.3"], ["0.0.0.0"]])
def test_refused_ones_hide_none_that_lives(resolves: list[str], dead: list[str]) -> None:
    with scripted(lambda connection: answer_all(connection, b"")) as port:
        resolves += [*dead, "127.0.0.1", "127.0.0.4"]
        assert asyncio.run(asyncio.wait_for(connects(port), 2)) == "127.0.0.1"


def test_those_that_do_not_answer_hide_none_that_lives(resolves: list[str]) -> None:
    with (
        scripted(lambda connection: answer_all(connection, b"")) as port,
        black_hole(port, "::1"),
        black_hole(port, "127.0.0.2"),
    ):
        resolves += ["::1", "127.0.0.2", "127.0.0.1"]
        assert asyncio.run(asyncio.wait_for(connects(port), 5)) == "127.0.0.1"


def test_what_was_tried_is_named(resolves: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "ADDRESS_TIME", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def told() -> list[str]:
        with pytest.raises(Unreachable) as caught:
            asyncio.run(connects(port))
        return no_server(Server(NAME, port), caught.value)

    with black_hole(port):
        resolves += ["::1", "127.0.0.2", "127.0.0.1"]
        where = f"nothing to chat with at {NAME}, port {port}: "
        assert told() == [where + "Connection refused (::1, 127.0.0.1); no answer (127.0.0.2)"]
        resolves.remove("127.0.0.2")
        text, hint = told()
        assert text == where + "Connection refused (::1, 127.0.0.1)"
        assert hint.startswith("to start a server there: ")


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "CONNECT_TIME", 0.2)
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: is_over.wait(15))

    async def run() -> None:
        with pytest.raises(ConnectionError, match="no answer"):
            await connects(1)
        is_over.set()

    asyncio.run(run())


def test_what_comes_before_it_is_known_which_connection_is_taken(resolves: list[str]) -> None:
    """Bytes that a server sends before its connection is chosen are not lost.

    The client does not wait for more after the server hangs up.
    """
    resolves += ["127.0.0.1"]

    def play(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with scripted(play) as port:
        for _ in range(50):
            with pytest.raises(ConnectionError, match="no forkchat server"):
                asyncio.run(asyncio.wait_for(connects(port), 5))
