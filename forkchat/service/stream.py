"""One conversation on this worker: its order, and the local sessions that follow it."""

from __future__ import annotations

from collections.abc import Iterable

from forkchat.runtime import Timer
from forkchat.service.outgoing import Outgoing
from forkchat.service.session import Session
from forkchat.wire.conversation import Conversation, parse_key
from forkchat.wire.sequence import Sequence

#: What may wait for an earlier message or for the members; the rest is read from the store instead.
_MAX_HELD = 500


class Stream:
    """The messages of a conversation, delivered in order and without gaps, once per worker.

    Until its position is known (`is_located`), and while a group's members have changed, what comes
    is set aside. `followers` are the local sessions by user: of a group its members, of a pair both.
    """

    __slots__ = ("_aside", "_sequence", "conv", "followers", "is_locating", "key", "timer", "version")

    def __init__(self, conv: str):
        self.conv = conv
        self.key: Conversation = parse_key(conv)
        self.followers: dict[int, Session] = {}
        self.version = 0
        self.is_locating = False
        self.timer: Timer | None = None
        self._sequence: Sequence[tuple[Outgoing, bool]] | None = None
        self._aside: list[tuple[Outgoing, int, bool]] = []

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

    def start(self, last: int) -> None:
        """The position is known: everything up to `last` has been delivered."""
        if self._sequence is None:
            self._sequence = Sequence(last)

    def feed(self, out: Outgoing, version: int, is_fill: bool) -> bool:
        """Deliver `out` and what it completes; False if the position or the members must be read first."""
        sequence = self._sequence
        if sequence is None or version > self.version:
            if len(self._aside) < _MAX_HELD:
                self._aside.append((out, version, is_fill))
            elif sequence is not None:
                sequence.note(out.seq)
            return False
        if sequence.held >= _MAX_HELD and out.seq != sequence.last + 1:
            sequence.note(out.seq)
        else:
            self._deliver(sequence.feed(out.seq, (out, is_fill)))
        return True

    def located(self, last: int, version: int) -> bool:
        """Messages up to `last` exist, the members of `version` are known: go on with what waits.

        False if some of it needs a later version still: the members changed after they were read.
        """
        self.is_locating = False
        self.version = max(self.version, version)
        if self._sequence is not None:
            self._sequence.note(last)
        aside, self._aside = self._aside, []
        for out, needed, is_fill in aside:
            self.feed(out, needed, is_fill)
        return not self._aside

    def note(self, last: int) -> None:
        if self._sequence is not None:
            self._sequence.note(last)

    def skip_to(self, first: int) -> None:
        """Nothing before `first` is kept any more."""
        if self._sequence is not None:
            self._deliver(self._sequence.skip_to(first))

    def gap(self) -> tuple[int, int] | None:
        """What is missing here: `after < seq <= upto`."""
        return self._sequence.gap() if self._sequence else None

    def _deliver(self, ready: Iterable[tuple[Outgoing, bool]]) -> None:
        for out, is_fill in ready:
            for session in list(self.followers.values()):
                session.deliver(out, is_fill)
