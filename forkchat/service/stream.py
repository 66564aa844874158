"""One conversation on this worker: its order, and the local sessions that follow it."""

from __future__ import annotations

from collections.abc import Callable

from forkchat.jobs import Job
from forkchat.runtime import Timer
from forkchat.service.outgoing import Outgoing
from forkchat.service.session import Session
from forkchat.wire.conversation import Conversation, parse_key
from forkchat.wire.sequence import Sequence

#: What may wait for an earlier message or for the members; the rest is read from the store instead.
_MAX_HELD = 1024
#: Messages delivered last whose times are kept, at least.
_KEPT = 8


class Stream:
    """The messages of a conversation, delivered in order and without gaps, once per worker.

    Until its position is known (`is_located`), what comes is set aside; what was stored under a later version
    of the members too, until these are known. `is_stale`: they must be read. `followers` are the local
    sessions by user: of a group its members, of a pair both. `job` reads what is not known and what is
    missing.

    `on_other(seq)` is called when a message comes under a number under which another one was delivered: MySQL
    has lost that one. What comes from then on belongs to another history, and is not delivered.
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
        self._times: list[int] = []  # of the last that were delivered

    @property
    def is_located(self) -> bool:
        return self._sequence is not None

    @property
    def last(self) -> int:
        """Everything up to it was delivered here."""
        return self._sequence.last if self._sequence else 0

    @property
    def known(self) -> int:
        """Messages up to it are known to exist."""
        return self._sequence.known if self._sequence else 0

    def start(self, last: int, version: int = 0) -> None:
        """The position is known: everything up to `last` has been delivered. So are the members of
        `version`."""
        if self._sequence is None:
            self._sequence = Sequence(last)
            self.version = version

    def feed(self, outs: list[Outgoing]) -> bool:
        """Deliver these and what they complete; False if the position or the members must be read first."""
        sequence = self._sequence
        if sequence is None or outs[-1].version > self.version:  # later messages are of later versions
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
        """Messages up to `last` exist, the members of `version` are known: go on with what waits.

        False if some of it needs a later version still: the members changed after they were read.
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
        """Nothing before `first` is kept any more."""
        if self._sequence is not None:
            self._times = []
            self._deliver(self._count(self._sequence.skip_to(first)))

    def gap(self) -> tuple[int, int] | None:
        """What is missing here: `after < seq <= upto`."""
        return self._sequence.gap() if self._sequence else None

    def ts_of(self, seq: int) -> int:
        """The time of the message that was delivered under that number, which tells it from any other that
        MySQL may give the number to; 0 if it is not known."""
        back = self.last - seq
        return self._times[-1 - back] if 0 <= back < len(self._times) else 0

    def _count(self, ready: list[Outgoing]) -> list[Outgoing]:
        """These are the next: `last` is that of the last of them."""
        self._times += [out.ts for out in ready]
        if len(self._times) > 2 * _KEPT:
            del self._times[:-_KEPT]
        return ready

    def _deliver(self, ready: list[Outgoing]) -> None:
        if not ready or self._has_parted:
            return
        for session in list(self.followers.values()):
            session.deliver(ready)
