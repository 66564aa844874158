"""One client's connection: bytes to frames, answers to frames, and checks that the client still lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from forkchat import config, log
from forkchat.errors import BadRequest, RateLimited, Refused, TooLarge, Unavailable
from forkchat.net.connection import Connection
from forkchat.process.admission import Admission
from forkchat.process.bucket import Bucket
from forkchat.process.inbox import Inbox, Turns
from forkchat.process.trail import Trail
from forkchat.runtime import STAGE_PEERS
from forkchat.service.outgoing import Form
from forkchat.service.service import Service
from forkchat.service.session import Session
from forkchat.wire import answers
from forkchat.wire import msgid as m
from forkchat.wire.answers import Rid
from forkchat.wire.classic import ClassicAnswers, Guess
from forkchat.wire.frames import FrameDecoder, FrameTooLong, padded
from forkchat.wire.proxy import BadProxyHeader, ProxyHeader
from forkchat.wire.requests import Request
from forkchat.wire.states import State
from forkchat.wire.weights import ANSWER_BYTES

#: Seconds that a client has to answer a probe.
PROBE_TIME = 5.0
#: Bytes of output that may wait for a stranger; the answer to a registration has 40. Bytes of input that are
#: read from a stranger at once, and kept while its request takes time.
_STRANGERS_OUTPUT, _STRANGERS_INPUT = 65536, 4096
#: Broken or refused frames of a connection that are forgiven per second.
_FORGIVEN = 1.0
#: Broken or refused frames that a stranger may send at once.
_STRANGERS_FAULTS = 20
#: Faults that a request over the rate counts as. They are few, because an honest client sends many requests
#: at once and retries when told to.
_TOO_FAST = 0.02
#: Bytes of such a request that count as ten more requests, because they are read to be answered.
_TOO_LARGE = 4096
#: Seconds to wait for a classic peer's first delimiter, which may come after its brace. The delimiter shows
#: how answers are to be framed. Nagle's algorithm and a delayed acknowledgement hold it back for 40 ms.
_DELIMITER_TIME = 0.2
#: Seconds between probes of a classic client that has logged in, below the timeouts of proxies and routers.
#: Before its first login a client gets none, because some read the login's answer only then, with one `recv`.
CLASSIC_SIGN = 240.0


@dataclass(frozen=True, slots=True)
class Shared:
    """Parts that all peers of a worker share.

    `handle` gets each frame. `turns` serves the input that a turn left over. `admission` is asked whether
    another connection from a host may enter, and is told of strangers. `on_closed` is told why a peer has
    gone.
    """

    service: Service
    dialects: tuple[ClassicAnswers, ...]
    handle: Callable[[Peer, bytes], object]
    turns: Turns
    admission: Admission
    on_closed: Callable[[Peer, str], object]


class Peer:
    """The connection of one client. `forkchat.service.peer.Peer` has what the service sees of it.

    `host` and `address` (host and port) are the client's. If a proxy is in between, its header must name them
    first. Until then `host` is "".
    """

    __slots__ = (
        "_begun",
        "_connection",
        "_decoder",
        "_faults",
        "_form",
        "_guess",
        "_header",
        "_heard",
        "_is_unsure",
        "_loop",
        "_probed",
        "_shared",
        "_sign_due",
        "_taken",
        "_trail",
        "address",
        "bucket",
        "epoch",
        "host",
        "inbox",
        "is_modern",
        "session",
        "state",
    )

    def __init__(self, connection: Connection, client: tuple[str, int], is_proxied: bool, shared: Shared):
        loop, limits = shared.service.context.loop, shared.service.context.config.limits
        self._connection = connection
        self._loop = loop
        self._shared = shared
        self._decoder = FrameDecoder(limits.frame_before_login)
        self.bucket = Bucket(limits.message_burst)
        self._faults: Bucket | None = None  # created with the first fault
        self.state = State.NEW
        self._form: Form | None = None
        self._guess: Guess | None = None  # created for a classic peer
        self.epoch = ""
        self._is_unsure = False  # the first frame waits for its delimiter
        self.is_modern = False  # the client has sent HELLO
        self._header: ProxyHeader | None = ProxyHeader(is_due=is_proxied)
        self._trail = Trail() if is_proxied else None
        self.address = _address(*client)
        self.host = "" if is_proxied else client[0]
        self.inbox = Inbox(self, connection, shared.turns, shared.handle)
        self.session: Session | None = None
        # Times on the loop's clock, 0.0 for none. `_heard`: the last input. `_probed`: the PING that is not
        # answered yet. `_begun`: the start of the header or frame that is not finished. `_sign_due`: the next
        # probe of a classic client.
        self._heard = loop.time()
        self._probed = 0.0
        self._begun = self._heard if is_proxied else 0.0
        self._sign_due = 0.0
        self._taken = 0  # bytes delivered at the last check, while the output was full
        self._allow_little()
        connection.start(self._on_data, self._on_closed, self._on_drained, self.inbox.wake)

    # The service's view.

    @property
    def classic(self) -> ClassicAnswers:
        return self._guess.best if self._guess else self._shared.dialects[0]

    @property
    def guess(self) -> Guess:
        self._guess = self._guess or Guess(self._shared.dialects)
        return self._guess

    @property
    def form(self) -> Form:
        """The framing of answers. It is fixed by HELLO, or by the first write to a classic peer."""
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
        return self._trail.reached(self._loop.time(), taken) if self._trail else taken

    def greet(self, epoch: str) -> None:
        self.epoch = epoch
        self._form = Form.MODERN
        self.is_modern = True
        self._decoder.is_strict = True
        self._connection.stop_probing()
        self.state = State.GREETED

    def opened(self, session: Session, burst: int) -> None:
        self.session = session
        self.bucket.limit(burst)
        self.state = State.MODERN if self.is_modern else State.CLASSIC
        self._sign_due = self._loop.time() + CLASSIC_SIGN
        self._shared.admission.logged_in(self)
        limits = self._shared.service.context.config.limits
        self._decoder.limit = limits.frame
        self._connection.allow(limits.output)

    def left(self) -> None:
        if self._trail:
            self._trail.confirm(self._connection.delivered())
        self.session = None
        self.state = State.GREETED if self.is_modern else State.NEW
        self._begun = self._loop.time() if self._decoder.is_inside else 0.0
        self._shared.admission.stranger(self)
        limits = self._shared.service.context.config.limits
        self._decoder.limit = limits.frame_before_login
        self._allow_little()

    def _allow_little(self) -> None:
        limits = self._shared.service.context.config.limits
        self._connection.allow(min(limits.output, _STRANGERS_OUTPUT), _STRANGERS_INPUT)

    def spend(self, messages: int) -> None:
        self.bucket.spend(messages)

    @property
    def debt(self) -> float:
        rate = self._shared.service.context.config.limits.message_rate
        return self.bucket.debt(rate, time.monotonic())

    def answer(self, request: Request, fields: dict[str, Any]) -> None:
        """Answer a modern request. Classic requests get only the answers of `classic`."""
        frame = answers.answer(request.msgid, request.rid, fields) if self.is_modern else b""
        if frame:
            if len(frame) >= ANSWER_BYTES:
                self.bucket.spend(len(frame) // ANSWER_BYTES)
            self.write(frame)

    def refuse(self, msgid: int, rid: Rid, refused: Refused, size: int = 0) -> None:
        """Send a refusal. Classic clients get only those that their protocol has an answer for.

        Each refusal counts as a fault of the peer, except `Unavailable`. `size`: bytes of the refused frame.
        """
        log.debug("peer.refused", peer=self.address, msgid=msgid, code=refused.code)
        if self.is_modern:
            self.write(answers.refusal(msgid, rid, refused))
        elif msgid == m.LOGIN and self.state is State.NEW and not isinstance(refused, BadRequest):
            self.write_json(self.classic.login_refused(refused.errno, refused.errmsg))
        elif msgid == m.REG and self.state is State.NEW:
            self.write_json(self.classic.not_registered(refused.errmsg))
        if not isinstance(refused, Unavailable):
            self._fault(size, isinstance(refused, RateLimited))

    def _fault(self, size: int, is_too_fast: bool) -> None:
        """Count a broken or refused frame of `size` bytes. Too many end the connection."""
        burst = self._shared.service.context.config.limits.fault_burst
        if not burst or self.is_closed:
            return
        if self.session is None:
            burst = min(burst, _STRANGERS_FAULTS)
        self._faults = self._faults or Bucket(burst)
        is_over = self._faults.take(_FORGIVEN, burst, self._loop.time())
        if is_over:
            if self._shared.admission.is_logged():
                log.info("peer.kicked", peer=self.address, why="too many broken or refused frames")
            self.bye("kicked")
        elif is_too_fast:
            self._faults.spend(_TOO_FAST + size // _TOO_LARGE * _TOO_FAST * 10 - 1)

    def write(self, frame: bytes) -> None:
        self._connection.write(frame)

    def offer(self, frame: bytes) -> bool:
        connection = self._connection
        if connection.is_over:
            return False
        connection.write(frame)
        return True

    def write_json(self, json: bytes) -> None:
        self.write(padded(json) if self.form is Form.PADDED else json + b"\n")

    def bye(self, reason: str, retry_after: float | None = None) -> None:
        if self.is_modern:
            self.write(answers.bye(reason, retry_after))
        self._connection.close_when_sent(reason, is_patient=reason != "kicked")

    def give_up(self) -> None:
        """Close at the end of this turn, to make room for a new connection. BYE is sent before."""
        self.bye("idle")
        self._loop.at_turn_end(STAGE_PEERS, partial(self.close, "given up"))

    def close(self, reason: str) -> None:
        self._connection.close(reason)

    def stop_reading(self) -> None:
        """Stop reading for good. Input that has arrived is still handled."""
        self._connection.stop_reading()

    def probe(self) -> None:
        """Test whether the client lives, and close the connection if not.

        A modern client answers the PING. A classic client's machine at least takes the bytes. If it does not,
        the connection's user timeout ends it.
        """
        if self.is_modern:
            if not self._probed:
                self._probed = self._loop.time()
                self.write(answers.PING)
                delivered = self._connection.delivered()
                self._loop.call_later(PROBE_TIME, self._close_if_dead, self._probed, delivered)
        else:
            self.write_json(self.classic.dialect.json({"msgid": m.CLASSIC_PROBE}))

    def check_idle(self, login_time: float, limits: config.Session) -> float | None:
        """Check whether the peer still lives. Return the seconds until the next check, or None if closed.

        A stranger may be silent, but MUST finish within `login_time` what it has begun to send. A PROXY
        header counts as begun when the connection opens.
        """
        if self.is_closed:
            return None
        now = self._loop.time()
        is_waited_for = self.session is None and self._begun and not self.inbox.is_held
        if is_waited_for and now - self._begun >= login_time:
            self.bye("idle")
        elif self.is_modern:
            self._check_modern(now, limits)
        elif self._sign_due and now >= self._sign_due:
            # A proxy (nginx) takes a silent connection for a dead one.
            self.probe()
            self._sign_due = now + CLASSIC_SIGN
        return self._next_look(now, login_time, limits)

    def _check_modern(self, now: float, limits: config.Session) -> None:
        if self._connection.is_full and self._connection.delivered() > self._taken:
            # The peer is not read while its output is full. If it takes output, that is as good as a PONG.
            self._taken = self._connection.delivered()
            self._heard = now
        silence = now - self._heard
        if silence >= limits.dead_after and self._connection.is_full:
            self.close("idle")  # the peer takes nothing, so a BYE would not arrive
        elif silence >= limits.dead_after:
            self.bye("idle")
        elif silence >= limits.heartbeat:
            self.write(answers.PING)

    def _next_look(self, now: float, login_time: float, limits: config.Session) -> float:
        if self.session is None:
            return min(login_time, limits.heartbeat / 2)
        return limits.heartbeat / 2 if self.is_modern else self._sign_due - now

    def _close_if_dead(self, probed: float, delivered: int) -> None:
        takes = self._connection.is_full and self._connection.delivered() > delivered
        if self._heard < probed and not takes:
            self.close("dead")

    # Input.

    def _on_data(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._probed = 0.0
        if self._header is not None:
            data = self._open(self._header, data)
        if self._is_unsure and self._decoder.find_delimiter(data):
            self._go_on()
        if data:
            self.inbox.feed(data)

    def split(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes.

        The inbox is held if the first frame of a classic peer still lacks its delimiter.
        """
        try:
            frames = self._decoder.feed(data)
        except FrameTooLong:
            self._refuse_frame()
            return []
        if self.session is None:
            self._note_progress(bool(frames))
        if frames and self._form is None and not self._decoder.delimiter:
            self._is_unsure = True
            self.inbox.hold()
            self._loop.call_later(_DELIMITER_TIME, self._go_on)
        return frames

    def _go_on(self) -> None:
        """Stop waiting for the first delimiter, because it has come or the wait for it is over."""
        if self._is_unsure:
            self._is_unsure = False
            self.inbox.release()

    def _note_progress(self, has_frame: bool) -> None:
        """Note that a stranger has sent whole frames, or the beginning of a frame."""
        if has_frame:
            self._begun = 0.0
            self._shared.admission.stranger(self)
        if self._decoder.is_inside:
            self._begun = self._begun or self._heard

    def _open(self, header: ProxyHeader, data: bytes) -> bytes:
        """Read the PROXY header, if there must be one, to learn whose connection this is.

        Return the bytes after it. The connection may be closed after this call.
        """
        try:
            opening = header.feed(data)
        except BadProxyHeader as error:
            self._turn_away(str(error))
            return b""
        if opening is None:
            return b""
        self._header = None
        self._begun = 0.0
        if opening.client:
            self.address = _address(*opening.client)
        if not self.host:
            host = self.address.rpartition(":")[0].strip("[]")
            if not self._shared.admission.enter(host):
                self._turn_away("too many connections from this address")
                return b""
            self.host = host
            self._shared.admission.stranger(self)
        return opening.rest

    def _turn_away(self, why: str) -> None:
        if self._shared.admission.is_logged():
            log.warning("peer.turned_away", peer=self.address, why=why)
        self.close("turned away")

    def _refuse_frame(self) -> None:
        if self.is_modern:
            self.write(answers.refusal(0, None, TooLarge("the frame is over the limit")))
        if self._shared.admission.is_logged():
            log.info("peer.frame_too_long", peer=self.address, limit=self._decoder.limit)
        self._connection.close_when_sent("frame over the limit")
        self.inbox.clear()  # freed now: closing takes 1 s, and 2000 such peers may come per second
        self._decoder.clear()

    # Closing.

    def _on_drained(self) -> None:
        if self.session is not None:
            self._shared.service.drained(self.session)

    def _on_closed(self, reason: str) -> None:
        session = self.session
        if session is not None:
            self.session = None
            self._shared.service.gate.end(session, reason)
        self.inbox.clear()
        self._shared.on_closed(self, reason)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
