"""Tests of the client's session without sockets: dialogues, and the law of messages.

The law says that every message is shown once, in order.
"""

from __future__ import annotations

import random
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.protocol.backoff import FIRST
from client.protocol.events import (
    Answer,
    ConnectionLost,
    Disconnected,
    Event,
    Greeted,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    Message,
    Notice,
    Problem,
    Readdressed,
    SendDelayed,
    SendFailed,
    Sent,
    Stranded,
)
from client.protocol.login import OWN_SESSION_TIME, RETRY_TIME
from client.protocol.outbox import Pending
from client.protocol.session import Session, State
from forkchat.errors import (
    AlreadyOnline,
    BadRequest,
    Conflict,
    Failed,
    NotLoggedIn,
    RateLimited,
    Refused,
    TooLarge,
    Unsupported,
)
from forkchat.wire import msgid as m
from forkchat.wire.frames import line

Frame = dict[str, Any]
E = TypeVar("E", bound=Event)
ME, OTHER, CONV = 12, 57, "d12-57"
#: Values of `retry_after` in a server's answer, in seconds. None leaves the field out.
STAY_AWAY = [None, 0, 0.0001, -5, 1e9, "soon", True]


class Wire:
    """The session's peer. It notes the session's output as frames, and passes a test's input on as bytes."""

    def __init__(self, session: Session | None = None):
        self.session = session or Session()
        self.now = 1000.0
        self.frames: list[Frame] = []

    def said(self, msgid: int | None = None) -> list[Frame]:
        """Return the frames that the session has sent since the last call, or only those with `msgid`."""
        self.frames += [orjson.loads(frame) for frame in self.session.data_to_send().splitlines()]
        taken = [frame for frame in self.frames if msgid in (None, frame["msgid"])]
        self.frames = [frame for frame in self.frames if frame not in taken]
        return taken

    def say(self, *frames: Frame) -> list[Event]:
        return self.session.receive(b"".join(line(frame) for frame in frames), self.now)

    def confirm(self, events: list[Event]) -> list[int]:
        """Confirm the messages among `events`, and return their numbers."""
        for event in events:
            if isinstance(event, Message):
                self.session.confirm(event.conv, event.seq)
        return shown(events)

    def answer(self, request: Frame, **fields: Any) -> list[Event]:
        msgid = m.ANSWERS.get(request["msgid"], m.ACK)
        return self.say({"msgid": msgid, "rid": request["rid"], "errno": 0} | fields)

    def wait(self, seconds: float) -> list[Event]:
        """Let time pass as a transport would, with a tick at every deadline."""
        end, events = self.now + seconds, []
        while (deadline := self.session.deadline) is not None and deadline <= end:
            self.now = max(deadline, self.now)
            events += self.session.tick(self.now)
        self.now = end
        return events + self.session.tick(end)

    def connect(self, epoch: str = "3f9c") -> None:
        self.session.connected(self.now)
        (hello,) = self.said(m.HELLO)
        events = self.answer(hello, ver=1, min=1, epoch=epoch, heartbeat=30, limits={"text": 100})
        assert events == [Greeted(epoch)]

    def welcome(self, *convs: Frame, me: int = ME) -> list[Event]:
        """Answer the login that the session has sent."""
        (login,) = self.said(m.LOGIN)
        return self.answer(login, id=me, name="li", token="t1", friends=[], groups=[], convs=list(convs))

    def log_in(self, *convs: Frame) -> list[Event]:
        self.connect()
        self.session.login("li", "secret")
        return self.welcome(*convs)

    def lose(self) -> list[Event]:
        self.frames.clear()
        return self.session.disconnected(self.now)


def standing(last: int, recv: int, first: int = 1, conv: str = CONV) -> Frame:
    return {"conv": conv, "last": last, "recv": recv, "read": 0, "first": first}


def live(seq: int, sender: int = OTHER, conv: str = CONV, **fields: Any) -> Frame:
    head = {"msgid": m.GROUP_CHAT if conv[0] == "g" else m.ONE_CHAT, "conv": conv, "seq": seq}
    return head | {"id": sender, "name": "bo", "msg": f"text {seq}", "ts": 1767225600123, "cid": "c"} | fields


#: Frames that a server sends to logged-in users only.
FOR_A_USER = [
    live(1),
    live(1, conv="g9"),
    live(0, conv="g9", ephemeral=True),
    {"msgid": m.CONVS, "convs": [standing(1, recv=0, conv="g9")]},
    {"msgid": m.EVENT, "kind": "group_joined", "conv": "g9", "id": OTHER, "name": "bo"},
    {"msgid": m.PRESENCE, "id": OTHER, "name": "bo", "state": "online"},
    {"msgid": m.TYPING, "conv": "g9", "id": OTHER, "name": "bo"},
    {"msgid": m.RECEIPT, "conv": "g9", "id": OTHER, "seq": 1},
]


def shown(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Message)]


def only(events: list[Event], kind: type[E]) -> E:
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


@pytest.fixture
def wire() -> Wire:
    return Wire()


