"""The weight of each message in the rate limit. A chat message weighs 1, about 100 µs of processor in all."""

from __future__ import annotations

from forkchat.wire import msgid as m
from forkchat.wire.requests import Request

#: Bytes of a request, and of its answer, that add 1. Taking in a text and reading rows cost time.
REQUEST_BYTES, ANSWER_BYTES = 1024, 16384
#: Conversations of one RECV that add 1.
_KEYS = 16
#: Sessions of this worker that add 1 if a request writes to them, as to a group's members. A session costs 1
#: to 5 µs, or less when several messages are sent together.
REACHED = 50

#: Weights by msgid, or by msgid and `op`. `tests/bench/hostile.py` measured them.
WEIGHTS: dict[int | tuple[int, str], int] = {
    m.LOGIN: 5,
    m.REG: 20,  # rating the password blocks the worker
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
    (m.ACCOUNT, "password"): 20,  # `change_rate` limits its two hashes
    (m.ACCOUNT, "end_others"): 3,
    m.LOOKUP: 3,
}
#: The requests that always weigh 1, unless they are long.
LIGHT = frozenset(msgid for msgid, weight in WEIGHTS.items() if weight == 1 and msgid != m.RECV)
#: The weight of an `op` that is not in the table.
_OTHER = 5


def weight(request: Request, size: int) -> int:
    """Return the weight of a request of `size` bytes, without that of its answer."""
    known = WEIGHTS.get(request.msgid)
    if known is None:
        known = WEIGHTS.get((request.msgid, request["op"]), _OTHER)
    elif request.msgid == m.RECV:
        known += len(request["c"]) // _KEYS
    return known + size // REQUEST_BYTES
