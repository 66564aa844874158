"""The client's transport: one connection at a time, and when it is made again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from client.aio.backoff import FIRST, GOOD_TIME, LAST, Backoff
from client.aio.client import Client
from tests.scripted import answer_all, scripted


class TestOneConnection:
    def test_whoever_asks_for_it(self) -> None:
        made = []

        def play(connection: socket.socket) -> None:
            made.append(connection)
            answer_all(connection, b"")

        async def run(port: int) -> None:
            async with Client("127.0.0.1", port) as client:
                await client.connect()
            client = Client("127.0.0.1", port)
            await asyncio.gather(client.connect(), client.connect(), client.login("li", "secret"))
            assert client.session.me == 12
            await client.close()
            async with Client("127.0.0.1", port):
                pass  # the server takes them in turn: it has seen those before

        with scripted(play) as port:
            asyncio.run(run(port))
        assert len(made) == 3

    def test_all_who_asked_hear_that_there_is_none(self) -> None:
        async def run(port: int) -> None:
            client = Client("127.0.0.1", port)
            asked = client.connect(), client.login("li", "secret"), client.request(1)
            errors = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(error) for error in errors] == [ConnectionError] * 3
            await client.close()

        with scripted(lambda connection: connection.sendall(b"220 smtp\r\n")) as port:
            asyncio.run(run(port))


class TestLag:
    def test_what_waits_for_a_connection_is_not_measured(self) -> None:
        async def run(port: int) -> None:
            async with Client("127.0.0.1", port) as client:
                client.session.restore(12, "li", [])
                login = asyncio.create_task(client.login("li", "secret"))
                while not client.session.is_wanted:
                    await asyncio.sleep(0)
                cid = client.post("g1", "before the login is answered")
                waits = asyncio.create_task(client.acknowledged(cid))
                await login
                await waits
                assert client.lag == 0.0
                await client.send("g1", "now")
                assert client.lag > 0.0

        with scripted(lambda connection: answer_all(connection, b"")) as port:
            asyncio.run(run(port))


class TestBackoff:
    def test_it_grows_and_differs_up_to_a_bound(self) -> None:
        backoff = Backoff()
        pauses = []
        for number in range(60):
            pauses.append(backoff.pause())
            most = min(LAST, FIRST * 2**number)
            assert most / 2 <= pauses[-1] <= most
            backoff.ended()
        assert len(set(pauses[10:])) > 40
        assert max(pauses) > LAST / 2

    @pytest.mark.parametrize(("lived", "most"), [(GOOD_TIME, FIRST), (GOOD_TIME - 0.1, LAST)])
    def test_a_good_connection_is_forgiven(self, lived: float, most: float) -> None:
        backoff = Backoff()
        for _ in range(20):
            backoff.ended()
        backoff.ended(lived)
        assert most / 2 <= backoff.pause() <= most
