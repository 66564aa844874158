"""One conversation on this worker: its order, and the local sessions that follow it."""

from __future__ import annotations

from collections.abc import Callable

from forkchat.jobs import Job
from forkchat.runtime import Timer
from forkchat.service.outgoing import Outgoing
from forkchat.service.session import Session
from forkchat.wire.conversation import Conversation, parse_key
from forkchat.wire.sequence import Sequence

#: Messages that may wait for an earlier one or for the members. The rest is read from the store instead.
_MAX_HELD = 1024
#: Recently delivered messages whose times are kept, at least.
_KEPT = 8


class Stream:
    """The messages of a conversation, delivered in order and without gaps, once per worker.

    Messages are set aside until the stream's position is known (`is_located`). Messages that were stored
    under a later version of the members are set aside until these members are known. `is_stale` means that
    the position or the members must be read. `followers` are the local sessions by user: a group's members,
    or both users of a pair. `job` reads the position, the members and missing messages.

    `on_other(conv, seq)` is called when a message has a number under which another message was delivered.
    MySQL has lost the delivered one. Later messages belong to another history, and are not delivered.
    """

    __slots__ = (
        "_aside",
        "_has_parted",
        "_on_other",
        "_sequence",
        "_times",
        "conv",
        "followers",
        "is_stale",
        "job",
        "key",
        "timer",
        "version",
    )

    def __init__(self, conv: str, on_other: Callable[[str, int], object]):
        self.conv = conv
        self.key: Conversation = parse_key(conv)
        self.followers: dict[int, Session] = {}
        self.version = 0
        self.is_stale = False
        self.job: Job | None = None
        self.timer: Timer | None = None
        self._on_other = on_other
        self._has_parted = False
        self._sequence: Sequence[Outgoing] | None = None
        self._aside: list[Outgoing] = []
        self._times: list[int] = []  # of the most recently delivered messages

    @property
    def is_located(self) -> bool:
        return self._sequence is not None

    @property
    def last(self) -> int:
        """The number up to which everything was delivered here."""
        return self._sequence.last if self._sequence else 0

    @property
    def known(self) -> int:
        """The number up to which messages are known to exist."""
        return self._sequence.known if self._sequence else 0

    def start(self, last: int, version: int = 0) -> None:
        """Set the position: everything up to `last` is delivered, and the members of `version` are known.

        A stream that already has a position keeps it.
        """
        if self._sequence is None:
            self._sequence = Sequence(last)
            self.version = version

    def feed(self, outs: list[Outgoing]) -> bool:
        """Deliver these messages and those that they complete.

        Return False if the position or the members must be read first.
        """
        sequence = self._sequence
        if sequence is None or outs[-1].version > self.version:  # versions never decrease
            room = _MAX_HELD - len(self._aside)
            self._aside += outs[:room]
            if sequence is not None and len(outs) > room:
                sequence.note(outs[-1].seq)
            self.is_stale = True
            return False
        ready: list[Outgoing] = []
        for out in outs:
            if out.seq <= sequence.last:
                if self.ts_of(out.seq) not in (0, out.ts):
                    self._has_parted = True
                    self._on_other(self.conv, out.seq)
            elif sequence.held >= _MAX_HELD and out.seq != sequence.last + 1:
                sequence.note(out.seq)
            else:
                ready += self._count(sequence.feed(out.seq, out))
        self._deliver(ready)
        return True

    def located(self, last: int, version: int) -> bool:
        """Go on with the messages that were set aside.

        Messages up to `last` exist, and the members of `version` are known. Return False if some messages
        need a later version still, because the members changed after they were read.
        """
        self.version = max(self.version, version)
        if self._sequence is not None:
            self._sequence.note(last)
        aside, self._aside = self._aside, []
        for out in aside:
            self.feed([out])
        return not self._aside

    def note(self, last: int) -> None:
        if self._sequence is not None:
            self._sequence.note(last)

    def skip_to(self, first: int) -> None:
        """Skip to `first`, because earlier messages are no longer kept."""
        if self._sequence is not None:
            self._times = []
            self._deliver(self._count(self._sequence.skip_to(first)))

    def gap(self) -> tuple[int, int] | None:
        """Return the first gap as `(after, upto)`, where `after < seq <= upto`, or None."""
        return self._sequence.gap() if self._sequence else None

    def ts_of(self, seq: int) -> int:
        """Return the time of the message that was delivered under that number, 0 if it is not known.

        The time tells this message from any other to which MySQL may give the same number.
        """
        back = self.last - seq
        return self._times[-1 - back] if 0 <= back < len(self._times) else 0

    def _count(self, ready: list[Outgoing]) -> list[Outgoing]:
        """Record the times of `ready` and return it. Its last message has the number `last`."""
        self._times += [out.ts for out in ready]
        if len(self._times) > 2 * _KEPT:
            del self._times[:-_KEPT]
        return ready

    def _deliver(self, ready: list[Outgoing]) -> None:
        if not ready or self._has_parted:
            return
        for session in list(self.followers.values()):
            session.deliver(ready)
