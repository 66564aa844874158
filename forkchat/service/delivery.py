"""Delivery on one worker: from what is published, committed here or read from the store, to sessions.

In order and without gaps per conversation: deliver `last + 1`, hold back what is early, drop what
was had, and read from MySQL what does not come within a moment.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from forkchat import log
from forkchat.errors import Unavailable
from forkchat.runtime import Loop
from forkchat.service import payload
from forkchat.service.background import background
from forkchat.service.outgoing import Outgoing
from forkchat.service.session import Session
from forkchat.service.stream import Stream
from forkchat.wire.chat import ChatMessage, modern_frame
from forkchat.wire.conversation import group_key, parse_key

if TYPE_CHECKING:
    from forkchat.bus.router import Router
    from forkchat.store import Located, Standing, Store

#: Seconds: what is missing may still be on its way; before reading is tried again.
_MOMENT, _RETRY = 0.1, 0.5
#: Messages read at once to fill a gap.
_FILL = 200


class Delivery:
    """The sessions of this worker and the streams they follow.

    Attaching a user (design, "Attach"), the caller MUST:
    1. hold the user's and the groups' channels and await the confirmations, then
    2. `attach` the session, so that from here on nothing passes it, then
    3. check that the claim is still its own, then
    4. read the standings, and pass them to `settle`, then
    5. answer the login, then `Session.open`.
    On any failure: `detach`.
    """

    def __init__(self, loop: Loop, store: Store, router: Router):
        self._loop = loop
        self._store = store
        self._router = router
        self.sessions: dict[int, Session] = {}
        self.streams: dict[str, Stream] = {}
        #: What a batch begins with that is published here, and delivered here without coming back.
        self.mark = payload.batch(secrets.token_hex(4))
        self.on_regress: Callable[[str], object] = lambda conv: None

    # Sessions.

    def attach(self, session: Session) -> None:
        self.sessions[session.user] = session
        for group in session.groups:
            self.stream(group_key(group)).followers[session.user] = session

    def settle(self, session: Session, standings: list[Standing]) -> None:
        """Start the session where its conversations stood when they were read, after `attach`."""
        for standing in standings:
            stream = self.streams.get(standing.conv)
            if stream is not None and not stream.is_located and not stream.is_locating:
                stream.start(standing.last)
            if standing.recv < standing.last or stream is None or stream.last != standing.last:
                session.start_at(standing.conv, standing.last)

    def join(self, session: Session, group: int, last: int, version: int) -> None:
        """The session's user is a member from after `last` on, as of that version; the channel is held."""
        conv = group_key(group)
        session.start_at(conv, last)
        session.groups[group] = version
        stream = self.stream(conv)
        stream.followers[session.user] = session
        if not stream.is_locating:
            stream.start(last)

    def leave(self, session: Session, group: int) -> None:
        if group in session.groups:
            del session.groups[group]
            self._router.release(group_key(group))
            self._unfollow(group_key(group), session)

    def detach(self, session: Session) -> bool:
        """Deliver nothing more to it; False if it was not attached, or has been replaced here."""
        for group in list(session.groups):
            self.leave(session, group)
        for conv in session.pairs or ():
            self._unfollow(conv, session)
        session.pairs = None
        if self.sessions.get(session.user) is not session:
            return False
        del self.sessions[session.user]
        return True

    def _unfollow(self, conv: str, session: Session) -> None:
        stream = self.streams.get(conv)
        if stream is not None and stream.followers.get(session.user) is session:
            del stream.followers[session.user]
            if not stream.followers:
                del self.streams[conv]

    def stream(self, conv: str) -> Stream:
        """The conversation's stream, made if need be; a pair's is followed by those who are here."""
        stream = self.streams.get(conv)
        if stream is None:
            stream = self.streams[conv] = Stream(conv)
        for user in stream.key.users:
            session = self.sessions.get(user)
            if session is not None and stream.followers.get(user) is not session:
                stream.followers[user] = session
                session.pairs = session.pairs or set()
                session.pairs.add(conv)
        return stream

    # Messages.

    def feed(self, conv: str, outs: list[Outgoing]) -> None:
        """Messages of a conversation, in its order, that were published or committed here.

        Never raises: others' messages come in the same batch. Reconciliation finds what is not delivered.
        """
        try:
            self._feed(conv, outs)
        except Exception as error:
            log.exception("delivery.error", error, conv=conv)

    def _feed(self, conv: str, outs: list[Outgoing]) -> None:
        stream = self.stream(conv)
        if not stream.followers:
            del self.streams[conv]
            return
        if not stream.feed(outs):
            self._locate(stream)
        elif stream.known > stream.last:
            self._expect(stream, _MOMENT)

    def note(self, conv: str, last: int) -> None:
        """Messages up to `last` are stored: what of them does not come is read."""
        stream = self.stream(conv)
        if not stream.followers:
            del self.streams[conv]
        elif not stream.is_located:
            self._locate(stream)
        elif last > stream.last:
            stream.note(last)
            self._expect(stream, _MOMENT)

    def members_changed(self, conv: str) -> None:
        stream = self.streams.get(conv)
        if stream is not None:
            self._locate(stream)

    def on_message(self, channel: str, data: bytes) -> None:
        """What the router received on a channel."""
        if data.startswith(self.mark):
            return
        messages: dict[str, list[Outgoing]] = {}
        looks: list[tuple[str, int]] = []
        for words, frame in payload.parts(data):
            kind = words[0]
            if kind == b"M":
                conv = words[1].decode()
                out = Outgoing(conv, int(words[2]), int(words[3]), frame, int(words[4]))
                messages.setdefault(conv, []).append(out)
            elif kind == b"L":
                looks.append((words[1].decode(), int(words[2])))
            elif kind == b"V":
                self.members_changed(words[1].decode())
            elif kind == b"E":
                ephemeral = [Outgoing(words[1].decode(), 0, int(words[2]), frame)]
                for session in self._followers(channel):
                    session.deliver(ephemeral)
            elif kind == b"F":
                but = int(words[1])
                for session in self._followers(channel):
                    if session.user != but:
                        session.push(frame)
        for conv, outs in messages.items():
            self.feed(conv, outs)
        for conv, last in looks:
            self.note(conv, last)

    def _followers(self, channel: str) -> list[Session]:
        """The local sessions that a channel is for."""
        if channel.startswith("u"):
            session = self.sessions.get(int(channel[1:]))
            return [session] if session else []
        stream = self.streams.get(channel)
        return list(stream.followers.values()) if stream else []

    # What is missing.

    def _locate(self, stream: Stream) -> None:
        """Read where the conversation and its local members stand."""
        if not stream.is_locating:
            stream.is_locating = True
            background(self._locate_now(stream), "delivery.locate")

    async def _locate_now(self, stream: Stream) -> None:
        asked = dict(stream.followers)
        try:
            found = await self._store.conversations.locate((stream.conv, tuple(asked)))
        except Unavailable:
            stream.is_locating = False
            self._loop.call_later(_RETRY, self._retry_locate, stream)
            return
        if self.streams.get(stream.conv) is not stream:
            return
        if found is not None:
            self._drop_removed(stream, asked, found)
            if not stream.is_located:
                stream.start(self._position(stream, asked, found))
        if not stream.located(found.last if found else 0, found.version if found else 0):
            self._loop.call_later(_MOMENT, self._retry_locate, stream)
        if stream.known > stream.last:
            await self._fill(stream)

    def _retry_locate(self, stream: Stream) -> None:
        if self.streams.get(stream.conv) is stream:
            self._locate(stream)

    def _drop_removed(self, stream: Stream, asked: dict[int, Session], found: Located) -> None:
        """Those who are no members, unless they have joined since that was read."""
        group = stream.key.group
        for user, session in asked.items():
            if user not in found.members and session.groups.get(group, 0) <= found.version:
                self.leave(session, group)

    def _position(self, stream: Stream, asked: dict[int, Session], found: Located) -> int:
        """Up to where every local follower has the conversation; those ahead of it remember theirs."""
        positions = {}
        for user, session in asked.items():
            confirmed = max(found.members.get(user, 0), self._store.cursors.confirmed(user, stream.conv))
            positions[user] = max(confirmed, session.sent.get(stream.conv, 0))
        start = min(positions.values(), default=found.last)
        for user, session in asked.items():
            if positions[user] > start:
                session.start_at(stream.conv, positions[user])
        return start

    def _expect(self, stream: Stream, seconds: float) -> None:
        """Something is missing: read it if it does not come in time."""
        if stream.timer is None:
            stream.timer = self._loop.call_later(seconds, self._fill_late, stream)

    def _fill_late(self, stream: Stream) -> None:
        stream.timer = None
        if stream.gap() is not None and self.streams.get(stream.conv) is stream:
            background(self._fill(stream), "delivery.fill")

    async def _fill(self, stream: Stream) -> None:
        """Read what is missing, page by page, and deliver it."""
        while (missing := stream.gap()) is not None and self.streams.get(stream.conv) is stream:
            try:
                gap = await self._store.messages.between(stream.conv, *missing, _FILL)
            except Unavailable:
                self._expect(stream, _RETRY)
                return
            if gap.first > stream.last + 1:
                stream.skip_to(gap.first)
            elif not gap.rows and gap.last < stream.known:
                self.on_regress(stream.conv)
                return
            log.debug("delivery.filled", conv=stream.conv, messages=len(gap.rows))
            outs = [
                Outgoing(row.conv, row.seq, row.sender, modern_frame(*row), gap.version, is_fill=True)
                for row in itertools.starmap(ChatMessage, gap.rows)
            ]
            if outs and not stream.feed(outs):
                self._locate(stream)
                return

    async def reconcile(self, standings: list[Standing]) -> None:
        """Deliver what of these was not sent: the conversations of local users with something unconfirmed."""
        for standing in standings:
            if standing.user in self.sessions:
                self.note(standing.conv, standing.last)

    def is_local(self, conv: str) -> bool:
        """Whether anyone here has part in the conversation."""
        if conv in self.streams:
            return True
        return any(user in self.sessions for user in parse_key(conv).users)
