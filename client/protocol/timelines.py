"""The messages of every conversation, delivered once and in order, and the fetches that this needs.

The law: each message after its conversation's start is delivered exactly once, in the order of `seq`. It
holds for any order of live messages, fetched pages and acknowledgements of the user's own messages. It holds
for duplicates, too.

The start is the cursor that the server reports. A conversation that the server does not report was fully
confirmed at login. So it starts with the first message that comes live.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from client.protocol.events import Message, Standing
from forkchat.wire.sequence import Sequence

#: Seconds to wait for a missing message, because acknowledgements and live messages overtake each other.
GAP_TIME = 0.25
#: Seconds to pause after a fetch that brought nothing.
FETCH_PAUSE = 5.0
#: Fetches under way at a time. A user who returns to 500 conversations fetches them in turn.
MAX_FETCHES = 8


@dataclass
class _Timeline:
    """The delivery state of one conversation.

    `start`: the number before the first message to deliver. `asked`: the highest number known to exist when
    the latest fetch was sent. `heard`: the highest number reported since that fetch.

    `hole`: the number after which the server had no next message when it was asked. The hole is believed when
    the server reports it twice. `is_refused`: the server has said that the conversation is not the user's.
    That is believed the second time, too.
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
    """The messages received in a conversation whose start is not known yet."""

    messages: list[Message] = field(default_factory=list)
    has_live: bool = False


class Timelines:
    """The timelines of all conversations.

    `is_synced`: the server has reported every conversation in which a message is unconfirmed.

    `follows_all`: the messages of all conversations are delivered, else only those passed to `follow`.

    `has_room`: messages are delivered. Without room only their existence is noted, and they are fetched
    later.
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
        """Deliver the messages after `after`. Those that have come already are fetched.

        The server must be asked where the conversations stand, so `is_synced` becomes False. With
        `follows_all` this does nothing.
        """
        if self._followed is not None:
            self._followed.add(conv)
            self.open(conv, after, now)
            self._timelines[conv].fetch_at = now
            self.is_synced = False

    def live(self, message: Message, now: float) -> list[Message]:
        """Add a live message. Return the messages whose turn it is."""
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
        """Add a message of the user that was acknowledged. Return the messages whose turn it is.

        It opens no conversation, because an earlier message of another user may still be on its way. The
        server must then be asked where the conversation stands, so `is_synced` becomes False.
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
        """Take the server's report on a conversation, and plan the fetch of missing messages.

        Return the messages whose turn it is.
        """
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
        """Return True if the client has more of the conversation than the server says exists."""
        timeline = self._timelines.get(standing.conv)
        return timeline is not None and timeline.sequence.last > standing.last

    def correct(self, standing: Standing) -> None:
        """Set the conversation back at a login if the client is beyond the server's last message.

        No message after that last one can have existed.
        """
        if self.is_beyond(standing):
            was_wrong_from_the_start = self._timelines[standing.conv].start > standing.last
            start = standing.recv if was_wrong_from_the_start else standing.last
            self._timelines[standing.conv] = _Timeline(start, Sequence(start))

    def synced(self, now: float) -> list[Message]:
        """Note that `stand` was called for every reported conversation.

        The other conversations begin with their live messages. Return the messages whose turn it is.
        """
        self.is_synced = True
        live = [conv for conv, unplaced in self._unplaced.items() if unplaced.has_live]
        return [message for conv in live for message in self._place(conv, now)]

    def open(self, conv: str, start: int, now: float) -> list[Message]:
        """Deliver the messages after `start`, unless the conversation is open already.

        Return the messages whose turn it is.
        """
        if conv in self._timelines:
            return []
        timeline = self._timelines[conv] = _Timeline(start, Sequence(start))
        unplaced = self._unplaced.pop(conv, _Unplaced())
        return self._feed(timeline, unplaced.messages, now + GAP_TIME)

    def due(self, now: float) -> list[tuple[str, int]]:
        """Return the conversations to fetch now, each with the `seq` to fetch after.

        Each fetch must end in `page` or `retry`.
        """
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
        """Add a fetched page of ascending messages. Return the messages whose turn it is.

        `last` is the last number of the conversation.
        """
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
        """Note that the server says that the conversation is not the user's.

        Return True if that is to be believed, else the fetch is retried.
        """
        timeline = self._timelines.get(conv)
        if timeline is None or timeline.is_refused:
            return True
        timeline.is_refused = True
        self.retry(conv, now + GAP_TIME)
        return False

    def retry(self, conv: str, at: float) -> None:
        """Plan to fetch the missing messages again from `at` on, because the fetch failed."""
        timeline = self._timelines.get(conv)
        if timeline is not None:
            timeline.is_fetching = False
            self._look_for_gap(timeline, at)

    def forget(self, conv: str) -> None:
        self._timelines.pop(conv, None)
        self._unplaced.pop(conv, None)

    def deadline(self) -> float | None:
        """Return when `due` has something to return; None if nothing is planned."""
        if not self.has_room or not self._room():
            return None
        return min((t.fetch_at for t in self._timelines.values() if t.fetch_at is not None), default=None)

    def _room(self) -> int:
        return MAX_FETCHES - sum(timeline.is_fetching for timeline in self._timelines.values())

    @property
    def is_whole(self) -> bool:
        """No message is missing that is known to exist and for which there is room."""
        if not self.has_room:
            return True
        return self.is_synced and not any(t.sequence.gap() for t in self._timelines.values())

    def _place(self, conv: str, now: float) -> list[Message]:
        """Open the conversation at its earliest received message.

        Everything before its first live message was confirmed, except perhaps the user's own messages.
        """
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
        """Plan the fetch of missing messages at `at`, or earlier if it was planned earlier."""
        if timeline.sequence.gap() is None:
            timeline.fetch_at = None
        elif not timeline.is_fetching:
            timeline.fetch_at = at if timeline.fetch_at is None else min(at, timeline.fetch_at)


def _pass_over(timeline: _Timeline, upto: int) -> list[Message]:
    """Skip messages up to `upto` that the server does not have. Return the held messages after them.

    A hole is skipped only when the server reports it for the second time.
    """
    sequence = timeline.sequence
    shown: list[Message] = []
    while sequence.last < upto and (gap := sequence.gap()):
        after, end = gap
        if timeline.hole != after:
            timeline.hole = after
            break
        if end >= upto:  # keep the numbers at the end, because a new message may get one
            sequence.correct(timeline.heard)
            break
        shown += sequence.skip_to(end + 1)
    return shown
