"""Tests of a server that lies. The session believes nothing that hides a message or confuses people."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from client.aio.client import Client
from client.protocol.events import (
    ConnectionLost,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    Message,
    NotUnderstood,
    Problem,
    SendDelayed,
    SendFailed,
    Sent,
)
from client.protocol.link import ANSWER_TIME, HASHING_TIME
from client.protocol.login import RETRY_TIME
from forkchat.errors import NotLoggedIn
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.scripted import answer_all, answer_to, scripted
from tests.test_client_session import CONV, ME, OTHER, Frame, Wire, live, only, shown, standing

FAR = 2**62


@pytest.fixture
def wire() -> Wire:
    return Wire()


def fetched(wire: Wire, last: int, lie: Frame | None = None) -> list[int]:
    """Return the numbers shown while each FETCH is answered from a conversation of `last` messages.

    The first answer has the fields of `lie`, in which "-" leaves a field out.
    """
    got = []
    for _ in range(8):
        for fetch in wire.said(m.FETCH):
            msgs = [live(seq) for seq in range(fetch["after"] + 1, last + 1)]
            fields = {"conv": CONV, "first": 1, "last": last, "msgs": msgs, "more": False} | (lie or {})
            got += shown(wire.answer(fetch, **{key: value for key, value in fields.items() if value != "-"}))
            lie = None
        got += shown(wire.wait(1.0))
    return got


class TestPages:
    @pytest.mark.parametrize(
        "lie",
        [
            {"msgs": []},
            {"msgs": "-"},
            {"more": "-"},
            {"more": None},
            {"last": "-"},
            {"last": FAR},
            {"last": 2},
            {"first": 9},
            {"first": FAR},
            {"msgs": [live(1), live(3)]},
            {"msgs": [live(3), live(2), live(1)]},
            {"msgs": [live(1), live(2, conv="d12-58", sender=58), live(3)]},
            {"msgs": [live(1), live(FAR)], "last": FAR},
            {"msgs": [live(1)], "more": False},
            {"errno": 10, "errmsg": "not yours"},
            {"errno": 99, "errmsg": "?"},
        ],
    )
    def test_one_false_answer_hides_no_message(self, wire: Wire, lie: Frame) -> None:
        wire.log_in(standing(3, 0))
        assert fetched(wire, 3, lie) == [1, 2, 3]
        assert shown(wire.say(live(4))) == [4]
        assert wire.session.is_idle

    @pytest.mark.parametrize("seq", [3, 9, FAR])
    def test_a_message_under_another_number_is_shown_under_its_own(self, wire: Wire, seq: int) -> None:
        wire.log_in(standing(1, 1))
        assert shown(wire.say(live(seq))) == []
        assert fetched(wire, 2) == [2]
        assert wire.session.is_idle
        assert wire.said(m.FETCH) == []
        assert shown(wire.say(live(3), live(4))) == [3, 4]

    def test_an_acknowledgement_with_the_number_of_another_message(self, wire: Wire) -> None:
        wire.log_in(standing(1, 1))
        wire.session.send(OTHER, "ours")
        wire.answer(wire.said(m.ONE_CHAT)[0], conv=CONV, seq=3, ts=1)
        wire.say(live(3))
        wire.wait(0.3)
        (fetch,) = wire.said(m.FETCH)
        page = [live(2, sender=ME), live(3)]
        events = wire.answer(fetch, conv=CONV, first=1, last=3, msgs=page, more=False)
        assert [(e.seq, e.sender) for e in events if isinstance(e, Message)] == [(2, ME), (3, OTHER)]

    @pytest.mark.parametrize("start", [FAR, 6])
    def test_a_conversation_that_began_too_far_ahead(self, wire: Wire, start: int) -> None:
        """A conversation that began too far ahead shows its messages after the next logins.

        At each login the server says where the conversation stands.
        """
        wire.log_in()
        assert shown(wire.say(live(start))) == [start]
        for _ in range(2):
            wire.lose()
            wire.connect()
            wire.welcome(standing(3, 1))
        assert fetched(wire, 3) == [2, 3]

    def test_a_login_that_says_of_a_conversation_that_it_is_shorter(self, wire: Wire) -> None:
        wire.log_in(standing(4, 4))
        assert shown(wire.say(live(5))) == [5]
        wire.lose()
        wire.connect()
        assert "ends with 3" in only(wire.welcome(standing(3, 1)), Problem).text
        wire.lose()
        wire.connect()
        wire.welcome(standing(6, 4))
        assert fetched(wire, 6) == [6]

    def test_pages_of_all_conversations_without_end(self, wire: Wire) -> None:
        wire.log_in(*(standing(1, 1, conv=f"g{n}") for n in range(1, 501)))
        asked = 0
        for _ in range(50):
            for sync in wire.said(m.SYNC):
                asked += 1
                wire.answer(sync, convs=[standing(1, 1, conv="g1")], more=True)
            wire.wait(1.0)
        assert asked == 2


class TestWhatCannotBeRead:
    @pytest.mark.parametrize("frame", [b"garbage\n", b"[]\n", line(live(2) | {"ts": None}), line(live(0))])
    def test_it_was_a_message_perhaps(self, wire: Wire, frame: bytes) -> None:
        wire.log_in(standing(1, 1))
        assert isinstance(only(wire.session.receive(frame, wire.now), Problem), Problem)
        wire.wait(RETRY_TIME)
        (sync,) = wire.said(m.SYNC)
        wire.answer(sync, convs=[standing(2, 1)], more=False)
        assert fetched(wire, 2) == [2]

    def test_a_flood_of_it_is_asked_about_once_a_second(self, wire: Wire) -> None:
        wire.log_in()
        asked = 0
        for _ in range(100):
            wire.session.receive(b"garbage\n" * 10, wire.now)
            wire.wait(0.1)
            for sync in wire.said(m.SYNC):
                asked += 1
                wire.answer(sync, convs=[], more=False)
        assert 5 < asked < 12

    @pytest.mark.parametrize(("conv", "sender"), [("d57-99", OTHER), (CONV, 99)])
    def test_a_conversation_of_others(self, wire: Wire, conv: str, sender: int) -> None:
        wire.log_in()
        events = wire.say(live(1, conv=conv, sender=sender))
        assert shown(events) == []
        assert "of others" in only(events, Problem).text


class TestAnswers:
    @pytest.mark.parametrize(
        "lie", [{"errno": None}, {"seq": 0}, {"seq": "1"}, {"ts": -1}, {"msgid": m.CONVS}]
    )
    def test_a_message_that_may_be_stored_has_not_failed(self, wire: Wire, lie: Frame) -> None:
        wire.log_in()
        cid = wire.session.send(OTHER, "hi").cid
        events = wire.answer(wire.said(m.ONE_CHAT)[0], **{"conv": CONV, "seq": 1, "ts": 1} | lie)
        assert isinstance(only(events, SendDelayed).refused, NotUnderstood)
        wire.wait(RETRY_TIME)
        (again,) = wire.said(m.ONE_CHAT)
        assert again["cid"] == cid
        assert only(wire.answer(again, conv=CONV, seq=1, ts=1), Sent).cid == cid

    @pytest.mark.parametrize("asked", [0, 1e-9, 0.01])
    def test_a_refused_message_is_not_sent_in_a_loop(self, wire: Wire, asked: float) -> None:
        wire.log_in()
        wire.session.send(OTHER, "hi")
        tries = 0
        for _ in range(100):
            for chat in wire.said(m.ONE_CHAT):
                tries += 1
                wire.answer(chat, errno=8, errmsg="no", retry_after=asked)
            wire.wait(0.01)
        assert 5 < tries < 12

    def test_one_that_does_not_come_ends_the_connection(self, wire: Wire) -> None:
        wire.log_in()
        cid = wire.session.send(OTHER, "hi").cid
        wire.said(m.ONE_CHAT)
        for _ in range(int(ANSWER_TIME)):
            assert not wire.session.is_finished
            wire.say({"msgid": m.PING})
            wire.wait(1.0)
        assert wire.session.is_finished
        assert isinstance(only(wire.lose(), SendDelayed).refused, ConnectionLost)
        wire.connect()
        wire.welcome()
        assert wire.said(m.ONE_CHAT)[0]["cid"] == cid

    def test_one_that_comes_slowly_is_waited_for(self, wire: Wire) -> None:
        wire.log_in(standing(1, 0))
        (fetch,) = wire.said(m.FETCH)
        fields = {"conv": CONV, "first": 1, "last": 1, "msgs": [live(1)], "more": False}
        frame = line({"msgid": m.PAGE, "rid": fetch["rid"], "errno": 0} | fields)
        got = []
        for at in range(len(frame)):
            got += shown(wire.session.receive(frame[at : at + 1], wire.now))
            wire.wait(1.0)
        assert not wire.session.is_finished
        assert got == [1]

    def test_a_drained_connection_that_owes_an_answer_ends(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send(OTHER, "hi")
        wire.say({"msgid": m.BYE, "reason": "draining"})
        assert not wire.session.is_finished
        wire.wait(ANSWER_TIME)
        assert wire.session.is_finished


class TestWhoOneIs:
    @pytest.mark.parametrize("lie", [{"epoch": None}, {"msgid": m.ACK}, {"errno": "x"}, {"errno": 11}])
    def test_a_greeting_that_makes_no_sense_is_asked_for_again(self, wire: Wire, lie: Frame) -> None:
        wire.session.login("li", "secret")
        wire.session.connected(wire.now)
        wire.answer(wire.said(m.HELLO)[0], **{"ver": 1, "epoch": "3f9c"} | lie)
        assert wire.session.is_finished
        wire.lose()
        assert wire.session.is_wanted
        wire.connect()
        only(wire.welcome(), LoggedIn)

    @pytest.mark.parametrize("lie", [{"token": None}, {"id": 0}, {"convs": None}, {"msgid": m.ACK}])
    def test_coming_back_does_not_end_with_a_bad_answer(self, wire: Wire, lie: Frame) -> None:
        """A bad answer to the login of a reconnect does not end the retries.

        The session gives up that connection, because the server may have logged the user in.
        """
        wire.log_in()
        wire.lose()
        wire.connect()
        (login,) = wire.said(m.LOGIN)
        fields = {"id": ME, "name": "li", "token": "t2", "convs": []} | lie
        only(wire.answer(login, **fields), Problem)
        assert wire.session.is_finished
        wire.lose()
        wire.connect()
        only(wire.welcome(), LoggedIn)

    def test_a_first_login_that_is_not_understood_is_told(self, wire: Wire) -> None:
        wire.connect()
        wire.session.login("li", "secret")
        events = wire.answer(wire.said(m.LOGIN)[0], id="x")
        assert isinstance(only(events, LoginFailed).refused, NotUnderstood)
        assert wire.session.is_finished

    def test_another_user_is_believed_the_second_time(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send(OTHER, "from li")
        wire.lose()
        wire.connect()
        only(wire.welcome(me=99), Problem)
        assert wire.session.me == ME
        wire.lose()
        wire.connect()
        events = wire.welcome(me=99)
        assert isinstance(only(events, SendFailed).refused, NotLoggedIn)
        assert wire.session.me == 99

    def test_a_login_has_longer(self, wire: Wire) -> None:
        wire.connect()
        wire.session.login("li", "secret")
        wire.said(m.LOGIN)
        for _ in range(int(HASHING_TIME)):
            assert not wire.session.is_finished
            wire.say({"msgid": m.PING})
            wire.wait(1.0)
        assert wire.session.is_finished


class TestLoggingIn:
    def test_the_server_hangs_up_when_it_has_greeted(self) -> None:
        plays = 0

        def play(connection: socket.socket) -> None:
            nonlocal plays
            plays += 1
            if plays > 1:
                answer_all(connection, b"")
                return
            connection.recv(1000)
            connection.sendall(line(answer_to({"msgid": m.HELLO, "rid": "1"})))

        async def run(port: int) -> None:
            client = Client("127.0.0.1", port)
            async with asyncio.timeout(10):
                assert (await client.login("li", "secret")).id == 12
            await client.close()

        with scripted(play) as port:
            asyncio.run(run(port))

    def test_who_waits_for_it_hears_that_it_is_over(self) -> None:
        def play(connection: socket.socket) -> None:
            with connection.makefile("rwb") as stream:
                stream.write(line(answer_to({"msgid": m.HELLO, "rid": "1"})))
                stream.flush()
                stream.readline(), stream.readline()
                stream.write(line({"msgid": m.BYE, "reason": "replaced"}))

        async def run(port: int) -> None:
            events: list[Any] = []
            client = Client("127.0.0.1", port, on_event=events.append)
            async with asyncio.timeout(10):
                with pytest.raises(NotLoggedIn):
                    await client.login("li", "secret")
            assert LoggedOut("replaced") in events
            await client.close()

        with scripted(play) as port:
            asyncio.run(run(port))
