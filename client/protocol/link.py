"""One connection after another: HELLO, frames, answers matched to requests, signs of life."""

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

#: The longest frame that we take from a server: a login answer with many thousand friends.
MAX_FRAME = 8 << 20
#: Seconds of silence after which a server is dead; how long until we ask it, it says itself.
DEAD_TIME = 90.0

#: Seconds in which a server must have answered HELLO.
HELLO_TIME = 10.0
#: Seconds for the answer to another request, after which the connection is given up. A password waits for its
#: turn to be hashed.
ANSWER_TIME, HASHING_TIME = 15.0, 30.0
_HASHING = frozenset((m.LOGIN, m.REG, m.ACCOUNT))
#: What a `rid` may add to a frame.
_RID_ROOM = 64
#: The frame limit before login (a server's own is in its answer to HELLO).
FIRST_LIMIT = 4096

_ANSWERS = frozenset((m.ACK, m.ERROR, m.LOGIN_ACK, m.REG_ACK, m.HELLO_ACK, m.CONVS, m.PAGE))

#: What is to be done with an answer. MUST read all of it that it needs before it changes anything:
#: when it raises BadRequest, it is called again with an answer that says so.
Then = Callable[[Answer], list[Event]]


@dataclass
class _Waiting:
    msgid: int
    then: Then
    since: float


class Link:
    """`now` is the time of the owner's last call; `limits` and `epoch` are the server's (docs/wire.md).

    `failure`: why the connection cannot be used, if it ends now; None once the server has greeted us.
    `has_missed`: something has come that could not be read.
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
        self._busy_at = 0.0  # when a part of a frame has come
        self._opened_at = 0.0
        self._heard_at = 0.0
        self._is_pinged = False
        self._has_answered = False

    def open(self, now: float, greeted: Then) -> None:
        """There is a connection: say HELLO. `greeted` gets the answer, `limits` and `epoch` are set."""
        self.now = self._opened_at = self._heard_at = now
        self.is_up = True
        self.failure = ConnectionError("the server has closed the connection at once")
        self.is_greeted = self.is_finished = self.has_missed = self._is_pinged = self._has_answered = False
        self._busy_at = now
        self._decoder = FrameDecoder(MAX_FRAME, is_strict=True)
        self._out.clear()
        self.ask(m.HELLO, {"ver": 1, "ua": self._agent}, partial(self._on_hello, greeted))

    def close(self, now: float) -> list[Event]:
        """The connection has ended, and with it every request that waits for an answer."""
        self.now = now
        self.is_up = False
        waiting, self._waiting = self._waiting, {}
        return [
            event
            for rid, each in waiting.items()
            for event in each.then(Answer(rid, each.msgid, {}, ConnectionLost()))
        ]

    def ask(self, msgid: int, fields: dict[str, Any], then: Then) -> str:
        """Send a request; its answer, or the loss of the connection, calls `then`. Raises BadRequest."""
        rid = str(next(self._rids))
        self._out += _frame(msgid, fields | {"rid": rid})
        self._waiting[rid] = _Waiting(msgid, then, self.now)
        return rid

    def check_size(self, msgid: int, fields: dict[str, Any], limit: int | None = None) -> None:
        """Raises TooLarge for a request over whose size the server would close the connection, BadRequest for
        one that cannot be written."""
        limit = limit or self.limits["frame"]
        if len(_frame(msgid, fields)) > limit - _RID_ROOM:
            raise TooLarge(f"a request may have {limit} bytes")

    def tell(self, msgid: int, fields: dict[str, Any]) -> None:
        """Send what nobody answers. Raises BadRequest."""
        self._out += _frame(msgid, fields)

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def receive(self, data: bytes, now: float, handle: Callable[[parse.Frame], list[Event]]) -> list[Event]:
        """`handle` gets every frame that answers no request of ours; it may raise BadRequest. What comes
        behind a frame that ends the connection is for nobody."""
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
        """When `tick` has something to do."""
        if not self.is_greeted:
            return self._opened_at + HELLO_TIME
        return min(self._heard_at + (DEAD_TIME if self._is_pinged else self._heartbeat), self._answers_at())

    def _answers_at(self) -> float:
        """When an answer is overdue. One that is on its way, slowly, is waited for."""
        return min(
            (
                max(each.since, self._busy_at) + (HASHING_TIME if each.msgid in _HASHING else ANSWER_TIME)
                for each in self._waiting.values()
            ),
            default=math.inf,
        )


def _frame(msgid: int, fields: dict[str, Any]) -> bytes:
    """Raises BadRequest for what JSON has no place for: an integer of 65 bits, half a character."""
    try:
        return line({"msgid": msgid} | fields)
    except TypeError as error:
        raise BadRequest(f"this cannot be sent: {error}") from None
