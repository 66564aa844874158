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
from forkchat.jobs import Job, background
from forkchat.runtime import Future, Loop, sleep
from forkchat.service import payload
from forkchat.service.channels import user_channel
from forkchat.service.outgoing import Outgoing
from forkchat.service.session import Session
from forkchat.service.stream import Stream
from forkchat.wire.chat import ChatMessage, modern_frame
from forkchat.wire.conversation import group_key, parse_key
from forkchat.wire.weights import REACHED

if TYPE_CHECKING:
    from forkchat.bus.router import Router
    from forkchat.store import Located, Standing, Store

#: Seconds: what is missing may still be on its way; before it is read again, where a read gave nothing.
_MOMENT, _RETRY = 0.1, 0.5
#: One-to-one conversations that a session follows at once: 2.5 KiB each. The next message in one that it has
#: left begins its stream anew.
_MAX_PAIRS = 1000
#: Messages read at once to fill a gap.
_FILL = 200


class Delivery:
    """The sessions of this worker and the streams they follow.

    Attaching a user (design, "Attach"), the caller MUST:
    1. `follow` the user's and the groups' channels and await the confirmations, then
    2. `attach` the session, so that from here on nothing passes it, then
    3. check that the claim is still its own, then
    4. read the standings, and pass them to `settle`, and begin again where it says so, then
    5. answer the login, then `Session.open`.
    At the end, and on any failure: `detach`.

    `on_suspect(conv, seq, ts)` is called when MySQL may have lost the message of that number and time.
    """

    def __init__(self, loop: Loop, store: Store, router: Router):
        self._loop = loop
        self._store = store
        self._router = router
        self.sessions: dict[int, Session] = {}
        self.streams: dict[str, Stream] = {}
        #: What a batch begins with that is published here, and delivered here without coming back.
        self.mark = payload.batch(secrets.token_hex(4))
        self.on_suspect: Callable[[str, int, int], object] = lambda conv, seq, ts: None

    # Sessions.

    def follow(self, session: Session, groups: list[int]) -> list[Future[None]]:
        """Hold the user's own channel and those of the groups, until `detach`; when each is confirmed."""
        confirmations = []
        if not session.is_listening:
            session.is_listening = True
            confirmations.append(self._router.hold(user_channel(session.user)))
        for group in groups:
            if group not in session.groups:
                session.groups[group] = 0
                confirmations.append(self._router.hold(group_key(group)))
        return confirmations

    def attach(self, session: Session) -> None:
        self.sessions[session.user] = session
        for group in session.groups:
            self.stream(group_key(group)).followers[session.user] = session

    def settle(self, session: Session, standings: list[Standing]) -> set[int]:
        """Start the session where its conversations stood when they were read, after `attach`.

        It leaves the groups that its user is no member of any more. Returns the groups that they have joined
        since, which must be followed first: then nothing is started.
        """
        members = {parse_key(standing.conv).group for standing in standings} - {0}
        if joined := members - session.groups.keys():
            return joined
        for group in session.groups.keys() - members:
            self.leave(session, group)
        for standing in standings:
            self._settle(session, standing)
        return set()

    def _settle(self, session: Session, standing: Standing) -> None:
        stream = self.streams.get(standing.conv)
        if stream is not None and not stream.is_located and stream.job is None:
            stream.start(standing.last, standing.version)
        if standing.recv < standing.last or stream is None or stream.last != standing.last:
            session.start_at(standing.conv, standing.last)
        group = parse_key(standing.conv).group
        if group:
            session.groups[group] = standing.version
            if stream is not None and stream.version > standing.version:
                self.members_changed(standing.conv)  # nobody asked about this one when they were read

    def join(self, session: Session, group: int, last: int, version: int) -> None:
        """The session's user is a member from after `last` on, as of that version; the channel is held."""
        conv = group_key(group)
        session.start_at(conv, last)
        session.groups[group] = version
        stream = self.stream(conv)
        stream.followers[session.user] = session
        if stream.job is None:
            stream.start(last, version)
        if stream.version > version:
            self.members_changed(conv)

    def joined(self, session: Session, group: int, standing: Standing | None) -> None:
        """How the session's user stands in a group, read after `join`; None: they have been removed since."""
        if standing is None:
            self.leave(session, group)
        else:
            session.start_at(standing.conv, standing.first - 1)
            session.groups[group] = max(session.groups[group], standing.version)
            self.note(standing.conv, standing.last)

    def leave(self, session: Session, group: int) -> None:
        if group in session.groups:
            del session.groups[group]
            self._router.release(group_key(group))
            self._unfollow(group_key(group), session)

    def detach(self, session: Session) -> None:
        """Deliver nothing more to it, and give back all that it holds here."""
        for group in list(session.groups):
            self.leave(session, group)
        for conv in session.pairs or ():
            self._unfollow(conv, session)
        session.pairs = None
        if session.is_listening:
            session.is_listening = False
            self._router.release(user_channel(session.user))
        if self.sessions.get(session.user) is session:
            del self.sessions[session.user]

    def given(self, session: Session, conv: str) -> int:
        """The number up to which the session may have been given the conversation: it can confirm no more
        than that. 0 for a conversation that is not its own, or of which it was given nothing."""
        stream = self.streams.get(conv)
        live = stream.last if stream is not None and session.user in stream.followers else 0
        return max(live, session.sent.get(conv, 0), (session.fetched or {}).get(conv, 0))

    def weight(self, conv: str) -> int:
        """What writing to all who follow the conversation here weighs: others' workers have as many."""
        stream = self.streams.get(conv)
        return len(stream.followers) // REACHED if stream is not None else 0

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
            stream = self.streams[conv] = Stream(conv, self._suspect)
        for user in stream.key.users:
            session = self.sessions.get(user)
            if session is not None and stream.followers.get(user) is not session:
                stream.followers[user] = session
                self.enter(session, conv)
        return stream

    def enter(self, session: Session, conv: str) -> None:
        """Count a pair among those of the session; the oldest gives way to one too many."""
        session.pairs = session.pairs or {}
        session.pairs[conv] = None
        if len(session.pairs) > _MAX_PAIRS:
            oldest = next(iter(session.pairs))
            del session.pairs[oldest]
            self._unfollow(oldest, session)

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
            self._read(stream)
        elif stream.known > stream.last:
            self._expect(stream, _MOMENT)

    def note(self, conv: str, last: int) -> None:
        """Messages up to `last` are stored: what of them does not come is read."""
        stream = self.stream(conv)
        if not stream.followers:
            del self.streams[conv]
        elif not stream.is_located:
            self._read(stream)
        elif last > stream.last:
            stream.note(last)
            self._expect(stream, _MOMENT)

    def members_changed(self, conv: str) -> None:
        """Read the members anew. What comes meanwhile under a later version waits for that."""
        stream = self.streams.get(conv)
        if stream is not None:
            stream.is_stale = True
            self._read(stream)

    def look(self, conv: str, last: int, version: int) -> None:
        """The conversation stands there: hold what is delivered here against it."""
        stream = self.streams.get(conv)
        if stream is not None and stream.version and version > stream.version:
            self.members_changed(conv)
        if self.is_local(conv):
            self.note(conv, last)

    def check(self, lasts: dict[str, int], before: dict[str, int]) -> None:
        """Suspect the conversations that end before what had been delivered of them when the read began."""
        for conv, last in lasts.items():
            if last < before.get(conv, 0):
                self._suspect(conv, before[conv])

    def _suspect(self, conv: str, seq: int) -> None:
        stream = self.streams.get(conv)
        ts = stream.ts_of(seq) if stream is not None else 0
        if ts:
            self.on_suspect(conv, seq, ts)

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
                out = Outgoing(conv, int(words[2]), int(words[3]), frame, int(words[4]), int(words[5]))
                messages.setdefault(conv, []).append(out)
            elif kind == b"L":
                looks.append((words[1].decode(), int(words[2])))
            elif kind == b"V":
                self.members_changed(words[1].decode())
            elif kind in (b"E", b"T"):
                conv, sender, version = words[1].decode(), int(words[2]), int(words[3])
                self._pass_on(channel, Outgoing(conv, 0, sender, frame, version), is_typing=kind == b"T")
            elif kind == b"F":
                self._push(channel, frame, but=int(words[1]))
        for conv, outs in messages.items():
            self.feed(conv, outs)
        for conv, last in looks:
            self.note(conv, last)

    def _pass_on(self, channel: str, out: Outgoing, is_typing: bool) -> None:
        """What is not stored. Where the sender was a member as of an earlier version, they may be one no
        more."""
        stream = self.streams.get(out.conv) if out.version else None  # a pair has no versions
        if stream is not None and out.version < stream.version:
            background(self._pass_on_late(channel, out, is_typing), "delivery.pass_on")
        elif is_typing:
            for session in self._followers(channel):
                if session.user != out.sender and not session.peer.is_over:
                    session.push(out.frame)
        else:
            for session in self._followers(channel):
                session.deliver([out])

    async def _pass_on_late(self, channel: str, out: Outgoing, is_typing: bool) -> None:
        standing = await self._store.conversations.standing((out.sender, out.conv))
        stream = self.streams.get(out.conv)
        if standing is not None and stream is not None:
            out.version = max(standing.version, stream.version)
            self._pass_on(channel, out, is_typing)

    def _push(self, channel: str, frame: bytes, but: int) -> None:
        for session in self._followers(channel):
            if session.user != but:
                session.push(frame)

    def _followers(self, channel: str) -> list[Session]:
        """The local sessions that a channel is for."""
        if channel.startswith("u"):
            session = self.sessions.get(int(channel[1:]))
            return [session] if session else []
        stream = self.streams.get(channel)
        return list(stream.followers.values()) if stream else []

    # What is missing.

    def _read(self, stream: Stream) -> None:
        """Have read where the conversation and its members stand, if that is not known, and what is
        missing."""
        if stream.job is None:
            stream.job = Job(self._loop, "delivery.read", lambda: self._read_now(stream))
        stream.job.want()

    async def _read_now(self, stream: Stream) -> None:
        if stream.is_stale or not stream.is_located:
            while self.streams.get(stream.conv) is stream and (stream.is_stale or not stream.is_located):
                if not await self._locate(stream):
                    await sleep(self._loop, _MOMENT)
            if stream.gap() is not None:
                self._expect(stream, _MOMENT)  # what was stored just now may be on its way
            return
        while self.streams.get(stream.conv) is stream and (missing := stream.gap()) is not None:
            if not await self._fill(stream, *missing):
                return

    async def _locate(self, stream: Stream) -> bool:
        """Read where the conversation and its local members stand; False if that was not enough. Raises
        Unavailable."""
        asked = dict(stream.followers)
        stream.is_stale = False  # what changes from now on may not be in what is read
        is_known = False
        try:
            found = await self._store.conversations.locate((stream.conv, tuple(asked)))
            if found is None:  # nor may it be for long: the next look is a retry, with its backoff
                raise Unavailable(f"MySQL has no conversation {stream.conv} yet")
            if self.streams.get(stream.conv) is stream:
                is_known = self._place(stream, asked, found)
        finally:
            if not is_known:
                stream.is_stale = True
        return is_known

    def _place(self, stream: Stream, asked: dict[int, Session], found: Located) -> bool:
        """Go on from what was read; False if that was not enough."""
        if stream.key.group:
            self._verify_members(stream, asked, found)
            if stream.followers.keys() - asked.keys():  # they came while it was read
                stream.is_stale = True
        if not stream.is_located:
            stream.start(self._position(stream, asked, found))
        return stream.located(found.last, found.version)

    def _verify_members(self, stream: Stream, asked: dict[int, Session], found: Located) -> None:
        """Drop those who are no members, unless they have joined since that was read. Who was out in between
        is given nothing from that time."""
        group = stream.key.group
        for user, session in asked.items():
            if user in found.members:
                if group in session.groups:
                    session.groups[group] = max(session.groups[group], found.version)
                    first, _ = found.members[user]
                    if first > stream.last + 1:
                        session.start_at(stream.conv, first - 1)
            elif session.groups.get(group, 0) <= found.version:
                self.leave(session, group)

    def _position(self, stream: Stream, asked: dict[int, Session], found: Located) -> int:
        """Up to where every local follower has the conversation; those ahead of it remember theirs."""
        positions = {}
        for user, session in asked.items():
            _, recv = found.members.get(user, (0, 0))
            confirmed = max(recv, self._store.cursors.confirmed(user, stream.conv))
            positions[user] = min(found.last, max(confirmed, session.sent.get(stream.conv, 0)))
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
            self._read(stream)

    async def _fill(self, stream: Stream, after: int, upto: int) -> bool:
        """Read a page of what is missing and deliver it; False if it cannot be had for now."""
        gap = await self._store.messages.between(stream.conv, after, upto, _FILL)
        if gap.first > stream.last + 1:
            stream.skip_to(gap.first)
            return True
        if not gap.rows:
            if gap.last < stream.last:
                self._suspect(stream.conv, stream.last)
            self._expect(stream, _RETRY)
            return False
        log.debug("delivery.filled", conv=stream.conv, messages=len(gap.rows))
        outs = [
            Outgoing(row.conv, row.seq, row.sender, modern_frame(*row), gap.version, row.ts, is_fill=True)
            for row in itertools.starmap(ChatMessage, gap.rows)
        ]
        if not stream.feed(outs):
            self._read(stream)
            return False
        return True

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
