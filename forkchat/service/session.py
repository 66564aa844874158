"""A logged-in user on this worker: what goes to them, and how far they have come."""

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

#: Messages that a session takes in while it is being attached; more, and it catches up by FETCH.
_MAX_EARLY = 1000


class Session:
    """One user's one session. `claim` is the token by which Redis knows it.

    What it holds is given back by `Gate.end`, once: its own channel (`is_listening`), the channels of
    `groups`, its place in `Delivery` and its claim. `ended` is then set, and done when all that is over.

    `sent`: how far a conversation was sent to this session, where that is ahead of what its stream
    on this worker knows; for a classic client of every conversation, since it cannot drop repeats.
    `groups` are those whose channels are held for it, each with the version of the members as of which the
    user is known to be one (0: not yet known); `pairs` the one-to-one conversations it has been active in,
    the last of them, as they came.
    `fetched` is the last number of conversations that were read by FETCH, `may_see` whether the user may know
    if another one is online. Like what else most sessions never need, they are made when the first comes.
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
        self.numbering = ""  # of a classic client, as it is stored for the account
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
        """Everything up to `seq` was, or will be, given to it by other means."""
        if seq > self.sent.get(conv, 0):
            self.sent[conv] = seq

    def open(self) -> bool:
        """The login is answered: hand over what came meanwhile; False if that was too much."""
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
        """Send messages, but for those that were sent and the session's own.

        What is read from the store a modern session gets of its own too: its acknowledgement may have been
        lost. Never raises: others get the same. A session that fails is closed, and its client comes again.
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
        """Send an event's frame, which is nothing to a classic client.

        It is queued as an answer is, also for a congested peer: an event is told once.
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
        """Deliveries were left out because the peer was congested, and are until `resume`."""
        return self._is_lagging

    def lag(self) -> None:
        self._is_lagging = True

    def resume(self) -> None:
        self._is_lagging = False

    def settle(self, cursors: Cursors) -> bool:
        """Move a classic client's cursors to what has reached its machine; whether more is under way."""
        if self._marks:
            delivered = self.peer.delivered()
            while self._marks and self._marks[0][0] <= delivered:
                _, conv, seq = self._marks.popleft()
                cursors.confirm(self.user, conv, seq)
                cursors.read(self.user, conv, seq)
        return bool(self._marks)

    def forget(self) -> None:
        """What was sent moves no cursor any more."""
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
        """Send to a classic peer, and mark where its cursor moves once this has reached it."""
        form: Form = self.peer.form
        for frame in out.classic(form, self.peer.classic.dialect):
            self.peer.write(frame)
        if out.seq:
            self.start_at(out.conv, out.seq)
            self.mark(out.conv, out.seq)

    def mark(self, conv: str, seq: int) -> None:
        """What was written to the peer so far holds the conversation up to `seq`, if it was taken."""
        if not self.peer.is_closed:
            self._marks = self._marks or deque()
            self._marks.append((self.peer.queued, conv, seq))
