"""One connection after another: HELLO, frames, answers matched to requests, keep-alive."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from client.protocol import parse
from client.protocol.events import Answer, ConnectionLost, Event, NotUnderstood, Problem
from forkchat.errors import BadRequest, TooLarge
from forkchat.wire import msgid as m
from forkchat.wire.frames import FrameDecoder, FrameTooLong, line
from forkchat.wire.requests import decode

#: Bytes of the longest frame accepted from a server: a login answer with many thousand friends.
MAX_FRAME = 8 << 20
#: Seconds of silence after which a server counts as dead. Its HELLO answer names the seconds before a PING.
DEAD_TIME = 90.0

#: Seconds in which a server must answer HELLO.
HELLO_TIME = 10.0
#: Seconds to wait for the answer to another request before the connection is given up. Requests with a
#: password get longer, because it waits for its turn to be hashed.
ANSWER_TIME, HASHING_TIME = 15.0, 30.0
_HASHING = frozenset((m.LOGIN, m.REG, m.ACCOUNT))
#: Bytes that a `rid` may add to a frame.
_RID_ROOM = 64
#: Bytes: the frame limit before login. The limit after login is in the server's answer to HELLO.
FIRST_LIMIT = 4096

_ANSWERS = frozenset((m.ACK, m.ERROR, m.LOGIN_ACK, m.REG_ACK, m.HELLO_ACK, m.CONVS, m.PAGE))

#: The callback for an answer. It MUST read everything that it needs before it changes anything. If it
#: raises BadRequest, it is called again with a NotUnderstood answer.
Then = Callable[[Answer], list[Event]]


@dataclass
class _Waiting:
    msgid: int
    then: Then
    since: float


class Link:
    """The current connection to the server. `now` is the time of the owner's last call.

    `limits` and `epoch` are the server's (docs/wire.md). `failure`: why the connection cannot be used, if it
    ends now; None once the server has greeted the client. `has_missed`: an unreadable frame has arrived.
    """

    def __init__(self, agent: str) -> None:
        self.now = 0.0
        self.failure: OSError | None = None
        self.is_up = False
        self.is_greeted = False
        self.is_finished = False
        self.has_missed = False
        self.epoch = ""
        self.limits = {"frame": 65536, "text": 8192, "page": 200}
        self._agent = agent
        self._heartbeat = 30.0
        self._decoder = FrameDecoder(MAX_FRAME, is_strict=True)
        self._out = bytearray()
        self._rids = count(1)
        self._waiting: dict[str, _Waiting] = {}
        self._busy_at = 0.0  # when the last part of a frame arrived
        self._opened_at = 0.0
        self._heard_at = 0.0
        self._is_pinged = False
        self._has_answered = False

    def open(self, now: float, greeted: Then) -> None:
        """Begin a new connection with HELLO. `greeted` gets the answer.

        If the answer is no refusal, `limits` and `epoch` are set before that call.
        """
        self.now = self._opened_at = self._heard_at = now
        self.is_up = True
        self.failure = ConnectionError("the server has closed the connection at once")
        self.is_greeted = self.is_finished = self.has_missed = self._is_pinged = self._has_answered = False
        self._busy_at = now
        self._decoder = FrameDecoder(MAX_FRAME, is_strict=True)
        self._out.clear()
        self.ask(m.HELLO, {"ver": 1, "ua": self._agent}, partial(self._on_hello, greeted))

    def close(self, now: float) -> list[Event]:
        """End the connection, and with it every request that waits for an answer."""
        self.now = now
        self.is_up = False
        waiting, self._waiting = self._waiting, {}
        return [
            event
            for rid, each in waiting.items()
            for event in each.then(Answer(rid, each.msgid, {}, ConnectionLost()))
        ]

    def ask(self, msgid: int, fields: dict[str, Any], then: Then) -> str:
        """Send a request and return its `rid`. The answer, or the loss of the connection, calls `then`.

        Raises BadRequest if the fields cannot be written as JSON.
        """
        rid = str(next(self._rids))
        self._out += _frame(msgid, fields | {"rid": rid})
        self._waiting[rid] = _Waiting(msgid, then, self.now)
        return rid

    def check_size(self, msgid: int, fields: dict[str, Any], limit: int | None = None) -> None:
        """Check that a request can be sent.

        Raises TooLarge if the server would close the connection over its size. Raises BadRequest if the
        fields cannot be written as JSON.
        """
        limit = limit or self.limits["frame"]
        if len(_frame(msgid, fields)) > limit - _RID_ROOM:
            raise TooLarge(f"a request may have {limit} bytes")

    def tell(self, msgid: int, fields: dict[str, Any]) -> None:
        """Send a frame that has no answer. Raises BadRequest if the fields cannot be written as JSON."""
        self._out += _frame(msgid, fields)

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def receive(self, data: bytes, now: float, handle: Callable[[parse.Frame], list[Event]]) -> list[Event]:
        """Return the events of received bytes.

        `handle` gets every frame that answers no request, and may raise BadRequest. Frames after one that
        ends the connection are dropped.
        """
        self.now = self._heard_at = now
        self._is_pinged = False
        if not self.is_greeted:
            self._has_answered = True
            self.failure = ConnectionError("what answers there is no forkchat server")
        try:
            frames = self._decoder.feed(data)
        except FrameTooLong:
            self.is_finished = True
            return [Problem("the server sent a line without end")]
        if self._decoder.is_inside:
            self._busy_at = now
        found: list[Event] = []
        for frame in frames:
            if not self.is_finished:
                found += self._dispatch(frame, handle)
        return found

    def _dispatch(self, data: bytes, handle: Callable[[parse.Frame], list[Event]]) -> list[Event]:
        try:
            frame = decode(data)
            rid = frame.get("rid")
            if frame["msgid"] in _ANSWERS and isinstance(rid, str) and rid in self._waiting:
                return self._answer(rid, frame)
            return handle(frame)
        except BadRequest as error:
            if not self.is_greeted:
                self.is_finished = True
                return []
            self.has_missed = True
            return [Problem(f"the server sent something that is not understood: {error.errmsg}")]

    def _answer(self, rid: str, frame: parse.Frame) -> list[Event]:
        waiting = self._waiting.pop(rid)
        msgid, then = waiting.msgid, waiting.then
        try:
            if frame["msgid"] not in (m.ANSWERS.get(msgid, m.ACK), m.ERROR):
                raise BadRequest(f"{frame['msgid']} is no answer to {msgid}")
            return then(Answer(rid, msgid, frame, parse.refusal(frame)))
        except BadRequest as error:
            refused = NotUnderstood(f"the server's answer is not understood: {error.errmsg}")
            return then(Answer(rid, msgid, {}, refused))

    def _on_hello(self, greeted: Then, answer: Answer) -> list[Event]:
        if answer.refused:
            self.is_finished = True
            if self.is_up and not isinstance(answer.refused, NotUnderstood):
                self.failure = ConnectionError(f"the server refuses us: {answer.refused.errmsg}")
        else:
            epoch, limits = parse.text(answer.fields, "epoch"), parse.limits(answer.fields)
            self._heartbeat = max(1.0, parse.seconds(answer.fields, "heartbeat") or 30.0)
            self.epoch = epoch
            self.limits |= limits
            self.is_greeted = True
            self.failure = None
        return greeted(answer)

    def tick(self, now: float) -> list[Event]:
        self.now = now
        silence = now - self._heard_at
        if not self.is_greeted and now >= self._opened_at + HELLO_TIME:
            self.is_finished = True
            if not self._has_answered:
                self.failure = TimeoutError("no answer in time")
            return []
        if silence >= DEAD_TIME:
            self.is_finished = True
            return [Problem("the server has been silent for too long")]
        if self.is_greeted and now >= self._answers_at():
            self.is_finished = True
            return [Problem("the server has not answered in time")]
        if self.is_greeted and silence >= self._heartbeat and not self._is_pinged:
            self._is_pinged = True
            self.tell(m.PING, {})
        return []

    @property
    def deadline(self) -> float:
        """The time at which `tick` has something to do."""
        if not self.is_greeted:
            return self._opened_at + HELLO_TIME
        return min(self._heard_at + (DEAD_TIME if self._is_pinged else self._heartbeat), self._answers_at())

    def _answers_at(self) -> float:
        """Return when an answer is overdue. An answer that arrives slowly extends the time."""
        return min(
            (
                max(each.since, self._busy_at) + (HASHING_TIME if each.msgid in _HASHING else ANSWER_TIME)
                for each in self._waiting.values()
            ),
            default=math.inf,
        )


def _frame(msgid: int, fields: dict[str, Any]) -> bytes:
    """Return an encoded frame.

    Raises BadRequest for values without a JSON form: an integer of 65 bits, half a surrogate pair.
    """
    try:
        return line({"msgid": msgid} | fields)
    except TypeError as error:
        raise BadRequest(f"this cannot be sent: {error}") from None
