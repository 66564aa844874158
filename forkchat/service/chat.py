"""ONE_CHAT, GROUP_CHAT, TYPING: from a client to the store, to the others, and back to the client."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from forkchat.errors import BadRequest, NotMember, Refused
from forkchat.runtime import Future
from forkchat.service import payload
from forkchat.service.channels import channel_of
from forkchat.service.context import Context
from forkchat.service.outgoing import Outgoing
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
from forkchat.service.session import Session
from forkchat.wire import msgid as m
from forkchat.wire.chat import ChatMessage, encode_body, ephemeral_frame, modern_frame
from forkchat.wire.conversation import group_key, pair_key, parse_key
from forkchat.wire.frames import line
from forkchat.wire.requests import Request

if TYPE_CHECKING:
    from forkchat.store import Outcome


class Chat:
    def __init__(self, context: Context, registry: Registry):
        self._context = context
        registry.add({m.ONE_CHAT: self.chat, m.GROUP_CHAT: self.chat, m.TYPING: self.typing})

    def chat(self, peer: Peer, request: Request) -> Future[Fields]:
        """Store the message, then publish it, then acknowledge it (in this order: HACKING.md)."""
        session = peer.session
        assert session is not None
        conv = _conversation(session, request)
        body = encode_body(session.name, request["msg"], request.extra, self._context.config.limits.text)
        if request.get("ephemeral"):
            return self._publish_ephemeral(
                session, conv, ephemeral_frame(conv, session.user, time.time_ns() // 1_000_000, body)
            )
        # A message without one gets a random cid, so that a commit of unknown outcome can be repeated.
        cid = request.get("cid", "").encode() or secrets.token_hex(16).encode()
        answer: Future[Fields] = Future()
        done = partial(self._stored, session, conv, cid, body, answer)
        self._context.store.writer.append(conv, parse_key(conv).users, session.user, cid, body, done)
        return answer

    def _stored(
        self,
        session: Session,
        conv: str,
        cid: bytes,
        body: bytes,
        answer: Future[Fields],
        outcome: Outcome | Refused,
    ) -> None:
        if isinstance(outcome, Refused):
            answer.set_exception(outcome)
            return
        context, sender = self._context, session.user
        seq, ts, version, is_dup = outcome
        channel = channel_of(conv, parse_key(conv), sender)
        fields = {"conv": conv, "seq": seq, "ts": ts}
        if is_dup:
            # The worker that stored it may have died before it published it.
            context.router.publish_surely(channel, payload.look(conv, seq))
            context.delivery.note(conv, seq)
            fields["dup"] = True
        else:
            out = Outgoing(conv, seq, sender, modern_frame(ChatMessage(conv, seq, sender, cid, ts, body)))
            context.router.publish_surely(channel, payload.message(conv, seq, sender, version, out.frame))
            context.delivery.feed(out, version)
        context.store.cursors.acknowledge(sender, conv, seq)
        answer.set_result(fields)

    def typing(self, peer: Peer, request: Request) -> Fields:
        session = peer.session
        assert session is not None
        conv = request["conv"]
        self._check_part(session, conv)
        frame = line({"msgid": m.TYPING, "conv": conv, "id": session.user, "name": session.name})
        channel = channel_of(conv, parse_key(conv), session.user)
        self._context.router.publish(channel, payload.event(frame, session.user))
        return {}

    def _publish_ephemeral(self, session: Session, conv: str, frame: bytes) -> Future[Fields]:
        """Published only: no seq, no history. The answer counts the workers that took it."""
        self._check_part(session, conv)
        channel = channel_of(conv, parse_key(conv), session.user)
        answer: Future[Fields] = Future()
        counted = self._context.router.publish_counted(channel, payload.ephemeral(conv, session.user, frame))
        counted.add_done_callback(_pass_on(answer, lambda count: {"conv": conv, "receivers": count}))
        return answer

    def _check_part(self, session: Session, conv: str) -> None:
        """Raises NotMember unless the user has part in the conversation."""
        key = parse_key(conv)
        if key.group not in session.groups and session.user not in key.users:
            raise NotMember("you are not in this conversation")


def _conversation(session: Session, request: Request) -> str:
    if request.msgid == m.GROUP_CHAT:
        return group_key(request["groupid"])
    to = request.get("toid")
    if to is None:
        raise BadRequest("toid is missing")
    if to == session.user:
        raise BadRequest("this is yourself")
    return pair_key(session.user, to)


def _pass_on(answer: Future[Fields], to_fields: Callable[[Any], Fields]) -> Callable[[Future[Any]], None]:
    def done(future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(to_fields(future.result()))

    return done
