"""Every conversation's messages, each shown once and in order, and what must be fetched for that.

The law: of each conversation, every message after its start is handed on exactly once, in the order
of `seq`, in whatever order live messages, acknowledgements of one's own and fetched pages come,
doubled or not. The start is where the server says that we stand; of a conversation of which it says
nothing everything was confirmed at login, so it starts with the first message that comes live.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from client.protocol.events import Message, Standing
from forkchat.wire.sequence import Sequence

#: How long a missing message may be on its way before it is fetched (acknowledgements and live
#: messages overtake each other), and the pause after a fetch that brought nothing.
GAP_TIME = 0.25
FETCH_PAUSE = 5.0
#: Fetches under way at a time: someone who comes back to 500 conversations asks for them in turn.
MAX_FETCHES = 8


@dataclass
class _Timeline:
    sequence: Sequence[Message]
    fetch_at: float | None = None
    is_fetching: bool = False


@dataclass
class _Unplaced:
    """What came of a conversation whose start is not known yet."""

    messages: list[Message] = field(default_factory=list)
    has_live: bool = False


class Timelines:
    """`is_synced`: the server has told of every conversation in which something is unconfirmed.

    `followed`: the conversations whose messages are handed on, those of others are ignored; None: all.
    """

    def __init__(self, followed: set[str] | None = None) -> None:
        self._followed = followed
        self._timelines: dict[str, _Timeline] = {}
        self._unplaced: dict[str, _Unplaced] = {}
        self.is_synced = True

    def follows(self, conv: str) -> bool:
        return self._followed is None or conv in self._followed

    def follow(self, conv: str, after: int, now: float) -> None:
        """The messages after `after` are to be handed on; what has come of them already is fetched."""
        if self._followed is not None:
            self._followed.add(conv)
            self.open(conv, after, now)
            self._timelines[conv].fetch_at = now

    def live(self, message: Message, now: float) -> list[Message]:
        """A message that came by itself. Returns those whose turn it is."""
        if not self.follows(message.conv):
            return []
        timeline = self._timelines.get(message.conv)
        if timeline is not None:
            return self._feed(timeline, [message], now + GAP_TIME)
        unplaced = self._unplaced.setdefault(message.conv, _Unplaced())
        unplaced.messages.append(message)
        unplaced.has_live = True
        return self._place(message.conv, now) if self.is_synced else []

    def own(self, message: Message, now: float) -> list[Message]:
        """A message of ours that was acknowledged.

        It opens no conversation, because another's earlier message may still be on its way: then the
        server must be asked where we stand (`is_synced` becomes False).
        """
        if not self.follows(message.conv):
            return []
        timeline = self._timelines.get(message.conv)
        if timeline is not None:
            return self._feed(timeline, [message], now + GAP_TIME)
        self._unplaced.setdefault(message.conv, _Unplaced()).messages.append(message)
        self.is_synced = False
        return []

    def stand(self, standing: Standing, now: float) -> list[Message]:
        """The server's word on a conversation: fetch what we have not had of it."""
        if not self.follows(standing.conv):
            return []
        start = max(standing.recv, standing.first - 1)
        shown = self.open(standing.conv, start, now)
        timeline = self._timelines[standing.conv]
        timeline.sequence.note(standing.last)
        shown += timeline.sequence.skip_to(standing.first)
        self._look_for_gap(timeline, now)
        return shown

    def synced(self, now: float) -> list[Message]:
        """`stand` was told of every conversation: the others begin with what came live."""
        self.is_synced = True
        live = [conv for conv, unplaced in self._unplaced.items() if unplaced.has_live]
        return [message for conv in live for message in self._place(conv, now)]

    def open(self, conv: str, start: int, now: float) -> list[Message]:
        """The messages after `start` are to be shown, unless the conversation is open already."""
        if conv in self._timelines:
            return []
        timeline = self._timelines[conv] = _Timeline(Sequence(start))
        unplaced = self._unplaced.pop(conv, _Unplaced())
        return self._feed(timeline, unplaced.messages, now + GAP_TIME)

    def due(self, now: float) -> list[tuple[str, int]]:
        """The conversations to fetch now and after which `seq`; each must end in `page` or `retry`."""
        found: list[tuple[str, int]] = []
        room = self._room()
        for conv, timeline in self._timelines.items():
            if len(found) == room:
                break
            if timeline.fetch_at is not None and timeline.fetch_at <= now:
                timeline.fetch_at = None
                timeline.is_fetching = True
                found.append((conv, timeline.sequence.last))
        return found

    def page(
        self, conv: str, messages: Iterable[Message], first: int, last: int, more: bool, now: float
    ) -> list[Message]:
        """A fetched page, ascending; `last` is the conversation's. Returns those whose turn it is."""
        timeline = self._timelines.get(conv)
        if timeline is None:
            return []
        sequence = timeline.sequence
        before = sequence.last
        sequence.note(last)
        shown = sequence.skip_to(first)
        for message in messages:
            shown += _pass_over(sequence, message.seq)
            shown += sequence.feed(message.seq, message)
        if not more:
            shown += _pass_over(sequence, last + 1)
        timeline.is_fetching = False
        self._look_for_gap(timeline, now if sequence.last > before else now + FETCH_PAUSE)
        return shown

    def retry(self, conv: str, at: float) -> None:
        """The fetch failed; what is missing is asked for again from `at` on."""
        timeline = self._timelines.get(conv)
        if timeline is not None:
            timeline.is_fetching = False
            self._look_for_gap(timeline, at)

    def forget(self, conv: str) -> None:
        self._timelines.pop(conv, None)
        self._unplaced.pop(conv, None)

    def deadline(self) -> float | None:
        """When `due` has something."""
        if not self._room():
            return None
        return min((t.fetch_at for t in self._timelines.values() if t.fetch_at is not None), default=None)

    def _room(self) -> int:
        return MAX_FETCHES - sum(timeline.is_fetching for timeline in self._timelines.values())

    @property
    def is_whole(self) -> bool:
        """Nothing that is known to exist is missing."""
        return self.is_synced and not any(t.sequence.gap() for t in self._timelines.values())

    def _place(self, conv: str, now: float) -> list[Message]:
        """Everything below the first live message was confirmed, but perhaps what we wrote ourselves."""
        start = min(message.seq for message in self._unplaced[conv].messages) - 1
        return self.open(conv, start, now)

    def _feed(self, timeline: _Timeline, messages: list[Message], fetch_at: float) -> list[Message]:
        shown = [shown for message in messages for shown in timeline.sequence.feed(message.seq, message)]
        self._look_for_gap(timeline, fetch_at)
        return shown

    def _look_for_gap(self, timeline: _Timeline, at: float) -> None:
        """Plan the fetch of what is missing, at `at` or when it was planned already."""
        if timeline.sequence.gap() is None:
            timeline.fetch_at = None
        elif not timeline.is_fetching:
            timeline.fetch_at = at if timeline.fetch_at is None else min(at, timeline.fetch_at)


def _pass_over(sequence: Sequence[Message], seq: int) -> list[Message]:
    """The server has nothing more below `seq`: wait for none of it, hand on what is held."""
    shown: list[Message] = []
    sequence.note(seq - 1)
    while gap := sequence.gap():
        after, upto = gap
        if after + 1 >= seq:
            break
        shown += sequence.skip_to(min(upto + 1, seq))
    return shown
