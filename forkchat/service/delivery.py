"""Delivery on one worker: to sessions, from what is published, committed here or read from the store.

Each conversation is delivered in order and without gaps. Message `last + 1` is delivered, early messages are
held back, and duplicates are dropped. Messages that do not come within a moment are read from MySQL.
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

#: Seconds that a missing message may still be on its way. It is read after that.
#: Seconds before it is read again, if a read returned nothing.
_MOMENT, _RETRY = 0.1, 0.5
#: One-to-one conversations that a session follows at once, because each takes 2.5 KiB.
#: The next message in a conversation that it has dropped begins that stream again.
_MAX_PAIRS = 1000
#: Messages that are read at once to fill a gap.
_FILL = 200


class Delivery:
    """The sessions of this worker and the streams that they follow.

    To attach a user, the caller MUST:
    1. `follow` the channels of the user and the groups, and await the confirmations, then
    2. `attach` the session, so that from here on nothing passes it, then
    3. check that the claim is still its own, then
    4. read the standings, pass them to `settle`, and begin again if it returns groups, then
    5. answer the login, then call `Session.open`.
    At the end, and on any failure, the caller MUST call `detach`.

    `on_suspect(conv, seq, ts)` is called when MySQL may have lost the message with that number and time.
    """

    def __init__(self, loop: Loop, store: Store, router: Router):
        self._loop = loop
        self._store = store
        self._router = router
        self.sessions: dict[int, Session] = {}
        self.streams: dict[str, Stream] = {}
        #: The beginning of every batch published here. Its echo is dropped: it was delivered directly.
        self.mark = payload.batch(secrets.token_hex(4))
        self.on_suspect: Callable[[str, int, int], object] = lambda conv, seq, ts: None

    # Sessions.

    def follow(self, session: Session, groups: list[int]) -> list[Future[None]]:
        """Hold the channels of the user and of the groups until `detach`.

        Return a future for each new subscription, which is done when Redis has confirmed it.
        """
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

        The session leaves the groups of which its user is no longer a member. Return the groups that the user
        has joined since. If there are any, nothing is started, because the caller must follow them first.
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
                self.members_changed(standing.conv)  # the stream's last read did not ask about this user

    def join(self, session: Session, group: int, last: int, version: int) -> None:
        """Make the session follow a group after `last`, of which its user is a member as of `version`.

        The group's channel is held already.
        """
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
        """Apply the user's standing in a group, which was read after `join`.

        None means that the user has been removed since.
        """
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
        """Stop deliveries to the session, and release all that it holds here."""
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
        """Return the number up to which the session may have been given the conversation.

        The session can confirm no more than that. The number is 0 for a conversation that is not its own, or
        of which it was given nothing.
        """
        stream = self.streams.get(conv)
        live = stream.last if stream is not None and session.user in stream.followers else 0
        return max(live, session.sent.get(conv, 0), (session.fetched or {}).get(conv, 0))

    def weight(self, conv: str) -> int:
        """Return the weight of a write to all local followers of the conversation.

        Other workers are taken to have as many followers.
        """
        stream = self.streams.get(conv)
        return len(stream.followers) // REACHED if stream is not None else 0

    def _unfollow(self, conv: str, session: Session) -> None:
        stream = self.streams.get(conv)
        if stream is not None and stream.followers.get(session.user) is session:
            del stream.followers[session.user]
            if not stream.followers:
                del self.streams[conv]

    def stream(self, conv: str) -> Stream:
        """Return the conversation's stream, created if necessary. Local users of a pair follow it."""
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
        """Add a pair to the session's pairs. The oldest pair is dropped if there are too many."""
        session.pairs = session.pairs or {}
        session.pairs[conv] = None
        if len(session.pairs) > _MAX_PAIRS:
            oldest = next(iter(session.pairs))
            del session.pairs[oldest]
            self._unfollow(oldest, session)

    # Messages.

    def feed(self, conv: str, outs: list[Outgoing]) -> None:
        """Deliver a conversation's messages, in its order, that were published or committed here.

        This method never raises, because the same batch holds messages of other conversations. Reconciliation
        finds messages that are not delivered.
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
        """Note that messages up to `last` are stored. Those that do not come are read."""
        stream = self.stream(conv)
        if not stream.followers:
            del self.streams[conv]
        elif not stream.is_located:
            self._read(stream)
        elif last > stream.last:
            stream.note(last)
            self._expect(stream, _MOMENT)

    def members_changed(self, conv: str) -> None:
        """Read the members again.

        Messages that come meanwhile under a later version wait for that.
        """
        stream = self.streams.get(conv)
        if stream is not None:
            stream.is_stale = True
            self._read(stream)

    def look(self, conv: str, last: int, version: int) -> None:
        """Compare where the conversation stands in MySQL with what is delivered here."""
        stream = self.streams.get(conv)
        if stream is not None and stream.version and version > stream.version:
            self.members_changed(conv)
        if self.is_local(conv):
            self.note(conv, last)

    def check(self, lasts: dict[str, int], before: dict[str, int]) -> None:
        """Suspect the conversations that end before what had been delivered when the read began.

        `lasts` are the numbers that were read, `before` the numbers that had been delivered.
        """
        for conv, last in lasts.items():
            if last < before.get(conv, 0):
                self._suspect(conv, before[conv])

    def _suspect(self, conv: str, seq: int) -> None:
        stream = self.streams.get(conv)
        ts = stream.ts_of(seq) if stream is not None else 0
        if ts:
            self.on_suspect(conv, seq, ts)

    def on_message(self, channel: str, data: bytes) -> None:
        """Handle what the router received on a channel."""
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
        """Deliver an ephemeral message or a typing event, which are not stored.

        If the sender was a member as of an earlier version, check their membership first.
        """
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
        """Return the local sessions that a channel is for."""
        if channel.startswith("u"):
            session = self.sessions.get(int(channel[1:]))
            return [session] if session else []
        stream = self.streams.get(channel)
        return list(stream.followers.values()) if stream else []

    # Missing messages.

    def _read(self, stream: Stream) -> None:
        """Schedule a read of missing messages.

        If it is not known where the conversation and its members stand, schedule a read of that first.
        """
        if stream.job is None:
            stream.job = Job(self._loop, "delivery.read", lambda: self._read_now(stream))
        stream.job.want()

    async def _read_now(self, stream: Stream) -> None:
        if stream.is_stale or not stream.is_located:
            while self.streams.get(stream.conv) is stream and (stream.is_stale or not stream.is_located):
                if not await self._locate(stream):
                    await sleep(self._loop, _MOMENT)
            if stream.gap() is not None:
                self._expect(stream, _MOMENT)  # recent messages may still be on their way
            return
        while self.streams.get(stream.conv) is stream and (missing := stream.gap()) is not None:
            if not await self._fill(stream, *missing):
                return

    async def _locate(self, stream: Stream) -> bool:
        """Read where the conversation and its local members stand. Return False if that was not enough.

        Raises Unavailable if MySQL cannot be read, or does not have the conversation yet.
        """
        asked = dict(stream.followers)
        stream.is_stale = False  # the read may lack changes from now on
        is_known = False
        try:
            found = await self._store.conversations.locate((stream.conv, tuple(asked)))
            if found is None:  # it may be missing for long: raise, so that the job retries with backoff
                raise Unavailable(f"MySQL has no conversation {stream.conv} yet")
            if self.streams.get(stream.conv) is stream:
                is_known = self._place(stream, asked, found)
        finally:
            if not is_known:
                stream.is_stale = True
        return is_known

    def _place(self, stream: Stream, asked: dict[int, Session], found: Located) -> bool:
        """Go on from what was read. Return False if that was not enough."""
        if stream.key.group:
            self._verify_members(stream, asked, found)
            if stream.followers.keys() - asked.keys():  # users who followed during the read
                stream.is_stale = True
        if not stream.is_located:
            stream.start(self._position(stream, asked, found))
        return stream.located(found.last, found.version)

    def _verify_members(self, stream: Stream, asked: dict[int, Session], found: Located) -> None:
        """Drop followers who are not members, unless they have joined since the read.

        A user who had left in between is given nothing from that time.
        """
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
        """Return the number up to which every local follower has the conversation.

        For followers that are ahead of it, their own number is kept in their session.
        """
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
        """Read missing messages, unless they come within `seconds`."""
        if stream.timer is None:
            stream.timer = self._loop.call_later(seconds, self._fill_late, stream)

    def _fill_late(self, stream: Stream) -> None:
        stream.timer = None
        if stream.gap() is not None and self.streams.get(stream.conv) is stream:
            self._read(stream)

    async def _fill(self, stream: Stream, after: int, upto: int) -> bool:
        """Read a page of missing messages and deliver it. Return False if none can be read for now."""
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
        """Deliver the unsent messages of local users' conversations in which something is unconfirmed."""
        for standing in standings:
            if standing.user in self.sessions:
                self.note(standing.conv, standing.last)

    def is_local(self, conv: str) -> bool:
        """Return whether any local user takes part in the conversation."""
        if conv in self.streams:
            return True
        return any(user in self.sessions for user in parse_key(conv).users)
