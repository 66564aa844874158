"""A user's session on this worker: its deliveries and its cursors."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from forkchat import log
from forkchat.jobs import Job
from forkchat.runtime import Future
from forkchat.service.outgoing import Form, Outgoing
from forkchat.service.peer import Peer

if TYPE_CHECKING:
    from forkchat.store import Cursors

#: Messages that are buffered for a session while it logs in. With more, its connection is closed as slow,
#: and its client catches up by FETCH.
_MAX_EARLY = 1000


class Session:
    """The only session of a user. `claim` is the token by which Redis knows it.

    `Gate.end` releases all that the session holds, once. That is its own channel (`is_listening`), the
    channels of `groups`, its place in `Delivery` and its claim. `ended` is set then, and is done when all of
    that is over.

    `sent` holds the number up to which a conversation was sent, where that is ahead of its stream here. For a
    classic client it holds every conversation, because a classic client cannot drop duplicates.

    `groups` are the groups whose channels are held for the session. The value is a version of the group's
    members (0: not yet known). The user is known to be a member as of that version. `pairs` are the last
    one-to-one conversations in which the session was active. They keep the order in which they were added.

    `fetched` is the last number of each conversation that was read by FETCH. `may_see` tells by conversation
    whether the user may know if the other user is online.

    Attributes that most sessions never need are created when they are first used.
    """

    __slots__ = (
        "_early",
        "_is_lagging",
        "_marks",
        "catching_up",
        "claim",
        "ended",
        "fetched",
        "groups",
        "is_listening",
        "may_see",
        "name",
        "numbering",
        "pairs",
        "peer",
        "sent",
        "token",
        "user",
    )

    def __init__(self, peer: Peer, user: int, name: str, claim: str, token: bytes):
        self.peer = peer
        self.user = user
        self.name = name
        self.claim = claim
        self.numbering = ""  # of a classic client, as stored for the account
        self.token = token  # digest of the login token, b"" for none
        self.is_listening = False
        self.ended: Future[None] | None = None
        self.catching_up: Job | None = None
        self.fetched: dict[str, int] | None = None
        self.may_see: dict[str, bool] | None = None
        self.groups: dict[int, int] = {}
        self.pairs: dict[str, None] | None = None
        self.sent: dict[str, int] = {}
        self._early: list[Outgoing | bytes] | None = []
        self._is_lagging = False
        self._marks: deque[tuple[int, str, int]] | None = None

    def start_at(self, conv: str, seq: int) -> None:
        """Skip the conversation up to `seq`, because the session is given that by other means."""
        if seq > self.sent.get(conv, 0):
            self.sent[conv] = seq

    def open(self) -> bool:
        """Hand over what came during the login, which has been answered. Return False if it was too much."""
        early, self._early = self._early or [], None
        self._is_lagging = len(early) > _MAX_EARLY
        if not self._is_lagging:
            for out in early:
                if isinstance(out, bytes):
                    self.push(out)
                else:
                    self._write(out)
        return not self._is_lagging

    def deliver(self, outs: list[Outgoing]) -> None:
        """Send messages, except those that were already sent and the session's own.

        A modern session gets its own messages too if they were read from the store. They stand in for an
        acknowledgement that may have been lost. This method never raises, because other sessions get the same
        messages. A session that fails is closed, and its client reconnects.
        """
        try:
            for out in outs:
                if out.sender == self.user and not (out.is_fill and self.peer.is_modern):
                    continue
                if self._early is not None:
                    self._keep(out)
                else:
                    self._write(out)
        except Exception as error:
            log.exception("session.error", error, user=self.user)
            self.peer.close("error")

    def push(self, frame: bytes) -> None:
        """Send the frame of an event. A classic client gets no events.

        The frame is queued like an answer, even for a congested peer, because an event is sent only once.
        """
        if self.peer.is_modern:
            if self._early is None:
                self.peer.write(frame)
            else:
                self._keep(frame)

    def _keep(self, early: Outgoing | bytes) -> None:
        assert self._early is not None
        if len(self._early) <= _MAX_EARLY:
            self._early.append(early)

    @property
    def is_lagging(self) -> bool:
        """True while deliveries are left out because the peer was congested, until `resume`."""
        return self._is_lagging

    def lag(self) -> None:
        self._is_lagging = True

    def resume(self) -> None:
        self._is_lagging = False

    def settle(self, cursors: Cursors) -> bool:
        """Move a classic client's cursors to what has reached its machine.

        Return whether more is on its way.
        """
        if self._marks:
            delivered = self.peer.delivered()
            while self._marks and self._marks[0][0] <= delivered:
                _, conv, seq = self._marks.popleft()
                cursors.confirm(self.user, conv, seq)
                cursors.read(self.user, conv, seq)
        return bool(self._marks)

    def forget(self) -> None:
        """Let what was sent so far no longer move cursors."""
        self._marks = None

    def _write(self, out: Outgoing) -> None:
        if out.seq and out.seq <= self.sent.get(out.conv, 0):
            return
        peer = self.peer
        if peer.is_modern:
            if not self._is_lagging:
                self._is_lagging = not peer.offer(out.frame)
        elif peer.is_over:
            peer.close("slow")
        else:
            self.write_classic(out)

    def write_classic(self, out: Outgoing) -> None:
        """Send to a classic peer, and mark the output, so that the cursor moves once it has arrived."""
        form: Form = self.peer.form
        for frame in out.classic(form, self.peer.classic.dialect):
            self.peer.write(frame)
        if out.seq:
            self.start_at(out.conv, out.seq)
            self.mark(out.conv, out.seq)

    def mark(self, conv: str, seq: int) -> None:
        """Mark that the output so far holds the conversation up to `seq`, unless the peer is closed."""
        if not self.peer.is_closed:
            self._marks = self._marks or deque()
            self._marks.append((self.peer.queued, conv, seq))
