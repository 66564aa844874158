"""The conversations in the list, their order, and their unread messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from client.commands.directory import Directory
from client.local.history import Stand
from client.local.quiet import Quiet
from client.screen.order import natural
from forkchat.wire.conversation import group_key, pair_key, parse_key

#: The key of the home page. It is there before a login, and for what belongs to no conversation.
HOME = ""
#: Notes that a conversation keeps, at most.
#: Messages after which an older note is dropped.
_MAX_NOTES, _NOTES_REACH = 500, 50

#: The place of an item in a conversation: the number of a message, and a rank relative to it. The message
#: has rank 0. Notes right after it have 1, 2, …, and missing messages right before it have -1.
Key = tuple[int, int]


@dataclass(frozen=True)
class Note:
    """A line of the client's own in a conversation.

    `kind`: "note" and "error" are answers to the user. "presence" and "membership" are news of other users.
    "said" is a message that its sender wants stored nowhere.
    """

    key: Key
    text: str
    kind: str


@dataclass
class Conversation:
    """A conversation, and how far it is read and scrolled.

    `divider`: the last message that was read when the user came here, None if all were read.
    `bottom`: the lowest item on the screen, and how many of its rows are below the screen. None is the end.
    `void`: gaps for which the server has no messages.
    """

    stand: Stand
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_MAX_NOTES))
    divider: int | None = None
    has_mention: bool = False
    bottom: tuple[Key, int] | None = None
    typing: dict[int, tuple[str, float]] = field(default_factory=dict)
    void: set[tuple[int, int]] = field(default_factory=set)
    is_fetching: bool = False
    ignored: set[int] = field(default_factory=set)  # numbers of messages that do not count as unread
    written: int = 0  # notes so far, dropped ones too
    came: int = 0  # the latest message of another user that was news
    missed: str = ""  # the latest note that came while the end was below the screen

    @property
    def conv(self) -> str:
        return self.stand.conv

    @property
    def unread(self) -> int:
        return self.news_since(max(self.stand.read, self.stand.first - 1))

    def news_since(self, seq: int) -> int:
        """Count the messages after `seq`, without the ignored ones."""
        return max(0, self.stand.last - seq - sum(ignored > seq for ignored in self.ignored))

    def note(self, text: str, kind: str) -> None:
        """Add a note. A presence note replaces earlier ones, because all concern the same user."""
        if kind == "presence":
            self._keep(lambda note: note.kind != kind)
        self.written += 1
        self.notes.append(Note((self.stand.last, self.written), text, kind))
        if self.bottom is not None:
            self.missed = text

    def left(self) -> None:
        """Drop the divider and the notes, because the user has seen them and goes elsewhere.

        Notes of the kind "said" stay, and all notes on the home page.
        """
        self.divider = None
        if self.conv != HOME:
            self._keep(lambda note: note.kind == "said")

    def grown(self) -> None:
        """Drop the notes older than the last `_NOTES_REACH` messages, except those of the kind "said"."""
        reach = self.stand.last - _NOTES_REACH
        if self.notes and self.notes[0].key[0] < reach:
            self._keep(lambda note: note.kind == "said" or note.key[0] >= reach)

    def _keep(self, is_kept: Callable[[Note], bool]) -> None:
        self.notes = deque(filter(is_kept, self.notes), maxlen=_MAX_NOTES)


class Conversations:
    """All conversations of a user, by key.

    `quiet`: the users that are ignored, and the conversations that are muted or closed.
    """

    def __init__(self, directory: Directory):
        self._directory = directory
        self._all: dict[str, Conversation] = {}
        self.current = HOME
        self.previous = HOME
        self.quiet = Quiet(None)

    def __getitem__(self, conv: str) -> Conversation:
        found = self._all.get(conv)
        if found is None:
            found = self._all[conv] = Conversation(Stand(conv))
        return found

    def __iter__(self) -> Iterator[Conversation]:
        return iter([*self._all.values()])

    def clear(self) -> None:
        """Forget all conversations except the home page, and go there, because another user is here."""
        self.reset()
        self.current = HOME

    def load(self, stands: list[Stand]) -> list[Stand]:
        """Merge the stands as they were kept; return the stands that have advanced since."""
        further = []
        for kept in stands:
            stand = self[kept.conv].stand
            is_known = stand != Stand(kept.conv)
            stand.first, stand.last = max(stand.first, kept.first), max(stand.last, kept.last)
            stand.read, stand.seen = max(stand.read, kept.read), max(stand.seen, kept.seen)
            if is_known and stand != kept:
                further.append(stand)
        return further

    def reset(self) -> None:
        """Forget all conversations except the home page."""
        self._all = {HOME: self[HOME]}
        self.previous = HOME

    def switch(self, conv: str) -> None:
        """Make `conv` the current conversation. Its divider is set, and the previous one loses its own."""
        if conv == self.current:
            return
        self[self.current].left()
        self.previous, self.current = self.current, conv
        found = self[conv]
        found.divider = max(found.stand.read, found.stand.first - 1) if found.unread else None

    def listed(self) -> list[str]:
        """Return the keys in the order of the list: the home page, groups, then users, each by title."""
        me = self._directory.me[0]
        groups = {group_key(group) for group in self._directory.groups}
        people = {pair_key(me, friend) for friend in self._directory.friends if me and friend != me}
        people |= {conv for conv, each in self._all.items() if conv[:1] == "d" and each.stand.last}
        if self.current:
            (groups if self.current[0] == "g" else people).add(self.current)
        closed = {conv for conv in self.quiet.closed if self.is_closed(conv)}
        groups, people = groups - closed, people - closed
        return [HOME, *sorted(groups, key=self._by_title), *sorted(people, key=self._by_title)]

    def is_closed(self, conv: str) -> bool:
        """Return whether the user has closed the conversation and no message has come since."""
        since = self.quiet.closed.get(conv)
        return conv != self.current and since is not None and not self[conv].news_since(since)

    def back(self) -> str:
        """Return the previous conversation, or the home page if the user has left or closed that."""
        group = parse_key(self.previous).group if self.previous else 0
        is_left = group and group not in self._directory.groups
        return HOME if is_left or self.is_closed(self.previous) else self.previous

    def next_unread(self) -> str | None:
        """Return the next unread conversation after the current one in the list, None if there is none.

        Mentions and direct messages come first, then groups.
        """
        listed = self.listed()
        at = listed.index(self.current)
        unread = [conv for conv in listed[at + 1 :] + listed[:at] if self.is_news(conv)]
        return min(unread, key=lambda conv: not self.is_urgent(conv), default=None)

    def is_news(self, conv: str) -> bool:
        """Return whether a conversation has unread messages and is not muted."""
        return conv != HOME and self[conv].unread > 0 and not self.quiet.is_muted(conv)

    def is_urgent(self, conv: str) -> bool:
        return self[conv].has_mention or (bool(conv) and not parse_key(conv).group)

    def unread_elsewhere(self) -> int:
        """Count the conversations with news, without the current one."""
        return sum(self.is_news(conv) for conv in self.listed() if conv != self.current)

    def _by_title(self, conv: str) -> tuple[tuple[tuple[int, bytes], ...], str]:
        return natural(self._directory.title(conv).strip('[]"')), conv
