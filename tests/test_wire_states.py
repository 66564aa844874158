"""The messages that are legal in each state, and the errors for all others."""

from __future__ import annotations

import pytest

from forkchat.errors import BadRequest, NotLoggedIn, Refused, Unsupported
from forkchat.wire import msgid as m
from forkchat.wire.states import LEGAL, State, check_legal

NEW, GREETED, CLASSIC, MODERN = State.NEW, State.GREETED, State.CLASSIC, State.MODERN

CHAT = (m.ONE_CHAT, m.ADD_FRIEND, m.CREATE_GROUP, m.ADD_GROUP, m.GROUP_CHAT, m.LOGINOUT)
SYNC = (m.SYNC, m.FETCH, m.RECV, m.READ, m.TYPING, m.FRIENDS, m.GROUPS, m.ACCOUNT, m.LOOKUP)

#: The table of docs/wire.md, repeated: the messages that each state allows.
ALLOWED = {
    NEW: {m.LOGIN, m.REG, m.HELLO},
    GREETED: {m.LOGIN, m.REG, m.PING, m.PONG},
    CLASSIC: {*CHAT},
    MODERN: {*CHAT, *SYNC, m.PING, m.PONG},
}
EVERY_MSGID = [*range(-1, 200), 2**31, 2**63]


def refusal(state: State, msgid: int) -> type[Refused] | None:
    try:
        check_legal(state, msgid)
    except Refused as refused:
        return type(refused)
    return None


@pytest.mark.parametrize("state", State)
def test_every_msgid(state: State) -> None:
    assert {msgid for msgid in EVERY_MSGID if refusal(state, msgid) is None} == ALLOWED[state]
    assert LEGAL[state] == ALLOWED[state]


@pytest.mark.parametrize("state", [NEW, GREETED])
@pytest.mark.parametrize("msgid", [*CHAT, *SYNC])
def test_commands_before_login(state: State, msgid: int) -> None:
    assert refusal(state, msgid) is NotLoggedIn


@pytest.mark.parametrize("state", [CLASSIC, MODERN])
@pytest.mark.parametrize("msgid", [m.LOGIN, m.REG, m.HELLO])
def test_greeting_and_login_when_logged_in(state: State, msgid: int) -> None:
    assert refusal(state, msgid) is BadRequest


def test_second_hello() -> None:
    assert refusal(GREETED, m.HELLO) is BadRequest


@pytest.mark.parametrize("msgid", [-1, 0, 11, 99, 107, 119, 2**31])
@pytest.mark.parametrize("state", State)
def test_unknown_msgid(state: State, msgid: int) -> None:
    assert refusal(state, msgid) is Unsupported


#: Only servers send these messages.
@pytest.mark.parametrize("msgid", [m.LOGIN_ACK, m.HELLO_ACK, m.ACK, m.ERROR, m.BYE, m.PAGE, m.PRESENCE])
@pytest.mark.parametrize("state", State)
def test_a_servers_msgid(state: State, msgid: int) -> None:
    assert refusal(state, msgid) is Unsupported


@pytest.mark.parametrize("msgid", SYNC)
def test_modern_messages_of_a_classic_session(msgid: int) -> None:
    assert refusal(CLASSIC, msgid) is Unsupported
