"""What each message weighs for the rate: a chat message is 1, about 100 µs of processor in all."""

from __future__ import annotations

from forkchat.wire import msgid as m
from forkchat.wire.requests import Request

#: Bytes of a request, and of its answer, that weigh 1 more: what a text costs to take in, a row to read.
REQUEST_BYTES, ANSWER_BYTES = 1024, 16384
#: Conversations of one RECV that weigh 1 more.
_KEYS = 16
#: Sessions here that are written to for one request, as a group's members are, that weigh 1 more: each costs
#: 1 to 5 µs, less where several messages go out together.
REACHED = 50

#: By msgid, or msgid and `op`. Measured by `tests/bench/hostile.py`.
WEIGHTS: dict[int | tuple[int, str], int] = {
    m.LOGIN: 5,
    m.REG: 20,  # rating the password holds up the worker
    m.ONE_CHAT: 1,
    m.ADD_FRIEND: 5,
    m.CREATE_GROUP: 10,
    m.ADD_GROUP: 10,
    m.GROUP_CHAT: 1,
    m.LOGINOUT: 5,
    m.HELLO: 1,
    m.PING: 1,
    m.PONG: 1,
    m.SYNC: 5,
    m.FETCH: 3,
    m.RECV: 1,
    m.READ: 3,
    m.TYPING: 1,
    (m.FRIENDS, "list"): 5,
    (m.FRIENDS, "remove"): 5,
    (m.GROUPS, "list"): 5,
    (m.GROUPS, "members"): 5,
    (m.GROUPS, "leave"): 10,
    (m.GROUPS, "remove"): 10,
    (m.GROUPS, "readmit"): 10,
    (m.ACCOUNT, "password"): 20,  # and `change_rate` counts its two hashes
    (m.ACCOUNT, "end_others"): 3,
    m.LOOKUP: 3,
}
#: The requests that weigh no more, whatever they ask for, unless they are long.
LIGHT = frozenset(msgid for msgid, weight in WEIGHTS.items() if weight == 1 and msgid != m.RECV)
#: Of an `op` that is not named above.
_OTHER = 5


def weight(request: Request, size: int) -> int:
    """What a request of `size` bytes weighs, but for its answer."""
    known = WEIGHTS.get(request.msgid)
    if known is None:
        known = WEIGHTS.get((request.msgid, request["op"]), _OTHER)
    elif request.msgid == m.RECV:
        known += len(request["c"]) // _KEYS
    return known + size // REQUEST_BYTES
