"""The message ids (docs/wire.md) and the two numberings of the classic messages."""

LOGIN, LOGIN_ACK = 1, 2
REG, REG_ACK = 3, 4
ONE_CHAT = 5
ADD_FRIEND = 6
CREATE_GROUP = 7
ADD_GROUP = 8
GROUP_CHAT = 9
LOGINOUT = 10
HELLO, HELLO_ACK = 100, 101
PING, PONG = 102, 103
ACK = 104
ERROR = 105
BYE = 106
SYNC, CONVS = 111, 112
FETCH, PAGE = 113, 114
RECV = 115
READ, RECEIPT = 116, 117
TYPING = 118
PRESENCE = 120
EVENT = 121
FRIENDS = 130
GROUPS = 131
ACCOUNT = 132
LOOKUP = 133

#: A msgid that no classic client knows. It is harmless to the client, whose kernel answers and so proves
#: life.
CLASSIC_PROBE = 99

#: The msgid that answers a successful request; None means no answer. Other requests are answered with ACK.
ANSWERS: dict[int, int | None] = {
    LOGIN: LOGIN_ACK,
    REG: REG_ACK,
    HELLO: HELLO_ACK,
    PING: PONG,
    SYNC: CONVS,
    FETCH: PAGE,
    PONG: None,
    RECV: None,
}

#: The classic messages by their names in the configuration: a request, and its answer if any.
CLASSIC: dict[str, tuple[int, ...]] = {
    "login": (LOGIN, LOGIN_ACK),
    "register": (REG, REG_ACK),
    "chat": (ONE_CHAT,),
    "add_friend": (ADD_FRIEND,),
    "create_group": (CREATE_GROUP,),
    "add_group": (ADD_GROUP,),
    "group_chat": (GROUP_CHAT,),
    "logout": (LOGINOUT,),
}
_OURS = frozenset(msgid for pair in CLASSIC.values() for msgid in pair)

#: The course's later numbering of the classic messages, by the notes' numbering, which the code uses.
COURSE = {
    LOGIN: 1,
    LOGIN_ACK: 2,
    LOGINOUT: 3,
    REG: 4,
    REG_ACK: 5,
    ONE_CHAT: 6,
    ADD_FRIEND: 7,
    CREATE_GROUP: 8,
    ADD_GROUP: 9,
    GROUP_CHAT: 10,
}
#: The ready-made numberings.
NUMBERINGS = {"notes": {msgid: msgid for msgid in _OURS}, "course": COURSE}


class Numbering:
    """The translation between a classic peer's msgids and the notes' msgids.

    `table` has the peer's msgids by the notes' msgids. Without a table, `name` is that of a ready-made
    numbering.
    """

    def __init__(self, name: str, table: dict[int, int] | None = None):
        self.name = name
        self._out = table or NUMBERINGS[name]
        self._in = {theirs: ours for ours, theirs in self._out.items()}

    def inbound(self, msgid: int) -> int:
        """Return the notes' msgid; 0, an unknown msgid, for a notes' msgid that the peer's table lacks."""
        return self._in.get(msgid, 0 if msgid in _OURS else msgid)

    def outbound(self, msgid: int) -> int:
        return self._out.get(msgid, msgid)
