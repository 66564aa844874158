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
    """`start`: the last number before it. `asked`: what was known to exist when the latest fetch was sent,
    `heard`: the highest number that was told of since. `hole`: that after which the server had no next one
    when it was asked; it is believed when it says so twice. `is_refused`: it has said that this is no
    conversation of ours, which is believed the second time, too.
    """

    start: int
    sequence: Sequence[Message]
    fetch_at: float | None = None
    is_fetching: bool = False
    asked: int = 0
    heard: int = 0
    hole: int = -1
    is_refused: bool = False


@dataclass
class _Unplaced:
    """What came of a conversation whose start is not known yet."""

    messages: list[Message] = field(default_factory=list)
    has_live: bool = False


class Timelines:
    """`is_synced`: the server has told of every conversation in which something is unconfirmed.

    `follows_all`: the messages of all conversations are handed on; else those of `follow` alone.
    `has_room`: messages are handed on. While there is none, it is only noted that there are some, and they
    are fetched later.
    """

    def __init__(self, follows_all: bool = True, has_room: bool = True) -> None:
        self.has_room = has_room
        self._followed: set[str] | None = None if follows_all else set()
        self._timelines: dict[str, _Timeline] = {}
        self._unplaced: dict[str, _Unplaced] = {}
        self.is_synced = True

    def follows(self, conv: str) -> bool:
        return self._followed is None or conv in self._followed

    def follow(self, conv: str, after: int, now: float) -> None:
        """The messages after `after` are to be handed on; what has come of them already is fetched.

        The server is to be asked where the conversations stand (`is_synced` becomes False).
        """
        if self._followed is not None:
            self._followed.add(conv)
            self.open(conv, after, now)
            self._timelines[conv].fetch_at = now
            self.is_synced = False

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
        timeline.heard = max(timeline.heard, standing.last)
        shown += timeline.sequence.skip_to(standing.first)
        self._look_for_gap(timeline, now)
        return shown

    def is_beyond(self, standing: Standing) -> bool:
        """We have had more of the conversation than the server says that there is."""
        timeline = self._timelines.get(standing.conv)
        return timeline is not None and timeline.sequence.last > standing.last

    def correct(self, standing: Standing) -> None:
        """At a login: of what we had before, nothing can be after the last message that there is."""
        if self.is_beyond(standing):
            was_wrong_from_the_start = self._timelines[standing.conv].start > standing.last
            start = standing.recv if was_wrong_from_the_start else standing.last
            self._timelines[standing.conv] = _Timeline(start, Sequence(start))

    def synced(self, now: float) -> list[Message]:
        """`stand` was told of every conversation: the others begin with what came live."""
        self.is_synced = True
        live = [conv for conv, unplaced in self._unplaced.items() if unplaced.has_live]
        return [message for conv in live for message in self._place(conv, now)]

    def open(self, conv: str, start: int, now: float) -> list[Message]:
        """The messages after `start` are to be shown, unless the conversation is open already."""
        if conv in self._timelines:
            return []
        timeline = self._timelines[conv] = _Timeline(start, Sequence(start))
        unplaced = self._unplaced.pop(conv, _Unplaced())
        return self._feed(timeline, unplaced.messages, now + GAP_TIME)

    def due(self, now: float) -> list[tuple[str, int]]:
        """The conversations to fetch now and after which `seq`; each must end in `page` or `retry`."""
        found: list[tuple[str, int]] = []
        if not self.has_room:
            return found
        room = self._room()
        for conv, timeline in self._timelines.items():
            if len(found) == room:
                break
            if timeline.fetch_at is not None and timeline.fetch_at <= now:
                timeline.fetch_at = None
                timeline.is_fetching = True
                timeline.asked, timeline.heard = timeline.sequence.known, 0
                found.append((conv, timeline.sequence.last))
        return found

    def page(
        self, conv: str, messages: Iterable[Message], first: int, last: int, more: bool, now: float
    ) -> list[Message]:
        """A fetched page, ascending; `last` is the conversation's. Returns those whose turn it is."""
        timeline = self._timelines.get(conv)
        if timeline is None:
            return []
        if not self.has_room:
            self.retry(conv, now)
            return []
        sequence = timeline.sequence
        before, hole, page = sequence.last, timeline.hole, list(messages)
        if last < timeline.asked:
            sequence.correct(max(last, timeline.heard))
        sequence.note(last)
        for message in page:
            sequence.renew(message.seq, message)
        shown = sequence.skip_to(first)
        for message in page:
            shown += sequence.feed(message.seq, message)
        upto = last if not more else max((message.seq for message in page), default=0)
        shown += _pass_over(timeline, upto)
        timeline.is_fetching = timeline.is_refused = False
        pause = 0.0 if sequence.last > before else GAP_TIME if timeline.hole != hole else FETCH_PAUSE
        self._look_for_gap(timeline, now + pause)
        return shown

    def refuse(self, conv: str, now: float) -> bool:
        """The server says that the conversation is not ours; whether to believe it."""
        timeline = self._timelines.get(conv)
        if timeline is None or timeline.is_refused:
            return True
        timeline.is_refused = True
        self.retry(conv, now + GAP_TIME)
        return False

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
        if not self.has_room or not self._room():
            return None
        return min((t.fetch_at for t in self._timelines.values() if t.fetch_at is not None), default=None)

    def _room(self) -> int:
        return MAX_FETCHES - sum(timeline.is_fetching for timeline in self._timelines.values())

    @property
    def is_whole(self) -> bool:
        """Nothing is missing that is known to exist and that there is room for."""
        if not self.has_room:
            return True
        return self.is_synced and not any(t.sequence.gap() for t in self._timelines.values())

    def _place(self, conv: str, now: float) -> list[Message]:
        """Everything below the first live message was confirmed, but perhaps what we wrote ourselves."""
        start = min(message.seq for message in self._unplaced[conv].messages) - 1
        return self.open(conv, start, now)

    def _feed(self, timeline: _Timeline, messages: list[Message], fetch_at: float) -> list[Message]:
        shown: list[Message] = []
        for message in messages:
            timeline.heard = max(timeline.heard, message.seq)
            if self.has_room:
                shown += timeline.sequence.feed(message.seq, message)
            else:
                timeline.sequence.note(message.seq)
        self._look_for_gap(timeline, fetch_at)
        return shown

    def _look_for_gap(self, timeline: _Timeline, at: float) -> None:
        """Plan the fetch of what is missing, at `at` or when it was planned already."""
        if timeline.sequence.gap() is None:
            timeline.fetch_at = None
        elif not timeline.is_fetching:
            timeline.fetch_at = at if timeline.fetch_at is None else min(at, timeline.fetch_at)


def _pass_over(timeline: _Timeline, upto: int) -> list[Message]:
    """The server has nothing more up to `upto`. If it has said so before, wait for none of it, and hand on
    what is held after it.
    """
    sequence = timeline.sequence
    shown: list[Message] = []
    while sequence.last < upto and (gap := sequence.gap()):
        after, end = gap
        if timeline.hole != after:
            timeline.hole = after
            break
        if end >= upto:  # at the end no number is given up: a message may come that has it
            sequence.correct(timeline.heard)
            break
        shown += sequence.skip_to(end + 1)
    return shown
