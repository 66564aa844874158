"""The table of state × msgid that says which messages are legal, so that handlers need no `if` for it."""

from __future__ import annotations

from enum import IntEnum, auto

from forkchat.errors import BadRequest, NotLoggedIn, Refused, Unsupported
from forkchat.wire import msgid as m


class State(IntEnum):
    """A connection's state. GREETED and MODERN have said HELLO; CLASSIC has logged in without HELLO."""

    NEW = auto()
    GREETED = auto()
    CLASSIC = auto()
    MODERN = auto()


_ANONYMOUS = {m.LOGIN, m.REG}
_CHATTING = {m.ONE_CHAT, m.GROUP_CHAT, m.ADD_FRIEND, m.CREATE_GROUP, m.ADD_GROUP, m.LOGINOUT}
_LIVENESS = {m.PING, m.PONG}
_LOGGED_IN = _CHATTING | {
    *(m.SYNC, m.FETCH, m.RECV, m.READ, m.TYPING),
    *(m.FRIENDS, m.GROUPS, m.ACCOUNT, m.LOOKUP),
}

LEGAL: dict[State, frozenset[int]] = {
    State.NEW: frozenset(_ANONYMOUS | {m.HELLO}),
    State.GREETED: frozenset(_ANONYMOUS | _LIVENESS),
    State.CLASSIC: frozenset(_CHATTING),
    State.MODERN: frozenset(_LOGGED_IN | _LIVENESS),
}


def check_legal(state: State, msgid: int) -> None:
    """Raise the Refused that answers a message if the message is not legal in `state`."""
    if msgid not in LEGAL[state]:
        raise _refusal(state, msgid)


def _refusal(state: State, msgid: int) -> Refused:
    if msgid in _LOGGED_IN and state in (State.NEW, State.GREETED):
        return NotLoggedIn("log in first")
    if msgid == m.HELLO:
        return BadRequest("HELLO comes once, before anything else")
    if msgid in _ANONYMOUS:
        return BadRequest("log out first")
    return Unsupported("unknown msgid")
