"""SYNC, FETCH, RECV, READ: what a modern client missed, and its cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from forkchat.errors import BadRequest, NotMember
from forkchat.service import payload
from forkchat.service.channels import user_channel
from forkchat.service.context import Context
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
from forkchat.service.session import Session
from forkchat.wire import msgid as m
from forkchat.wire.chat import modern_frame
from forkchat.wire.conversation import parse_key
from forkchat.wire.frames import line
from forkchat.wire.requests import Request

if TYPE_CHECKING:
    from forkchat.store import Standing

#: Messages on a page of FETCH at most. HELLO's answer names this limit.
PAGE = 200
#: Conversations for which a session remembers the last number that FETCH returned.
_MAX_FETCHED = 1000


def conv_fields(standing: Standing) -> dict[str, Any]:
    """Return a conversation as `convs` lists it."""
    return {
        "conv": standing.conv,
        "last": standing.last,
        "recv": standing.recv,
        "read": standing.read,
        "first": standing.first,
    }


def is_open(standing: Standing) -> bool:
    """Return whether the conversation has unconfirmed or unread messages."""
    return standing.recv < standing.last or standing.read < standing.last


class History:
    def __init__(self, context: Context, registry: Registry):
        self._context = context
        registry.update({m.SYNC: self.sync, m.FETCH: self.fetch, m.RECV: self.recv, m.READ: self.read})

    async def sync(self, peer: Peer, request: Request) -> Fields:
        """Return a page of all the user's conversations, in key order, from `after` on."""
        user = _session(peer).user
        standings, has_more = await self._context.store.conversations.page(user, request.get("after", ""))
        return {"convs": [conv_fields(s) for s in standings], "more": has_more}

    async def fetch(self, peer: Peer, request: Request) -> Fields:
        """Return a page of messages above `after` or below `before`. Without either, return the newest.

        Raises BadRequest if both are given.
        """
        after, before, conv = request.get("after"), request.get("before"), request["conv"]
        if after is not None and before is not None:
            raise BadRequest("after and before exclude each other")
        limit = max(1, min(request.get("limit", PAGE), PAGE))
        session = _session(peer)
        page = await self._context.store.messages.page(session.user, conv, after, before, limit)
        if page.last > self._context.delivery.given(session, conv):
            session.fetched = session.fetched or {}
            if len(session.fetched) >= _MAX_FETCHED:
                session.fetched.clear()
            session.fetched[conv] = page.last
        frames = [orjson.Fragment(modern_frame(*row)[:-1]) for row in page.rows]
        return {"conv": conv, "first": page.first, "last": page.last, "msgs": frames, "more": page.has_more}

    def recv(self, peer: Peer, request: Request) -> Fields:
        """Confirm messages, but only those that were given to the session. Ignore the others."""
        session, context = _session(peer), self._context
        for conv, seq in request["c"].items():
            confirmed = min(seq, context.delivery.given(session, conv))
            if confirmed:
                context.store.cursors.confirm(session.user, conv, confirmed)
        return None

    async def read(self, peer: Peer, request: Request) -> Fields:
        """Mark messages as read, which confirms them too. In a pair, send a receipt to the other user.

        Numbers above the last stored message are lowered to it. Raises NotMember if the user is not in the
        conversation.
        """
        session = _session(peer)
        conv = request["conv"]
        key = parse_key(conv)
        standing = await self._context.store.conversations.standing((session.user, conv))
        if standing is None and session.user not in key.users:
            raise NotMember("you are not in this conversation")
        seq = min(request["seq"], standing.last) if standing else 0
        if not seq:
            return {}
        self._context.store.cursors.confirm(session.user, conv, seq)
        self._context.store.cursors.read(session.user, conv, seq)
        if session.user in key.users:
            receipt = line({"msgid": m.RECEIPT, "conv": conv, "id": session.user, "seq": seq})
            self._context.router.publish(user_channel(key.other(session.user)), payload.event(receipt))
        return {}

    async def catch_up(self, session: Session) -> None:
        """Resume deliveries to a session that has drained, and tell it where its conversations stand."""
        if session.ended is not None or not session.is_lagging:
            return
        session.resume()
        try:
            standings = await self._context.store.conversations.of(session.user)
        except BaseException:
            session.lag()
            raise
        convs = [conv_fields(s) for s in standings if is_open(s)]
        session.push(line({"msgid": m.CONVS, "convs": convs, "more": False}))


def _session(peer: Peer) -> Session:
    assert peer.session is not None
    return peer.session
