"""The message ids (docs/wire.md) and the two numberings of the classic ones."""

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

#: A msgid that no classic client knows: harmless to it, and proof of life for us (its kernel answers).
CLASSIC_PROBE = 99

#: What answers a request when it succeeds; every other is answered with ACK. None: never answered.
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

#: The classic messages by the names that the configuration has for them: a request, and its answer if any.
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

#: The course's later numbering of the classic messages, by the notes' one, which is used inside.
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
    """Translation between a classic peer's msgids and the notes'. `table` has theirs by the notes'; without
    one `name` is that of a ready-made numbering."""

    def __init__(self, name: str, table: dict[int, int] | None = None):
        self.name = name
        self._out = table or NUMBERINGS[name]
        self._in = {theirs: ours for ours, theirs in self._out.items()}

    def inbound(self, msgid: int) -> int:
        """The notes' msgid; 0, which is unknown, for one of the notes' that the peer's table lacks."""
        return self._in.get(msgid, 0 if msgid in _OURS else msgid)

    def outbound(self, msgid: int) -> int:
        return self._out.get(msgid, msgid)
