"""ONE_CHAT, GROUP_CHAT, TYPING: from a client to the store, to the recipients, and back to the client."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from forkchat import log
from forkchat.errors import BadRequest, NotMember, Refused, Unavailable
from forkchat.jobs import background
from forkchat.service import payload
from forkchat.service.channels import channel_of
from forkchat.service.context import Context
from forkchat.service.outgoing import Outgoing
from forkchat.service.peer import Peer
from forkchat.service.registry import Answer, Fields, Registry
from forkchat.service.session import Session
from forkchat.wire import msgid as m
from forkchat.wire.chat import encode_body, ephemeral_frame, modern_frame
from forkchat.wire.conversation import Conversation, group_key, pair, parse_key
from forkchat.wire.frames import line
from forkchat.wire.requests import Request

if TYPE_CHECKING:
    from forkchat.store import Decided


#: Conversations for which a session remembers whether the other user's presence may be seen.
_MAX_SEEN = 1000


#: The context of a message that is needed with its outcome.
_Ticket = tuple[Peer, Request, Conversation]
#: The arguments of `Writer.append`.
_Message = tuple[str, tuple[int, ...], int, bytes, bytes, _Ticket]


class Chat:
    def __init__(self, context: Context, registry: Registry):
        self._context = context
        registry.update({m.ONE_CHAT: self.chat, m.GROUP_CHAT: self.chat, m.TYPING: self.typing})
        context.store.writer.on_decided = self._decided

    def chat(self, peer: Peer, request: Request) -> Answer:
        """Hand the message to the store; `_decided` continues when its outcome is known.

        An ephemeral message is only published.
        """
        session = peer.session
        assert session is not None
        context, user = self._context, session.user
        conv, key = _conversation(user, request)
        body = encode_body(session.name, request["msg"], request.extra, context.config.limits.text)
        if key.group:
            peer.spend(context.delivery.weight(conv))
        if request.get("ephemeral"):
            frame = ephemeral_frame(conv, user, time.time_ns() // 1_000_000, body)
            self._publish_ephemeral(peer, request, conv, key, frame)
            return None
        # A message without a cid gets a random one, so that a commit of unknown outcome can be retried.
        cid = (request["cid"] if "cid" in request else secrets.token_hex(16)).encode()
        if key.users and (session.pairs is None or conv not in session.pairs):
            return self._begin(session, (conv, key.users, user, cid, body, (peer, request, key)))
        context.store.writer.append(conv, key.users, user, cid, body, (peer, request, key))
        return None

    async def _begin(self, session: Session, message: _Message) -> Fields:
        """Hand over the first message of a session to another user.

        If it begins their conversation, count that first, because a conversation is permanent. Raises
        RateLimited if the user begins too many.
        """
        conv = message[0]
        context, user = self._context, session.user
        try:
            if await context.store.conversations.standing((user, conv)) is None:
                await context.rates.count(user, "begun", context.config.limits.begin_rate)
        except Unavailable:
            log.debug("chat.uncounted", user=user)  # a limit is not worth a message: it may still be stored
        if session.ended is None:
            context.delivery.enter(session, conv)
        context.store.writer.append(*message)
        return None

    def _decided(self, decided: Decided) -> None:
        """Publish stored messages, deliver them here, then acknowledge them (in this order: HACKING.md)."""
        try:
            self._tell_others(decided)
        except Exception as error:  # the messages are stored: reconciliation finds them
            log.exception("chat.untold", error)
        cursors = self._context.store.cursors
        for draft, outcome in decided:
            peer, request, _ = draft.ticket
            try:
                if isinstance(outcome, Refused):
                    peer.refuse(request.msgid, request.rid, outcome)
                    continue
                cursors.acknowledge(draft.sender, draft.conv, outcome.seq)
                fields = {"conv": draft.conv, "seq": outcome.seq, "ts": outcome.ts}
                if outcome.is_dup:
                    fields["dup"] = True
                peer.answer(request, fields)
            except Exception as error:  # the batch holds outcomes for other peers too
                log.exception("chat.unacknowledged", error, user=draft.sender)
                peer.close("error")

    def _tell_others(self, decided: Decided) -> None:
        """Publish and deliver the stored messages, with one publish per channel."""
        delivery = self._context.delivery
        published: dict[str, list[bytes]] = defaultdict(list)
        stored: dict[str, list[Outgoing]] = defaultdict(list)
        doubles: list[tuple[str, int]] = []
        for draft, outcome in decided:
            if isinstance(outcome, Refused):
                continue
            conv, sender = draft.conv, draft.sender
            seq, ts, version, is_dup = outcome
            _, _, key = draft.ticket
            channel = published[channel_of(conv, key, sender)]
            if is_dup:
                # The worker that stored the message may have died before publishing it.
                channel.append(payload.look(conv, seq))
                doubles.append((conv, seq))
            else:
                frame = modern_frame(conv, seq, sender, draft.cid, ts, draft.body)
                channel.append(payload.message(conv, seq, sender, version, ts, frame))
                stored[conv].append(Outgoing(conv, seq, sender, frame, version, ts))
        for name, parts in published.items():
            self._context.router.publish_surely(name, delivery.mark + b"".join(parts))
        for conv, outs in stored.items():
            delivery.feed(conv, outs)
        for conv, seq in doubles:
            delivery.note(conv, seq)

    def typing(self, peer: Peer, request: Request) -> Fields:
        session = peer.session
        assert session is not None
        conv = request["conv"]
        key = parse_key(conv)
        version = _check_part(session, key)
        if key.group:
            peer.spend(self._context.delivery.weight(conv))
        frame = line({"msgid": m.TYPING, "conv": conv, "id": session.user, "name": session.name})
        channel = channel_of(conv, key, session.user)
        self._context.router.publish(channel, payload.typing(conv, session.user, version, frame))
        return {}

    def _publish_ephemeral(
        self, peer: Peer, request: Request, conv: str, key: Conversation, frame: bytes
    ) -> None:
        """Publish the message without storing it: it has no seq and no history."""
        session = peer.session
        assert session is not None
        version = _check_part(session, key)
        channel = channel_of(conv, key, session.user)
        done = partial(self._published, session, request, conv, key)
        self._context.router.publish(channel, payload.ephemeral(conv, session.user, version, frame), done)

    def _published(
        self, session: Session, request: Request, conv: str, key: Conversation, receivers: object
    ) -> None:
        """Answer with the number of workers that received the message.

        A user's presence is only for the users who have added them. The number is left out for a sender who
        may not see it.
        """
        peer = session.peer
        if not isinstance(receivers, int):  # an error, or a reply to PUBLISH that is no number
            peer.refuse(request.msgid, request.rid, Unavailable(str(receivers)))
            return
        may_see = key.group or (session.may_see.get(conv) if session.may_see else None)
        if may_see is None:
            other = key.other(session.user)
            background(self._answer_seen(session, request, conv, other, receivers), "chat.ephemeral")
        else:
            peer.answer(request, {"conv": conv, "receivers": receivers} if may_see else {"conv": conv})

    async def _answer_seen(
        self, session: Session, request: Request, conv: str, other: int, receivers: int
    ) -> None:
        may_see = False
        try:
            may_see = await self._context.store.friends.has((session.user, other))
            session.may_see = session.may_see or {}
            if len(session.may_see) < _MAX_SEEN:
                session.may_see[conv] = may_see
        finally:
            fields = {"conv": conv, "receivers": receivers} if may_see else {"conv": conv}
            session.peer.answer(request, fields)


def _check_part(session: Session, key: Conversation) -> int:
    """Return the members' version as of which the user takes part in the conversation, 0 for a pair.

    Raises NotMember.
    """
    if key.group in session.groups:
        return session.groups[key.group]
    if session.user in key.users:
        return 0
    raise NotMember("you are not in this conversation")


def _conversation(sender: int, request: Request) -> tuple[str, Conversation]:
    if request.msgid == m.GROUP_CHAT:
        group = request["groupid"]
        return group_key(group), Conversation((), group)
    to = request.get("toid")
    if to is None:
        raise BadRequest("toid is missing")
    if to == sender:
        raise BadRequest("this is yourself")
    return pair(sender, to)