class TestLogin:
    def test_by_name(self, wire: Wire) -> None:
        wire.connect()
        wire.session.login("li", "secret")
        (login,) = wire.said(m.LOGIN)
        assert (login["name"], login["password"], login["takeover"]) == ("li", "secret", False)
        friends = [{"id": OTHER, "name": "bo", "state": "online"}]
        fields = {"id": ME, "name": "li", "token": "t", "friends": friends, "groups": [], "convs": []}
        logged_in = only(wire.answer(login, **fields), LoggedIn)
        assert (logged_in.id, logged_in.friends[0].name, logged_in.is_resumed) == (ME, "bo", False)
        assert wire.session.is_ready

    def test_by_id_before_there_is_a_connection(self, wire: Wire) -> None:
        wire.session.login(ME, "secret")
        wire.connect()
        assert wire.said(m.LOGIN)[0]["id"] == ME

    def test_refused(self, wire: Wire) -> None:
        wire.connect()
        wire.session.login("li", "wrong")
        events = wire.answer(wire.said(m.LOGIN)[0], errno=2, errmsg="already online")
        assert isinstance(only(events, LoginFailed).refused, AlreadyOnline)
        assert not wire.session.is_wanted
        wire.session.login("li", "secret", takeover=True)
        assert wire.said(m.LOGIN)[0]["takeover"] is True

    def test_what_no_account_can_have(self, wire: Wire) -> None:
        wire.connect()
        with pytest.raises(BadRequest):
            wire.session.login("x" * 201, "secret")
        with pytest.raises(TooLarge):
            wire.session.login("li", "\1" * 1000)  # six bytes each in JSON, which is over the frame limit

    def test_again_by_token_after_a_loss(self, wire: Wire) -> None:
        wire.log_in()
        assert Disconnected(is_wanted=True) in wire.lose()
        wire.connect()
        (login,) = wire.said(m.LOGIN)
        assert (login["token"], login["takeover"]) == ("t1", False)
        assert "password" not in login

    def test_the_password_when_the_token_has_expired(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.connect()
        assert wire.answer(wire.said(m.LOGIN)[0], errno=13, errmsg="expired") == []
        (login,) = wire.said(m.LOGIN)
        assert (login["password"], login["takeover"]) == ("secret", False)
        wire.answer(login, errno=13, errmsg="expired")
        assert not wire.session.is_wanted  # the server may call every password expired

    def test_again_later_when_unavailable(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.connect()
        wire.answer(wire.said(m.LOGIN)[0], errno=11, errmsg="no Redis", retry_after=3)
        wire.wait(2.9)
        assert wire.said(m.LOGIN) == []
        wire.wait(0.1 + FIRST)
        assert len(wire.said(m.LOGIN)) == 1

    @pytest.mark.parametrize("errno", [8, 11])
    @pytest.mark.parametrize("asked", STAY_AWAY)
    def test_no_more_often_than_that_whatever_the_server_says(
        self, wire: Wire, errno: int, asked: object
    ) -> None:
        wire.log_in()
        wire.lose()
        wire.connect()
        fields = {} if asked is None else {"retry_after": asked}
        tries = 0
        for _ in range(6000):  # ten minutes
            for login in wire.said(m.LOGIN):
                tries += 1
                wire.answer(login, errno=errno, errmsg="no", **fields)
            wire.wait(0.1)
        assert 6 < tries < 80

    def test_what_is_left_of_our_own_session_is_waited_for(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.connect()
        for _ in range(8):
            (login,) = wire.said(m.LOGIN)
            assert wire.answer(login, errno=2, errmsg="already online") == []
            wire.wait(RETRY_TIME)
        assert only(wire.welcome(), LoggedIn).is_resumed

    def test_another_session_is_not_ended_by_coming_back(self, wire: Wire) -> None:
        """A reconnect does not end another session, even if the user's last login was a takeover."""
        wire.connect()
        wire.session.login("li", "secret", takeover=True)
        wire.welcome()
        wire.session.send(OTHER, "kept")
        wire.lose()
        wire.wait(3600)
        wire.connect()
        events: list[Event] = []
        tries = 0
        while not events:
            for login in wire.said(m.LOGIN):
                tries += 1
                assert login["takeover"] is False
                events += wire.answer(login, errno=2, errmsg="already online")
            wire.wait(0.1)
        assert events == [LoggedOut("replaced")]
        assert wire.now < 1000 + 3600 + OWN_SESSION_TIME + 2 and tries < 40
        assert (wire.session.is_wanted, wire.session.unsent) == (False, 1)
        wire.session.login("li", "secret", takeover=True)
        assert wire.said(m.LOGIN)[0]["takeover"] is True

    def test_a_takeover_that_the_user_no_longer_waits_for(self, wire: Wire) -> None:
        wire.session.login(token="t", takeover=True)
        wire.session.withdraw_takeover()
        wire.connect()
        (login,) = wire.said(m.LOGIN)
        assert (login["token"], login["takeover"]) == ("t", False)

    def test_log_out(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send(OTHER, "never acknowledged")
        wire.session.request(m.LOGINOUT)
        events = wire.answer(wire.said(m.LOGINOUT)[0])
        assert only(events, LoggedOut).reason == "logout"
        assert isinstance(only(events, SendFailed).refused, NotLoggedIn)
        assert (wire.session.me, wire.session.is_wanted) == (0, False)


class TestConnection:
    def test_in_pieces(self, wire: Wire) -> None:
        wire.log_in()
        data = b"".join(line(live(seq)) for seq in (1, 2, 3))
        events = [e for at in range(len(data)) for e in wire.session.receive(data[at : at + 1], wire.now)]
        assert shown(events) == [1, 2, 3]

    def test_heartbeat_then_dead(self, wire: Wire) -> None:
        wire.log_in()
        wire.said()
        wire.wait(29.9)
        assert wire.said(m.PING) == []
        wire.wait(0.2)
        assert len(wire.said(m.PING)) == 1
        assert not wire.session.is_finished
        only(wire.wait(60), Problem)
        assert wire.session.is_finished

    def test_ping_is_answered(self, wire: Wire) -> None:
        wire.log_in()
        wire.say({"msgid": m.PING, "rid": "s1"})
        assert wire.said(m.PONG) == [{"msgid": m.PONG, "rid": "s1"}]

    def test_no_answer_to_hello(self, wire: Wire) -> None:
        wire.session.connected(wire.now)
        wire.wait(10)
        assert wire.session.is_finished
        assert isinstance(only(wire.lose(), Disconnected).failure, TimeoutError)

    @pytest.mark.parametrize("reason", ["replaced", "kicked"])
    def test_bye_for_good(self, wire: Wire, reason: str) -> None:
        wire.log_in()
        assert only(wire.say({"msgid": m.BYE, "reason": reason}), LoggedOut).reason == reason
        assert wire.session.is_finished
        assert not wire.session.is_wanted

    def test_what_comes_behind_the_last_frame_is_for_nobody(self, wire: Wire) -> None:
        wire.log_in(standing(0, 0))
        events = wire.say({"msgid": m.BYE, "reason": "kicked"}, live(1))
        assert events == [LoggedOut("kicked")]

    @pytest.mark.parametrize("frame", FOR_A_USER)
    def test_what_comes_before_a_login_is_for_nobody(self, wire: Wire, frame: Frame) -> None:
        """Frames for a user are dropped before the login.

        The server may believe that the user is logged in when the session does not.
        """
        wire.connect()
        wire.session.login("li", "secret")
        wire.answer(wire.said(m.LOGIN)[0], errno=2, errmsg="already online")
        assert wire.say(frame) == []
        wire.session.login("li", "secret", takeover=True)
        wire.welcome(standing(1, recv=0, conv="g9"))
        (fetch,) = wire.said(m.FETCH)
        page = [live(1, conv="g9")]
        assert shown(wire.answer(fetch, conv="g9", last=1, msgs=page, more=False)) == [1]

    def test_draining_waits_for_what_is_under_way(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send(OTHER, "hi")
        (chat,) = wire.said(m.ONE_CHAT)
        wire.say({"msgid": m.BYE, "reason": "draining", "retry_after": 2.5})
        assert not wire.session.is_finished
        only(wire.answer(chat, conv=CONV, seq=1, ts=5), Sent)
        assert wire.session.is_finished
        assert wire.session.is_wanted
        assert wire.session.retry_after == 2.5

    def test_requests_end_with_the_connection(self, wire: Wire) -> None:
        wire.log_in()
        rid = wire.session.request(m.LOOKUP, name="bo")
        answer = only(wire.lose(), Answer)
        assert answer.rid == rid
        assert isinstance(answer.refused, ConnectionLost)
        with pytest.raises(ConnectionLost):
            wire.session.request(m.LOOKUP, name="bo")


GARBAGE = [
    b"not JSON\n",
    b"[1]\n",
    b"{}\n",
    b'{"msgid":"5"}\n',
    b'{"msgid":77777,"x":[]}\n',
    b'{"msgid":5}\n',
    b'{"msgid":5,"conv":7,"seq":"a","id":[],"name":{},"msg":null,"ts":-1}\n',
    b'{"msgid":9,"conv":"g9","seq":1,"id":57,"name":"bo","msg":"x","ts":1e400}\n',
    b'{"msgid":5,"conv":"d12-57","seq":99999999999999999999,"id":57,"name":"bo","msg":"x","ts":1}\n',
    b'{"msgid":104,"rid":["1"],"errno":"x"}\n',
    b'{"msgid":106,"reason":{},"retry_after":"soon"}\n',
    b'{"msgid":112,"convs":{"a":1}}\n{"msgid":114,"rid":"9999"}\n',
    b'{"msgid":120,"id":true,"state":1}\n{"msgid":121}\n{"msgid":117}\n{"msgid":118}\n{"msgid":105}\n',
    b"\xff\xfe\x00\n\x00\n\n",
]


_INTEGERS = st.integers(-(2**63), 2**64 - 1)


class TestGarbage:
    @pytest.mark.parametrize("data", GARBAGE)
    def test_before_and_after_login(self, wire: Wire, data: bytes) -> None:
        wire.session.connected(wire.now)
        assert all(isinstance(event, Problem) for event in wire.session.receive(data, wire.now))
        wire.lose()
        wire.log_in()
        assert all(isinstance(event, Problem) for event in wire.session.receive(data, wire.now))
        assert shown(wire.say(live(1))) == [1]

    @given(st.binary(max_size=200))
    def test_bytes(self, data: bytes) -> None:
        wire = Wire()
        wire.log_in()
        wire.session.receive(data + b"\n", wire.now)
        assert shown(wire.say(live(1))) == [1]

    @given(
        st.sampled_from([m.LOGIN, m.SYNC, m.FETCH, m.ONE_CHAT, m.ADD_GROUP, m.LOGINOUT]),
        st.dictionaries(
            st.sampled_from("errno errmsg id name token convs friends conv seq ts msgs first more".split()),
            st.none() | st.booleans() | _INTEGERS | st.floats() | st.text() | st.lists(_INTEGERS),
        ),
    )
    def test_answers(self, msgid: int, fields: Frame) -> None:
        wire = Wire()
        if msgid == m.LOGIN:
            wire.connect()
            wire.session.login("li", "secret")
        else:
            wire.log_in(standing(5, 2), *([standing(0, 0)] * 500 if msgid == m.SYNC else []))
            wire.session.send(OTHER, "hi")
        if msgid in (m.ADD_GROUP, m.LOGINOUT):
            wire.session.request(msgid)
        request = wire.said(msgid)[0]
        rest = {
            key: fields[key] for key in fields if type(fields[key]) is not int or abs(fields[key]) < 2**63
        }
        wire.answer(request, **rest)
        wire.wait(5)

    def test_a_line_without_end(self, wire: Wire) -> None:
        wire.log_in()
        for _ in range(9):
            wire.session.receive(b"x" * (1 << 20), wire.now)
        assert wire.session.is_finished


class TestShowing:
    def test_a_gap_is_fetched_after_a_moment(self, wire: Wire) -> None:
        wire.log_in()
        assert shown(wire.say(live(5), live(8), live(5), live(7))) == [5]
        assert wire.said(m.FETCH) == []
        wire.wait(0.3)
        (fetch,) = wire.said(m.FETCH)
        assert (fetch["conv"], fetch["after"]) == (CONV, 5)
        page = [live(6), live(7), live(8)]
        assert shown(wire.answer(fetch, conv=CONV, first=1, last=8, msgs=page, more=False)) == [6, 7, 8]

    def test_unconfirmed_ones_are_fetched_at_login_page_by_page(self, wire: Wire) -> None:
        wire.log_in(standing(last=4, recv=1))
        (fetch,) = wire.said(m.FETCH)
        assert fetch["after"] == 1
        events = wire.answer(fetch, conv=CONV, first=1, last=4, msgs=[live(2), live(3)], more=True)
        assert shown(events) == [2, 3]
        (fetch,) = wire.said(m.FETCH)
        assert fetch["after"] == 3
        assert shown(wire.answer(fetch, conv=CONV, first=1, last=4, msgs=[live(4)], more=False)) == [4]
        assert wire.session.is_idle

    def test_first_is_where_it_goes_on(self, wire: Wire) -> None:
        wire.log_in(standing(last=9, recv=2, first=6))
        (fetch,) = wire.said(m.FETCH)
        assert fetch["after"] == 5
        page = [live(8), live(9)]  # more messages were cleared away in the meantime
        assert shown(wire.answer(fetch, conv=CONV, first=8, last=9, msgs=page, more=False)) == [8, 9]

    def test_what_the_server_does_not_have_is_not_waited_for(self, wire: Wire) -> None:
        """The session skips a missing message only if two answers lack it.

        One false answer hides no message.
        """
        wire.log_in(standing(last=5, recv=0))
        got, asked = [], 0
        for _ in range(10):
            for fetch in wire.said(m.FETCH):
                asked += 1
                page = [live(seq) for seq in (2, 4) if seq > fetch["after"]]
                got += shown(wire.answer(fetch, conv=CONV, first=1, last=5, msgs=page, more=False))
            wire.wait(0.3)
        assert got == [2, 4]
        assert wire.session.is_idle
        assert asked <= 6

    def test_a_failed_fetch_is_repeated(self, wire: Wire) -> None:
        wire.log_in(standing(last=1, recv=0))
        wire.answer(wire.said(m.FETCH)[0], errno=11, errmsg="no MySQL", retry_after=2)
        wire.wait(1.9)
        assert wire.said(m.FETCH) == []
        wire.wait(0.2)
        assert len(wire.said(m.FETCH)) == 1

    def test_few_fetches_at_a_time(self, wire: Wire) -> None:
        wire.log_in(*(standing(1, 0, conv=f"g{n}") for n in range(1, 100)))
        fetched = []
        while requests := wire.said(m.FETCH):
            assert len(requests) <= 8
            for fetch in requests:
                conv = fetch["conv"]
                wire.answer(fetch, conv=conv, first=1, last=1, msgs=[live(1, conv=conv)], more=False)
                fetched.append(conv)
        assert len(set(fetched)) == len(fetched) == 99

    def test_unsolicited_standings(self, wire: Wire) -> None:
        wire.log_in()
        assert shown(wire.say(live(5))) == [5]
        wire.say({"msgid": m.CONVS, "convs": [standing(7, 5), standing(3, 1, conv="g9")]})
        assert {(f["conv"], f["after"]) for f in wire.said(m.FETCH)} == {(CONV, 5), ("g9", 1)}

    def test_a_long_login_list_is_completed_by_sync(self, wire: Wire) -> None:
        wire.log_in(*(standing(1, 1, conv=f"g{n}") for n in range(1, 501)))
        (sync,) = wire.said(m.SYNC)
        assert shown(wire.say(live(9, conv="g600"))) == []  # the start of g600 is not known yet
        wire.answer(sync, convs=[standing(1, 1, conv="g1")], more=True)
        (sync,) = wire.said(m.SYNC)
        assert sync["after"] == "g1"
        assert shown(wire.answer(sync, convs=[standing(9, 7, conv="g600")], more=False)) == []
        wire.wait(0.3)
        assert wire.said(m.FETCH)[0]["after"] == 7

    def test_another_epoch_forgets_the_cursors(self, wire: Wire) -> None:
        wire.log_in()
        assert shown(wire.say(live(50))) == [50]
        wire.lose()
        wire.connect(epoch="other")
        wire.welcome(standing(last=41, recv=40))
        assert wire.said(m.FETCH)[0]["after"] == 40

    def test_nothing_twice_after_a_reconnection(self, wire: Wire) -> None:
        wire.log_in()
        assert shown(wire.say(live(1), live(2))) == [1, 2]
        wire.lose()
        wire.connect()
        wire.welcome(standing(last=3, recv=0))
        (fetch,) = wire.said(m.FETCH)
        assert fetch["after"] == 2
        page = [live(3)]
        assert shown(wire.answer(fetch, conv=CONV, first=1, last=3, msgs=page, more=False)) == [3]

    def test_ephemeral(self, wire: Wire) -> None:
        wire.log_in()
        frame = live(0, ephemeral=True)
        del frame["seq"]
        assert shown(wire.say(frame, frame)) == [0, 0]
        wire.wait(1)
        assert wire.said(m.RECV) == []

    def test_groups_joined_and_left(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.request(m.ADD_GROUP, groupid=9)
        wire.answer(wire.said(m.ADD_GROUP)[0], conv="g9", groupid=9, first=4, last=3)
        assert shown(wire.say(live(5, conv="g9"))) == []  # 4 is still to come
        assert shown(wire.say(live(4, conv="g9"))) == [4, 5]
        removed = {
            "msgid": m.EVENT,
            "kind": "group_removed",
            "groupid": 9,
            "conv": "g9",
            "id": ME,
            "name": "li",
        }
        assert only(wire.say(removed), Notice).kind == "group_removed"
        assert shown(wire.say(live(9, conv="g9"))) == [9]


class TestFollowing:
    """Sessions of a single job (`follows_all=False`). They take no messages that no user would see."""

    @pytest.fixture
    def wire(self) -> Wire:
        return Wire(Session(follows_all=False))

    def test_nothing_is_fetched_shown_or_confirmed(self, wire: Wire) -> None:
        wire.log_in(standing(9, recv=5))
        assert shown(wire.say(live(10), live(1, conv="g9"), live(0, ephemeral=True))) == []
        wire.session.send(OTHER, "hi")
        events = wire.answer(wire.said(m.ONE_CHAT)[0], conv=CONV, seq=11, ts=1)
        assert only(events, Sent).seq == 11
        wire.wait(5)
        wire.session.leave()
        assert wire.said() == []
        assert wire.session.is_idle

    def test_one_conversation_from_where_it_was_seen(self, wire: Wire) -> None:
        wire.log_in(standing(9, recv=5))
        wire.say(live(10))
        wire.session.follow(CONV, 6, 9)
        (fetch,) = wire.said(m.FETCH)
        assert (fetch["conv"], fetch["after"]) == (CONV, 9)
        wire.answer(
            wire.said(m.SYNC)[0], convs=[standing(10, recv=5), standing(2, recv=1, conv="g9")], more=False
        )
        assert shown(wire.say(live(11), live(3, conv="g9"))) == []
        assert shown(wire.answer(fetch, first=1, last=11, msgs=[live(10)], more=False)) == [10, 11]
        assert wire.confirm(wire.say(live(12))) == [12]
        wire.wait(1)
        assert [frame["c"] for frame in wire.said(m.RECV)] == [{CONV: 12}]
        wire.lose()
        wire.connect()
        wire.welcome(standing(14, recv=12), standing(7, recv=1, conv="g9"))
        (fetch,) = wire.said(m.FETCH)
        assert (fetch["conv"], fetch["after"]) == (CONV, 12)

    @pytest.mark.parametrize(("recv", "begins"), [(5, 1), (8, 1), (4, 6), (0, 6)])
    def test_what_was_seen_before_is_confirmed(self, wire: Wire, recv: int, begins: int) -> None:
        """Messages that were seen are confirmed if no waiting message was passed over.

        Either the confirmed part reaches them, or nothing is left before them.
        """
        wire.log_in()
        wire.session.follow(CONV, 6, 9)
        (sync,) = wire.said(m.SYNC)
        wire.wait(1)
        assert wire.said(m.RECV) == []
        wire.answer(sync, convs=[standing(9, recv, begins)], more=False)
        wire.wait(1)
        assert [frame["c"] for frame in wire.said(m.RECV)] == [{CONV: 9}]

    def test_nothing_is_confirmed_over_a_hole(self, wire: Wire) -> None:
        """Messages that were seen are not confirmed over a hole.

        The message before them waits until another client confirms it.
        """
        wire.log_in(standing(9, recv=4))
        wire.session.follow(CONV, 6, 9)
        wire.answer(wire.said(m.SYNC)[0], convs=[standing(9, 4)], more=False)
        assert wire.confirm(wire.say(live(10))) == [10]
        wire.lose()
        wire.connect()
        wire.welcome(standing(10, 4))
        assert wire.confirm(wire.say(live(11))) == [11]
        wire.wait(1)
        assert wire.said(m.RECV) == []
        wire.lose()
        wire.connect()
        wire.welcome(standing(11, 5))
        wire.wait(1)
        assert [frame["c"] for frame in wire.said(m.RECV)] == [{CONV: 11}]

    def test_a_conversation_that_has_not_begun(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.follow(CONV, 1, 0)
        wire.answer(wire.said(m.SYNC)[0], convs=[], more=False)
        assert wire.confirm(wire.say(live(1))) == [1]
        wire.wait(1)
        assert [frame["c"] for frame in wire.said(m.RECV)] == [{CONV: 1}]

    def test_nothing_is_followed_in_another_epoch(self, wire: Wire) -> None:
        """The session follows nothing in another epoch.

        The same key is a conversation with someone else there.
        """
        wire.log_in()
        wire.session.follow(CONV, 6, 9)
        wire.lose()
        wire.connect(epoch="restored")
        wire.welcome(standing(3, recv=0))
        assert shown(wire.say(live(4))) == []
        wire.wait(5)
        assert wire.said() == []


class TestConfirming:
    def test_recv_is_cumulative_and_gathered(self, wire: Wire) -> None:
        wire.log_in()
        wire.confirm(wire.say(live(1), live(2), live(1, conv="g9")))
        wire.confirm(wire.say(live(3)))
        assert wire.said(m.RECV) == []
        wire.wait(0.3)
        assert [frame["c"] for frame in wire.said(m.RECV)] == [{CONV: 3, "g9": 1}]
        wire.wait(5)
        assert wire.said(m.RECV) == []

    def test_nothing_that_the_user_is_not_done_with(self, wire: Wire) -> None:
        wire.log_in(standing(2, recv=1))
        (fetch,) = wire.said(m.FETCH)
        wire.answer(fetch, conv=CONV, first=1, last=2, msgs=[live(2)], more=False)
        wire.say(live(3), live(1, conv="g9"))
        wire.wait(5)
        wire.session.leave()
        assert wire.said(m.RECV) == []

    def test_read(self, wire: Wire) -> None:
        wire.log_in()
        wire.say(live(1), live(2))
        for seq in (1, 2, 1):
            wire.session.read(CONV, seq)
        wire.wait(0.3)
        assert [(frame["conv"], frame["seq"]) for frame in wire.said(m.READ)] == [(CONV, 2)]

    def test_again_over_the_rate_limit(self, wire: Wire) -> None:
        wire.log_in()
        wire.confirm(wire.say(live(1)))
        wire.session.read(CONV, 1)
        wire.wait(0.3)
        (recv,), (read,) = wire.said(m.RECV), wire.said(m.READ)
        flood = {"errno": 8, "errmsg": "slowly", "retry_after": 0.5}
        assert wire.say({"msgid": m.ERROR, "re": m.RECV} | flood) == []
        wire.answer(read, **flood)
        wire.wait(0.4)
        assert wire.said() == []
        wire.wait(0.2)
        assert [frame["c"] for frame in wire.said(m.RECV)] == [recv["c"]]
        assert [frame["seq"] for frame in wire.said(m.READ)] == [1]

    def test_after_a_logout_for_nobody(self, wire: Wire) -> None:
        """Nothing is confirmed after a logout, not even for the next user who logs in."""
        wire.log_in()
        wire.say(live(1, conv="g9"))
        wire.session.request(m.LOGINOUT)
        wire.answer(wire.said(m.LOGINOUT)[0])
        wire.session.confirm("g9", 1)
        wire.session.read("g9", 1)
        wire.session.login("bo", "secret")
        wire.welcome(standing(1, recv=0, conv="g9"), me=OTHER)
        wire.wait(1)
        assert wire.said(m.RECV) == wire.said(m.READ) == []

    def test_at_once_when_one_leaves(self, wire: Wire) -> None:
        wire.log_in()
        wire.confirm(wire.say(live(1)))
        wire.session.leave()
        assert len(wire.said(m.RECV)) == 1

    def test_again_when_the_server_has_not_heard(self, wire: Wire) -> None:
        wire.log_in()
        wire.confirm(wire.say(live(1)))
        wire.wait(1)
        wire.lose()
        wire.connect()
        wire.welcome(standing(last=1, recv=0))
        wire.wait(1)
        assert wire.said(m.RECV)[0]["c"] == {CONV: 1}


class TestSending:
    def test_acknowledged(self, wire: Wire) -> None:
        wire.log_in()
        cid = wire.session.send(OTHER, "hi").cid
        (chat,) = wire.said(m.ONE_CHAT)
        assert (chat["toid"], chat["msg"], chat["cid"]) == (OTHER, "hi", cid)
        sent = only(wire.answer(chat, conv=CONV, seq=42, ts=1), Sent)
        assert (sent.cid, sent.seq, wire.session.unsent) == (cid, 42, 0)

    def test_to_a_group(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send("g9", "hi")
        assert wire.said(m.GROUP_CHAT)[0]["groupid"] == 9

    def test_resent_in_order_under_the_same_cid(self, wire: Wire) -> None:
        wire.log_in()
        cids = [wire.session.send(OTHER, text).cid for text in "abc"]
        assert [chat["cid"] for chat in wire.said(m.ONE_CHAT)] == cids[:1]
        assert only(wire.lose(), SendDelayed).cid == cids[0]
        cids.append(wire.session.send(OTHER, "written while away").cid)
        wire.connect()
        wire.welcome()
        got = []
        while chats := wire.said(m.ONE_CHAT):
            (chat,) = chats
            got.append(chat["cid"])
            only(wire.answer(chat, conv=CONV, seq=len(got), ts=1), Sent)
        assert got == cids

    def test_delayed(self, wire: Wire) -> None:
        wire.log_in()
        cid = wire.session.send(OTHER, "hi").cid
        events = wire.answer(wire.said(m.ONE_CHAT)[0], errno=8, errmsg="slowly", retry_after=3)
        assert isinstance(only(events, SendDelayed).refused, RateLimited)
        wire.wait(2.9)
        assert wire.said(m.ONE_CHAT) == []
        wire.wait(0.2)
        assert wire.said(m.ONE_CHAT)[0]["cid"] == cid

    def test_refused(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send(OTHER, "a")
        wire.session.send(OTHER, "b")
        events = wire.answer(wire.said(m.ONE_CHAT)[0], errno=7, errmsg="other text, same cid")
        assert isinstance(only(events, SendFailed).refused, Conflict)
        assert wire.said(m.ONE_CHAT)[0]["msg"] == "b"

    @pytest.mark.parametrize("to", [ME, "d1-2", "x", 0, 2**40])
    def test_nowhere(self, wire: Wire, to: str | int) -> None:
        wire.log_in()
        with pytest.raises(BadRequest):
            wire.session.send(to, "hi")

    def test_what_cannot_be_sent(self, wire: Wire) -> None:
        with pytest.raises(NotLoggedIn):
            wire.session.send(OTHER, "hi")
        wire.log_in()
        with pytest.raises(TooLarge):
            wire.session.send(OTHER, "é" * 51)  # the limit is 100 bytes
        with pytest.raises(UnicodeEncodeError):
            wire.session.send(OTHER, "\ud800")
        assert wire.session.unsent == 0

    def test_a_live_copy_before_the_acknowledgement(self, wire: Wire) -> None:
        wire.log_in(standing(last=1, recv=1))
        cid = wire.session.send(OTHER, "hi").cid
        events = wire.say(live(2, sender=ME, cid=cid))
        assert only(events, Sent).seq == 2
        assert only(events, Message).is_echo
        assert wire.answer(wire.said(m.ONE_CHAT)[0], conv=CONV, seq=2, ts=1, dup=True) == []

    def test_an_acknowledgement_overtakes_an_earlier_message(self, wire: Wire) -> None:
        """The session asks the server where an unknown conversation stands.

        An acknowledgement has overtaken an earlier message there.
        """
        wire.log_in()
        wire.session.send(OTHER, "hi")
        assert shown(wire.answer(wire.said(m.ONE_CHAT)[0], conv=CONV, seq=8, ts=1)) == []
        assert shown(wire.say(live(7))) == []
        (sync,) = wire.said(m.SYNC)
        assert shown(wire.answer(sync, convs=[standing(8, 6)], more=False)) == [7, 8]

    def test_someone_else_logs_in(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.send(OTHER, "mine")
        wire.say({"msgid": m.BYE, "reason": "replaced"})
        wire.lose()
        wire.connect()
        wire.session.login("bo", "secret")
        assert only(wire.welcome(me=OTHER), SendFailed).text == "mine"


class World:
    """One conversation on a server that keeps its word, and a network that reorders and duplicates.

    Any frame of a `known` conversation may overtake any other. Otherwise live messages keep their order, and
    only acknowledgements overtake them.
    """

    def __init__(self, chance: random.Random, known: bool):
        self.chance = chance
        self.known = known
        self.wire = Wire()
        self.log = [live(seq, sender=chance.choice((ME, OTHER))) for seq in range(1, chance.randint(2, 5))]
        self.recv = chance.randint(0, len(self.log) - 1) if known else len(self.log)
        self.start = self.recv
        self.stored: dict[str, Frame] = {}
        self.flying: list[Frame] = []
        self.events: list[Event] = []
        self.events += self.wire.log_in(*self.standings())

    def standings(self) -> list[Frame]:
        return [standing(len(self.log), self.recv)] if self.recv < len(self.log) else []

    def serve(self) -> None:
        """Handle the frames that the session has sent, and put the answers on their way."""
        for frame in self.wire.said():
            answer: Frame = {"msgid": m.ANSWERS.get(frame["msgid"], m.ACK), "rid": frame.get("rid")}
            if frame["msgid"] == m.ONE_CHAT:
                self.flying.append(answer | self.store(frame))
            elif frame["msgid"] == m.FETCH:
                page = self.log[frame["after"] : frame["after"] + 2]
                more = frame["after"] + 2 < len(self.log)
                fields = {"conv": CONV, "first": 1, "last": len(self.log), "msgs": page, "more": more}
                self.flying.append(answer | fields)
            elif frame["msgid"] == m.SYNC:
                convs = [standing(len(self.log), self.recv)] if self.log else []
                self.flying.append(answer | {"convs": convs, "more": False})
            elif frame["msgid"] == m.RECV:
                self.recv = max(self.recv, frame["c"][CONV])

    def store(self, frame: Frame) -> Frame:
        if self.chance.random() < 0.2:
            return {"errno": 11, "errmsg": "not now", "retry_after": 0.5}
        known = self.stored.get(frame["cid"])
        if known is None:
            known = live(len(self.log) + 1, sender=ME, cid=frame["cid"], msg=frame["msg"])
            self.log.append(known)
            self.stored[frame["cid"]] = known
            if self.recv == known["seq"] - 1:
                self.recv = known["seq"]
        return {"errno": 0, "conv": CONV, "seq": known["seq"], "ts": 1}

    def step(self) -> None:
        acts = [
            self.deliver,
            self.deliver,
            self.write,
            self.send,
            self.wait,
            self.lose,
            self.pause,
            self.confirm,
        ]
        self.chance.choice(acts)()
        self.serve()

    def pause(self) -> None:
        """Decide at random that the user has room for more messages, or has none."""
        self.wire.session.make_room(self.chance.random() < 0.5)

    def confirm(self) -> None:
        """Confirm a random number of the first messages that came."""
        some = self.events[: self.chance.randint(0, len(self.events))]
        self.wire.confirm(some)

    def deliver(self) -> None:
        if not self.flying:
            return
        frame = self.chance.choice(self.flying)
        if not self.known and frame["msgid"] == m.ONE_CHAT:
            frame = next(f for f in self.flying if f["msgid"] == m.ONE_CHAT)
        if self.chance.random() < 0.8:  # otherwise the frame will come once more
            self.flying.remove(frame)
        self.events += self.wire.say(frame)

    def write(self) -> None:
        self.log.append(live(len(self.log) + 1))
        self.flying.append(self.log[-1])

    def send(self) -> None:
        self.wire.session.send(OTHER, f"own {len(self.log)}")

    def wait(self) -> None:
        self.events += self.wire.wait(self.chance.choice((0.1, 0.3, 1.0)))

    def lose(self) -> None:
        """Lose the connection, or leave out a slow reader's deliveries and say so with CONVS."""
        if self.chance.random() < 0.5:
            self.flying = [frame for frame in self.flying if frame["msgid"] != m.ONE_CHAT]
            self.events += self.wire.say({"msgid": m.CONVS, "convs": self.standings()})
        else:
            self.serve()
            self.flying.clear()
            self.events += self.wire.lose()
            self.wire.connect()
            self.events += self.wire.welcome(*self.standings())

    def settle(self) -> None:
        self.wire.session.make_room(True)
        for _ in range(1000):
            self.serve()
            if not self.flying and self.wire.session.is_idle:
                return
            while self.flying:
                self.deliver()
            self.events += self.wire.wait(0.3)
        raise AssertionError("it never came to rest")


@given(st.randoms(use_true_random=False), st.integers(0, 60), st.booleans())
def test_law(chance: random.Random, steps: int, known: bool) -> None:
    """Every message after the start is shown once and in order. Every message of the user is sent once."""
    world = World(chance, known)
    for _ in range(steps):
        world.step()
    world.settle()
    messages = [event for event in world.events if isinstance(event, Message)]
    sent = [event for event in world.events if isinstance(event, Sent)]
    if known:
        assert [msg.seq for msg in messages] == list(range(world.start + 1, len(world.log) + 1))
    else:
        assert [msg.seq for msg in messages] == sorted({msg.seq for msg in messages})
        others = {frame["seq"] for frame in world.log[world.start :] if frame["id"] == OTHER}
        assert others <= {msg.seq for msg in messages}
    assert [event.seq for event in sent] == sorted({event.seq for event in sent})
    assert {event.cid for event in sent} == set(world.stored)
    assert world.wire.session.state is State.LOGGED_IN


@pytest.mark.parametrize(("errno", "kind"), [(1, Failed), (12, Unsupported), (77, Refused)])
def test_errno(errno: int, kind: type[Refused]) -> None:
    wire = Wire()
    wire.connect()
    wire.session.login("li", "x")
    assert type(only(wire.answer(wire.said(m.LOGIN)[0], errno=errno), LoginFailed).refused) is kind


class TestAnotherEpoch:
    """Unsent messages in another epoch.

    The ids belong to other people, so a message goes to the user with the old name, or nowhere.
    """

    def test_by_name(self, wire: Wire) -> None:
        wire.log_in()
        wire.say(live(1))  # bo has said something, so the name of 57 is known
        wire.lose()
        cids = [wire.session.send(OTHER, text).cid for text in ("one", "two")]
        wire.connect(epoch="restored")
        wire.welcome()
        (lookup,) = wire.said(m.LOOKUP)
        assert lookup["name"] == "bo"
        assert wire.said(m.ONE_CHAT) == []
        events = wire.answer(lookup, id=99, name="bo")
        assert events == [Readdressed(cid, "d12-99") for cid in cids]
        (chat,) = wire.said(m.ONE_CHAT)
        assert (chat["toid"], chat["cid"], chat["msg"]) == (99, cids[0], "one")
        wire.answer(chat, conv="d12-99", seq=1, ts=1)
        assert [frame["msg"] for frame in wire.said(m.ONE_CHAT)] == ["two"]

    def test_nobody_of_that_name(self, wire: Wire) -> None:
        wire.log_in()
        wire.say(live(1))
        wire.lose()
        cid = wire.session.send(OTHER, "for bo alone").cid
        wire.connect(epoch="restored")
        wire.welcome()
        (lookup,) = wire.said(m.LOOKUP)
        failed = only(wire.answer(lookup, errno=7, errmsg="no such user"), SendFailed)
        assert (failed.cid, failed.text, type(failed.refused)) == (cid, "for bo alone", Stranded)
        assert wire.said(m.ONE_CHAT) == []
        assert wire.session.is_idle

    def test_whom_it_is_for_is_not_known(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.session.send(OTHER, "hi")
        wire.connect(epoch="restored")
        assert type(only(wire.welcome(), SendFailed).refused) is Stranded
        assert wire.said() == []

    def test_asked_again(self, wire: Wire) -> None:
        """The name is looked up again if the answer is lost with its connection, or is "not now"."""
        wire.log_in()
        wire.lose()
        wire.session.send(OTHER, "hi", "bo")
        wire.connect(epoch="restored")
        wire.welcome()
        assert len(wire.said(m.LOOKUP)) == 1
        wire.lose()
        wire.connect(epoch="restored")
        wire.welcome()
        (lookup,) = wire.said(m.LOOKUP)
        assert wire.answer(lookup, errno=11, errmsg="not now", retry_after=0.5) == []
        wire.wait(0.6)
        (lookup,) = wire.said(m.LOOKUP)
        wire.answer(lookup, id=99, name="bo")
        assert [frame["toid"] for frame in wire.said(m.ONE_CHAT)] == [99]

    @pytest.mark.parametrize("name", ["bo", ""])
    def test_written_before_the_login(self, wire: Wire, name: str) -> None:
        """A message written before the login is readdressed or stranded.

        Its writer knows only the ids of the old epoch, the writer's own included.
        """
        wire.log_in()
        wire.lose()
        wire.connect(epoch="restored")
        wire.session.send(OTHER, "hi", name)
        events = wire.welcome(me=3)
        assert wire.said(m.ONE_CHAT) == []
        if name:
            wire.answer(wire.said(m.LOOKUP)[0], id=99, name="bo")
            assert [frame["toid"] for frame in wire.said(m.ONE_CHAT)] == [99]
        else:
            assert type(only(events, SendFailed).refused) is Stranded

    def test_groups(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.session.send("g9", "to ops", "ops")
        wire.session.send("g8", "to another one", "dev")
        wire.connect(epoch="restored")
        (login,) = wire.said(m.LOGIN)
        groups = [{"id": 4, "groupname": "ops", "groupdesc": "", "role": "normal"}]
        events = wire.answer(login, id=ME, name="li", token="t", friends=[], groups=groups, convs=[])
        assert only(events, Readdressed).conv == "g4"
        assert only(events, SendFailed).text == "to another one"
        assert [(frame["groupid"], frame["msg"]) for frame in wire.said(m.GROUP_CHAT)] == [(4, "to ops")]

    def test_ones_own_id_is_another_one(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.session.send(OTHER, "hi", "bo")
        wire.connect(epoch="restored")
        wire.welcome(me=3)
        wire.answer(wire.said(m.LOOKUP)[0], id=12, name="bo")
        assert [frame["toid"] for frame in wire.said(m.ONE_CHAT)] == [12]

    def test_of_an_earlier_run(self, wire: Wire) -> None:
        """A message kept from an earlier run is readdressed if the server has another epoch now."""
        kept = [Pending("c1", CONV, "hi", "bo", "before"), Pending("c2", "g9", "hi", "ops", "before")]
        wire.session.restore(ME, "li", kept, "before")
        wire.log_in()
        (lookup,) = wire.said(m.LOOKUP)
        assert wire.said(m.GROUP_CHAT) == wire.said(m.ONE_CHAT) == []
        wire.answer(lookup, id=99, name="bo")
        assert [frame["toid"] for frame in wire.said(m.ONE_CHAT)] == [99]

    def test_brought_after_the_login(self, wire: Wire) -> None:
        wire.log_in()
        wire.session.restore(ME, "li", [Pending("c2", "g9", "hi", "ops", "before")], "before")
        assert only(wire.wait(0.1), SendFailed).cid == "c2"

    def test_written_since_goes_after_what_was_written_before(self, wire: Wire) -> None:
        wire.log_in()
        wire.lose()
        wire.session.send(OTHER, "before", "bo")
        wire.connect(epoch="restored")
        wire.welcome()
        for text in ("since 1", "since 2"):
            wire.session.send(99, text)
        (first,) = wire.said(m.ONE_CHAT)  # sent before the lookup is answered
        wire.answer(wire.said(m.LOOKUP)[0], id=99, name="bo")
        texts = [first["msg"]]
        for seq in (1, 2, 3):
            wire.answer(first, conv="d12-99", seq=seq, ts=1)
            sent = wire.said(m.ONE_CHAT)
            texts += [frame["msg"] for frame in sent]
            first = sent[0] if sent else first
        assert texts == ["since 1", "before", "since 2"]
