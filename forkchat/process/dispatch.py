"""The way from a frame to its answer: decode it, check it, pass it to its handler."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from forkchat import log
from forkchat.errors import RateLimited, Refused, Unavailable
from forkchat.runtime import Future, spawn
from forkchat.service.service import Service
from forkchat.wire import msgid as m
from forkchat.wire.requests import Request, check, decode, rid_of
from forkchat.wire.states import check_legal
from forkchat.wire.weights import LIGHT, REQUEST_BYTES, weight

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from forkchat.process.peer import Peer
    from forkchat.service.registry import Fields


class Dispatcher:
    """The dispatcher of all peers of a worker.

    While a peer's request takes time, the frames after it wait.
    """

    def __init__(self, service: Service):
        self._service = service

    def handle(self, peer: Peer, frame: bytes) -> None:
        msgid, rid = 0, None
        wait = self._flood_wait(peer)
        if wait and not peer.is_modern:
            peer.bye("too many messages")
            return
        try:
            message = decode(frame, None if peer.is_modern else peer.classic.dialect.understand)
            msgid = message["msgid"]
            if not peer.is_modern and msgid != m.HELLO:
                if not self._tell_dialect(peer, message):
                    return
                msgid = peer.classic.dialect.inbound(msgid)
            rid = rid_of(message)
            if wait:
                raise RateLimited("too many messages", retry_after=math.ceil(wait * 100) / 100)
            check_legal(peer.state, msgid)
            request = check(msgid, message)
            if msgid not in LIGHT or len(frame) >= REQUEST_BYTES:
                peer.bucket.spend(weight(request, len(frame)) - 1)
            answer = self._service.registry[msgid](peer, request)
            if answer is not None:  # None: answered later, as most messages are once stored
                _give(peer, request, answer)
        except Refused as refused:
            peer.refuse(msgid, rid, refused, len(frame))
        except Exception as error:
            peer.refuse(msgid, rid, _fault(peer, msgid, error))

    def _tell_dialect(self, peer: Peer, message: dict[str, Any]) -> bool:
        """Learn from a classic peer's frame how the peer numbers its messages.

        Return False if the frame must have no effect.
        """
        has_effect = peer.guess.hear(message)
        if peer.session is not None:
            self._service.dialects.remember(peer.session)
        return has_effect

    def _flood_wait(self, peer: Peer) -> float:
        """Take one token. Return 0.0, or the seconds until this peer may send again.

        `handle` takes more tokens once it knows the weight of the request.
        """
        limits = self._service.context.config.limits
        if not limits.message_rate:
            return 0.0
        return peer.bucket.take(limits.message_rate, limits.message_burst, time.monotonic())


def _give(peer: Peer, request: Request, answer: dict[str, Any] | Coroutine[Any, Any, Fields]) -> None:
    if isinstance(answer, dict):
        peer.answer(request, answer)
    else:
        peer.inbox.hold()
        spawn(answer).add_done_callback(lambda done: _finish(peer, request, done))


def _finish(peer: Peer, request: Request, done: Future[Any]) -> None:
    peer.inbox.release()
    try:
        _answer(peer, request, done)
    except BaseException as error:
        peer.refuse(request.msgid, request.rid, _fault(peer, request.msgid, error))


def _answer(peer: Peer, request: Request, done: Future[Any]) -> None:
    try:
        answer = done.result()
        if answer is not None:
            peer.answer(request, answer)
    except Refused as refused:
        peer.refuse(request.msgid, request.rid, refused)


def _fault(peer: Peer, msgid: int, error: BaseException) -> Refused:
    """Log a fault of the server with its trace, and return the answer to the request.

    The answer tells the client to retry.
    """
    log.exception("peer.error", error, peer=peer.address, msgid=msgid)
    return Unavailable("the server made a mistake, which it has logged")
