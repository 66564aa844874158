"""One client's connection: bytes to requests, requests to handlers, answers to frames."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from forkchat import config, log
from forkchat.errors import BadRequest, RateLimited, Refused, TooLarge
from forkchat.net.connection import Connection
from forkchat.process.bucket import Bucket
from forkchat.process.trail import Trail
from forkchat.runtime import Future, spawn
from forkchat.service.outgoing import Form
from forkchat.service.registry import Answer
from forkchat.service.service import Service
from forkchat.service.session import Session
from forkchat.wire import answers
from forkchat.wire import msgid as m
from forkchat.wire.answers import Rid
from forkchat.wire.classic import ClassicAnswers
from forkchat.wire.frames import FrameDecoder, FrameTooLong, padded
from forkchat.wire.proxy import BadProxyHeader, ProxyHeader
from forkchat.wire.requests import Request, check, decode, rid_of
from forkchat.wire.states import State, check_legal

#: Frames that may wait behind a request that takes its time, before the peer is read no more.
_MAX_INBOX = 64
#: Seconds that the other end has to answer a probe.
PROBE_TIME = 5.0
#: Seconds between signs of life to a classic client, below nginx's proxy_timeout.
CLASSIC_SIGN = 240.0


class Peer:
    """See `forkchat.service.peer.Peer` for what the service sees of it.

    Requests are handled in the order in which they came: one whose handler is a coroutine holds up
    those behind it, so that "join, then send" means what it says.

    `host` and `address` (host and port) are the client's. Behind a proxy its header has to name them
    first: until then `host` is "", and then `admit(host)` is asked whether it may come in.
    """

    __slots__ = (
        "_admit",
        "_born",
        "_bucket",
        "_closed",
        "_connection",
        "_decoder",
        "_form",
        "_header",
        "_heard",
        "_inbox",
        "_is_busy",
        "_probed",
        "_service",
        "_state",
        "_trail",
        "address",
        "classic",
        "host",
        "session",
    )

    def __init__(
        self,
        connection: Connection,
        client: tuple[str, int],
        is_proxied: bool,
        service: Service,
        classic: ClassicAnswers,
        admit: Callable[[str], bool],
        on_closed: Callable[[Peer, str], object],
    ):
        limits = service.context.config.limits
        self._connection = connection
        self._service = service
        self._decoder = FrameDecoder(limits.frame_before_login)
        self._bucket = Bucket(limits.message_burst)
        self._state = State.NEW
        self._form: Form | None = None
        self._admit = admit
        self._closed = on_closed
        self._header: ProxyHeader | None = ProxyHeader(is_due=is_proxied)
        self._trail = Trail() if is_proxied else None
        self.address = _address(*client)
        self.host = "" if is_proxied else client[0]
        self._inbox: deque[bytes] = deque()
        self._is_busy = False
        self.classic = classic
        self.session: Session | None = None
        # When it connected or logged out, when it was last heard, when it was sent a PING that it has
        # not answered (else 0.0).
        self._born = self._heard = service.context.loop.time()
        self._probed = 0.0
        connection.start(self._on_data, self._on_closed, self._on_drained)

    # What the service sees.

    @property
    def is_modern(self) -> bool:
        return self._form is Form.MODERN

    @property
    def form(self) -> Form:
        """Fixed when something is first written to a classic peer, or by HELLO."""
        if self._form is None:
            self._form = Form.LINE if self._decoder.delimiter == b"\n" else Form.PADDED
            if self._form is Form.PADDED:
                self._connection.pace()
        return self._form

    @property
    def is_closed(self) -> bool:
        return self._connection.is_closing

    @property
    def is_over(self) -> bool:
        return self._connection.is_over

    @property
    def queued(self) -> int:
        return self._connection.queued

    def delivered(self) -> int:
        taken = self._connection.delivered()
        return self._trail.reached(self._service.context.loop.time(), taken) if self._trail else taken

    def greet(self) -> None:
        self._form = Form.MODERN
        self._state = State.GREETED

    def opened(self, session: Session) -> None:
        self.session = session
        self._state = State.MODERN if self.is_modern else State.CLASSIC
        self._decoder.limit = self._service.context.config.limits.frame

    def left(self) -> None:
        if self._trail:
            self._trail.confirm(self._connection.delivered())
        self.session = None
        self._state = State.GREETED if self.is_modern else State.NEW
        self._decoder.limit = self._service.context.config.limits.frame_before_login
        self._born = self._service.context.loop.time()

    def answer(self, request: Request, fields: dict[str, Any]) -> None:
        """Answer a modern request; a classic one has no answer but those of `classic`."""
        frame = answers.answer(request.msgid, request.rid, fields) if self.is_modern else b""
        if frame:
            self.write(frame)

    def write(self, frame: bytes) -> None:
        self._connection.write(frame)

    def write_json(self, json: bytes) -> None:
        self.write(padded(json) if self.form is Form.PADDED else json + b"\n")

    def bye(self, reason: str, retry_after: float | None = None) -> None:
        if self.is_modern:
            self.write(answers.bye(reason, retry_after))
        self._connection.close_when_sent(reason)

    def close(self, reason: str) -> None:
        self._connection.close(reason)

    def stop_reading(self) -> None:
        """Handle what has come, and no more."""
        self._connection.stop_reading()

    def probe(self) -> None:
        """A modern client answers the PING; a classic one's machine at least takes the bytes, or the
        connection's own time-out ends it."""
        if self.is_modern:
            if not self._probed:
                self._probed = self._service.context.loop.time()
                self.write(answers.PING)
                self._service.context.loop.call_later(PROBE_TIME, self._close_if_dead, self._probed)
        else:
            self.write_json(b'{"msgid":%d}' % m.CLASSIC_PROBE)

    def check_idle(self, login_time: float, limits: config.Session) -> float | None:
        """See whether the peer has been silent for too long; seconds until the next look, None: closed."""
        if self.is_closed:
            return None
        now = self._service.context.loop.time()
        if self.session is None:
            if now - self._born >= login_time and not self._is_busy:
                self.bye("idle")
            return login_time
        if not self.is_modern:
            # Whatever stands between (nginx) takes a silent connection for a dead one.
            self.probe()
            return CLASSIC_SIGN
        if now - self._heard >= limits.dead_after:
            self.bye("idle")
        elif now - self._heard >= limits.heartbeat:
            self.write(answers.PING)
        return limits.heartbeat / 2

    def _close_if_dead(self, probed: float) -> None:
        if self._heard < probed:
            self.close("dead")

    # Bytes in.

    def _on_data(self, data: bytes) -> None:
        self._heard = self._service.context.loop.time()
        self._probed = 0.0
        if self._header is not None:
            data = self._open(self._header, data)
        if not data:
            return
        try:
            frames = self._decoder.feed(data)
        except FrameTooLong:
            self._refuse_frame()
            return
        if self._is_busy or self._inbox:
            self._inbox.extend(frames)
            self._pump()
            return
        for at, frame in enumerate(frames):
            self._on_frame(frame)
            if self._is_busy:
                self._inbox.extend(frames[at + 1 :])
                self._limit_inbox()
                return

    def _open(self, header: ProxyHeader, data: bytes) -> bytes:
        """Whose connection is it? What is there of its frames; the connection may be closed."""
        try:
            opening = header.feed(data)
        except BadProxyHeader as error:
            self._turn_away(str(error))
            return b""
        if opening is None:
            return b""
        self._header = None
        if opening.client:
            self.address = _address(*opening.client)
        if not self.host:
            host = self.address.rpartition(":")[0].strip("[]")
            if not self._admit(host):
                self._turn_away("too many connections from this address")
                return b""
            self.host = host
        return opening.rest

    def _turn_away(self, why: str) -> None:
        log.warning("peer.turned_away", peer=self.address, why=why)
        self.close("turned away")

    def _pump(self) -> None:
        """Handle what waits, until a request takes its time."""
        while self._inbox and not self._is_busy and not self.is_closed:
            self._on_frame(self._inbox.popleft())
        self._limit_inbox()

    def _limit_inbox(self) -> None:
        if len(self._inbox) > _MAX_INBOX:
            self._connection.pause()
        elif not self._inbox:
            self._connection.resume()

    def _refuse_frame(self) -> None:
        if self.is_modern:
            self.write(answers.refusal(0, None, TooLarge("the frame is over the limit")))
        log.info("peer.frame_too_long", peer=self.address, limit=self._decoder.limit)
        self._connection.close_when_sent("frame over the limit")

    def _on_frame(self, frame: bytes) -> None:
        msgid, rid = 0, None
        wait = self._flood_wait()
        if wait and not self.is_modern:
            self._connection.close_when_sent("too many messages")
            return
        try:
            message = decode(frame)
            msgid = message["msgid"]
            if not self.is_modern and msgid != m.HELLO:
                msgid = self.classic.numbering.inbound(msgid)
            rid = rid_of(message)
            if wait:
                raise RateLimited("too many messages", retry_after=wait)
            check_legal(self._state, msgid)
            request = check(msgid, message)
            self._dispatch(request)
        except Refused as refusal:
            self._refuse(msgid, rid, refusal)

    def _flood_wait(self) -> float:
        """0, or the seconds until this peer may send again."""
        limits = self._service.context.config.limits
        if not limits.message_rate:
            return 0.0
        return round(self._bucket.take(limits.message_rate, limits.message_burst, time.monotonic()), 2)

    def _dispatch(self, request: Request) -> None:
        answer: Answer = self._service.registry[request.msgid](self, request)
        if answer is None:
            return
        if isinstance(answer, dict):
            self.answer(request, answer)
        elif isinstance(answer, Future):
            answer.add_done_callback(lambda done: self._finish(request, done))
        elif inspect.iscoroutine(answer):
            self._is_busy = True
            spawn(answer).add_done_callback(lambda done: self._finish_and_go_on(request, done))

    def _finish_and_go_on(self, request: Request, done: Future[Any]) -> None:
        self._is_busy = False
        self._finish(request, done)
        if self._inbox:
            self._service.context.loop.call_later(0, self._pump)

    def _finish(self, request: Request, done: Future[Any]) -> None:
        error = done.exception()
        if isinstance(error, Refused):
            self._refuse(request.msgid, request.rid, error)
        elif error is not None:
            log.exception("peer.error", error, peer=self.address, msgid=request.msgid)
            self.close("error")
        elif done.result() is not None:
            self.answer(request, done.result())

    # Answers out.

    def _refuse(self, msgid: int, rid: Rid, refused: Refused) -> None:
        log.debug("peer.refused", peer=self.address, msgid=msgid, code=refused.code)
        if self.is_modern:
            self.write(answers.refusal(msgid, rid, refused))
        elif msgid == m.LOGIN and self._state is State.NEW and not isinstance(refused, BadRequest):
            self.write_json(self.classic.login_refused(refused.errno, refused.errmsg))
        elif msgid == m.REG and self._state is State.NEW:
            self.write_json(self.classic.not_registered(refused.errmsg))

    # The end.

    def _on_drained(self) -> None:
        if self.session is not None:
            self._service.drained(self.session)

    def _on_closed(self, reason: str) -> None:
        session = self.session
        if session is not None:
            self.session = None
            self._service.gate.end(session, reason)
        self._inbox.clear()
        self._closed(self, reason)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
