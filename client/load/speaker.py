"""A connection that sends messages and counts those that it receives, and the loop that runs many."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Bytes of a read. malloc would make a mapping for each larger read, instead of using its heap.
_READ_SIZE = 1 << 16
#: Seconds to connect and be answered, and seconds for messages that are still under way at the end.
_PATIENCE, _REST = 60.0, 5.0
#: Connections that log in at the same time.
_TOGETHER = 100
_PING, _PONG = b'{"msgid":102', b'{"msgid":103}\n'


Address = tuple[str, int]


@dataclass(frozen=True)
class Role:
    """The part of one connection.

    `opening` is sent first, and gets `answers` lines, with `welcome` in each. `frame` is the message that the
    connection sends; each `%d` in it becomes the number of the message. `mark` is the text that counts
    received messages, because each has it once. `to` are the indices of the receivers among the roles of one
    process. `begins`: the connection sends the first messages, before it has received any.
    """

    address: Address
    opening: bytes
    answers: int
    frame: bytes
    mark: bytes
    to: tuple[int, ...]
    begins: bool = True
    welcome: bytes = b'"errno":0'


@dataclass(frozen=True)
class Play:
    """The pace of a run: `warm` seconds that do not count, then `seconds` that do.

    Without `rate`, each speaker has `in_flight` messages under way. It sends the next message when it has
    received `share` messages. With `rate`, all speakers together send that many messages a second.
    `is_timed`: the delay of each message is measured.
    """

    seconds: float
    warm: float = 1.0
    in_flight: int = 1
    share: int = 1
    rate: float = 0.0
    is_timed: bool = False


@dataclass
class Tally:
    """The result of one process: `heard` messages in `seconds`.

    `delays`: the seconds that each message took. `lost`: the number of messages that never came.
    """

    heard: int = 0
    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)
    lost: int = 0


class Speaker:
    """One connection. `said` and `heard` are numbers of messages sent and received.

    `times` are the send times of the messages that it has yet to receive.
    """

    __slots__ = (
        "_number",
        "_places",
        "_tail",
        "begins",
        "frame",
        "heard",
        "listeners",
        "mark",
        "said",
        "sock",
        "times",
    )

    def __init__(self, role: Role):
        self.frame = role.frame
        self._places = role.frame.count(b"%d")
        self.mark = role.mark
        self.begins = role.begins
        self.listeners: list[Speaker] = []
        self.said = self.heard = self._number = 0
        self.times: deque[float] = deque()
        self._tail = b""
        self.sock = socket.create_connection(role.address, _PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(role.opening)

    def come_in(self, role: Role) -> None:
        """Read the answers to the opening. Raises ConnectionError if the server refuses it."""
        for _ in range(role.answers):
            if role.welcome not in (answer := self._line()):
                raise ConnectionError(f"refused: {answer.decode(errors='replace')}")
        self.sock.settimeout(None)  # with a timeout, each call would call poll(2) first

    def say(self, count: int) -> None:
        number = time.time_ns() // 1000 + self._number  # never used before, not even in an earlier run
        self._number += count
        self.said += count
        for n in range(count):  # one call each, as many clients would, without saving system calls
            self.sock.send(self.frame % ((number + n,) * self._places))

    def hear(self) -> int:
        """Read what has arrived, and return the number of messages in it."""
        data = self.sock.recv(_READ_SIZE)
        if not data:
            raise ConnectionError("the server closed a connection")
        if self._tail:
            data = self._tail + data
        end = data.rfind(b"\n") + 1
        self._tail = data[end:]
        count = data.count(self.mark, 0, end)
        if not count and _PING in data:
            self.sock.sendall(_PONG)
        self.heard += count
        return count

    def _line(self) -> bytes:
        while b"\n" not in self._tail:
            data = self.sock.recv(_READ_SIZE)
            if not data:
                raise ConnectionError("the server closed a connection")
            self._tail += data
        line, _, self._tail = self._tail.partition(b"\n")
        return line


class Company:
    """The connections of one process."""

    def __init__(self, roles: Sequence[Role]):
        self.speakers: list[Speaker] = []
        for at in range(0, len(roles), _TOGETHER):
            some = roles[at : at + _TOGETHER]
            self.speakers += (coming := [Speaker(role) for role in some])
            for speaker, role in zip(coming, some, strict=True):
                speaker.come_in(role)
        self._epoll = select.epoll()
        self._by_fd = {speaker.sock.fileno(): speaker for speaker in self.speakers}
        for speaker, role in zip(self.speakers, roles, strict=True):
            speaker.listeners = [self.speakers[at] for at in role.to]
            self._epoll.register(speaker.sock.fileno(), select.EPOLLIN)

    def play(self, play: Play) -> Tally:
        tally = Tally()
        begin = time.monotonic() + play.warm
        end = begin + play.seconds
        if not play.rate:
            for speaker in self.speakers:
                if speaker.begins:
                    self._say(speaker, play.in_flight, play)
        self._talk(play, begin, Tally())
        began = time.monotonic()
        self._talk(play, end, tally)
        tally.seconds = time.monotonic() - began
        self._talk(play, time.monotonic() + _REST, Tally(), is_rest=True)
        tally.lost = self._missing()
        return tally

    def _talk(self, play: Play, until: float, tally: Tally, is_rest: bool = False) -> None:
        """Send and receive messages until that time.

        At rest nothing is sent, and the call ends when all messages were received.
        """
        by_fd, poll, share = self._by_fd, self._epoll.poll, play.share
        is_paced, answers = bool(play.rate) and not is_rest, not play.rate and not is_rest
        said, began = 0, time.monotonic()
        while (now := time.monotonic()) < until and not (is_rest and not self._missing()):
            timeout = until - now
            if is_paced:
                due = int((now - began) * play.rate)
                for at in range(said, due):
                    self._say(self.speakers[at % len(self.speakers)], 1, play)
                said = max(said, due)
                timeout = min(timeout, max(0.0, began + (said + 1) / play.rate - time.monotonic()))
            for fd, _ in poll(timeout):
                speaker = by_fd[fd]
                before = speaker.heard
                count = speaker.hear()
                if not count:
                    continue
                tally.heard += count
                if speaker.times:
                    now = time.monotonic()
                    tally.delays += [now - speaker.times.popleft() for _ in range(count)]
                if answers and (owed := (before + count) // share - before // share):
                    self._say(speaker, owed, play)

    def _say(self, speaker: Speaker, count: int, play: Play) -> None:
        if play.is_timed:
            now = time.monotonic()
            for listener in speaker.listeners:
                listener.times.extend([now] * count)
        speaker.say(count)

    def _missing(self) -> int:
        """Return the number of messages to this process's speakers that have not been received."""
        said = sum(speaker.said * len(speaker.listeners) for speaker in self.speakers)
        return said - sum(speaker.heard for speaker in self.speakers)
