"""Tests of the client's transport: it keeps one connection at a time, and reconnects."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import orjson
import pytest

from client.aio.client import Client
from client.aio.waiters import Waiters
from client.protocol import login as logins
from client.protocol.backoff import FIRST, GOOD_TIME, LAST, Backoff
from client.protocol.events import Disconnected, Event, LoggedIn, LoggedOut, Retrying, Stranded
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.scripted import answer_all, answer_to, scripted
from tests.server import Server, until
from tests.talk import PASSWORD, Modern, new_name


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
                pass  # the scripted server accepts in order, so it has seen the earlier connections

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


async def happens(events: list[Event], *wanted: Event | type[Event]) -> None:
    """Wait until each of `wanted` has matched an event, by equality or by type."""
    async with asyncio.timeout(15):
        while not all(any(each in (event, type(event)) for event in events) for each in wanted):
            await asyncio.sleep(0.01)


class TestComingBack:
    def test_who_slept_while_another_client_logged_in_ends_no_session(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that was stopped does not end the session of a client that logged in meanwhile.

        The test blocks the first client's event loop, so it resembles a stopped process.
        """
        monkeypatch.setattr(logins, "OWN_SESSION_TIME", 1.0)
        config = "[session]\nheartbeat = 0.2\ndead_after = 0.5\n"
        events: list[Event] = []

        async def run(server: Server) -> None:
            async with Client("127.0.0.1", server.port, on_event=events.append) as client:
                await client.register(name := new_name(), PASSWORD)
                await client.login(name, PASSWORD, takeover=True)
                until(lambda: "session.end" in server.log(), "the server has given it up")
                with Modern(server.port) as other:
                    assert other.login(name=name, password=PASSWORD)["errno"] == 0
                    async with asyncio.timeout(15):
                        while LoggedOut("replaced") not in events:
                            await asyncio.sleep(0.05)
                            assert other.pushed() == []
                    await client.login(name, PASSWORD, takeover=True)
                    assert other.push(m.BYE)["reason"] == "replaced"

        with Server("-w", "1", config=config) as server:
            asyncio.run(run(server))

    def test_what_is_left_of_its_own_session_does_not_keep_it_out(self) -> None:
        """A client logs in again although the server still holds its old session.

        The server learns nothing of the loss, as when machines in between have forgotten the connection.
        """
        events: list[Event] = []

        async def run(server: Server) -> None:
            async with Client("127.0.0.1", server.port, on_event=events.append) as client:
                await client.register(name := new_name(), PASSWORD)
                await client.login(name, PASSWORD)
                assert client._socket
                left = client._socket.get_extra_info("socket").dup()
                client._socket.abort()
                await happens(events, Disconnected)
                events.clear()
                await happens(events, LoggedIn)
                left.close()

        with Server("-w", "1") as server:
            asyncio.run(run(server))
            assert server.log().count("reason=dead") == 1


def test_an_id_of_another_epoch_is_not_asked_for() -> None:
    """A request that names an id fails with Stranded after a change of the epoch.

    The id belongs to someone else by the time of the reconnect.
    """
    heard = []

    def play(connection: socket.socket) -> None:
        heard.extend(answer_all(connection, b"", {m.HELLO: epochs}))

    async def run(port: int) -> None:
        async with Client("127.0.0.1", port) as client:
            await client.login("li", "secret")
            assert client._socket
            client._socket.abort()
            await asyncio.sleep(0)
            asked = (
                client.request(m.ADD_FRIEND, friendid=57),
                client.request(m.GROUPS, op="leave", groupid=9),
                client.request(m.FETCH, conv="g9", limit=1),
                client.request(m.LOOKUP, name="bo"),
            )
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in results] == [Stranded, Stranded, Stranded, dict]
            await client.request(m.ADD_FRIEND, friendid=57)

    epochs = iter([{"epoch": "before"}, {"epoch": "after"}])
    with scripted(play) as port:
        asyncio.run(run(port))
    until(lambda: len(heard) == 6, "the server has seen the end")
    assert [each["msgid"] for each in heard if each["msgid"] not in (m.HELLO, m.LOGIN)] == [
        m.LOOKUP,
        m.ADD_FRIEND,
    ]


def _hang_up(_connection: socket.socket) -> None:
    pass


def _say(*lines: bytes, after: int) -> Callable[[socket.socket], None]:
    """Return a script that answers `after` requests, sends `lines` and hangs up."""

    def play(connection: socket.socket) -> None:
        with connection.makefile("rwb") as stream:
            for _ in range(after):
                if request := stream.readline():
                    stream.write(line(answer_to(orjson.loads(request))))
                    stream.flush()
            for each in lines:
                stream.write(each + b"\n")

    return play


def _bye(reason: str, retry_after: str) -> bytes:
    return f'{{"msgid":106,"reason":"{reason}","retry_after":{retry_after}}}'.encode()


class TestPauses:
    """Pauses before a reconnect. No server can make the client retry too fast, or stay away for ever."""

    def test_they_grow(self) -> None:
        plays = [
            _hang_up,
            _say(after=1),
            _say(after=2),
            _say(_bye("draining", "0"), after=0),
            _say(_bye("draining", "0"), after=1),
            _say(_bye("draining", "0"), after=2),
            _say(_bye("idle", "1e-9"), after=2),
            _say(_bye("moved", "-1"), _bye("elsewhere", "0.0"), after=2),
            _say(_bye("slow", "NaN"), after=2),
            _say(b"not JSON", after=0),
        ]

        async def run() -> list[list[float]]:
            return await asyncio.gather(*(self._pauses(play, 4) for play in plays))

        for pauses in asyncio.run(run()):
            assert all(pause >= FIRST * 2**number for number, pause in enumerate(pauses)), pauses

    @pytest.mark.parametrize("asked", ["1e9", "1e308", "86400"])
    def test_they_have_a_bound(self, asked: str) -> None:
        (pause,) = asyncio.run(self._pauses(_say(_bye("draining", asked), after=2), 1))
        assert 60 < pause <= 60 + LAST

    async def _pauses(self, play: Callable[[socket.socket], None], number: int) -> list[float]:
        """Return the first `number` pauses, in seconds."""
        events: list[Event] = []
        with scripted(play) as port:
            client = Client("127.0.0.1", port, on_event=events.append)
            client.session.login("li", "secret")
            client.begin()
            async with asyncio.timeout(15):
                while len(found := [each.seconds for each in events if isinstance(each, Retrying)]) < number:
                    await asyncio.sleep(0.01)
            await client.close()
        return found


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

    def test_what_the_server_asks_for_comes_on_top(self) -> None:
        pauses = [Backoff().pause(7.0) for _ in range(50)]
        assert all(7.0 + FIRST / 2 <= pause <= 7.0 + FIRST for pause in pauses)
        assert len(set(pauses)) > 40

    @pytest.mark.parametrize(("lived", "most"), [(GOOD_TIME, FIRST), (GOOD_TIME - 0.1, LAST)])
    def test_a_good_connection_is_forgiven(self, lived: float, most: float) -> None:
        backoff = Backoff()
        for _ in range(20):
            backoff.ended()
        backoff.ended(lived)
        assert most / 2 <= backoff.pause() <= most


def test_who_is_cancelled_as_the_answer_comes_is_cancelled() -> None:
    async def run() -> None:
        waiters = Waiters()
        task = asyncio.create_task(waiters.result("1", waiters.expect("1"), 5.0))
        await asyncio.sleep(0)
        waiters.resolve("1", "the answer")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
