"""The conversations that one sees in the list, their order, and what is unread in them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from client.commands.directory import Directory
from client.local.history import Stand
from forkchat.wire.conversation import group_key, pair_key, parse_key

#: The page that is there before anyone is logged in, and for what belongs to no conversation.
HOME = ""
#: Notes of ours that a conversation keeps.
_MAX_NOTES = 500

#: Where an item of a conversation stands: the number of a message, and what comes right after (notes of ours:
#: 1, 2, …) or before it (-1: messages that are not here).
Key = tuple[int, int]


@dataclass(frozen=True)
class Note:
    """A line of ours in a conversation; `style` is "note" or "error"."""

    key: Key
    text: str
    style: str


@dataclass
class Conversation:
    """`divider`: the last message that was read when the user came here; None: all were.

    `bottom`: the item whose rows are the lowest ones on the screen, and how many of its rows are below the
    screen; None: the end. `void`: gaps that the server has nothing for.
    """

    stand: Stand
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=_MAX_NOTES))
    divider: int | None = None
    has_mention: bool = False
    bottom: tuple[Key, int] | None = None
    typing: dict[int, tuple[str, float]] = field(default_factory=dict)
    void: set[tuple[int, int]] = field(default_factory=set)
    is_fetching: bool = False
    written: int = 0  # notes so far

    @property
    def conv(self) -> str:
        return self.stand.conv

    @property
    def unread(self) -> int:
        return max(0, self.stand.last - max(self.stand.read, self.stand.first - 1))

    def note(self, text: str, style: str) -> None:
        self.written += 1
        self.notes.append(Note((self.stand.last, self.written), text, style))


class Conversations:
    def __init__(self, directory: Directory):
        self._directory = directory
        self._all: dict[str, Conversation] = {}
        self.current = HOME
        self.previous = HOME

    def __getitem__(self, conv: str) -> Conversation:
        found = self._all.get(conv)
        if found is None:
            found = self._all[conv] = Conversation(Stand(conv))
        return found

    def clear(self) -> None:
        """Another user is here now."""
        self.reset()
        self.current = self.previous = HOME

    def load(self, stands: list[Stand]) -> None:
        for stand in stands:
            self[stand.conv].stand = stand

    def reset(self) -> None:
        """Nothing of them is known any more; the home page stays."""
        self._all = {HOME: self[HOME]}

    def switch(self, conv: str) -> None:
        """The user comes to look at `conv`, what was new in the other one is no longer so."""
        if conv == self.current:
            return
        self[self.current].divider = None
        self.previous, self.current = self.current, conv
        found = self[conv]
        found.divider = max(found.stand.read, found.stand.first - 1) if found.unread else None

    def listed(self) -> list[str]:
        """The keys, as the list shows them: the home page, groups, then people, each by title."""
        me = self._directory.me[0]
        groups = {group_key(group) for group in self._directory.groups}
        people = {pair_key(me, friend) for friend in self._directory.friends if me and friend != me}
        people |= {conv for conv, each in self._all.items() if conv[:1] == "d" and each.stand.last}
        if self.current:
            (groups if self.current[0] == "g" else people).add(self.current)
        return [HOME, *sorted(groups, key=self._by_title), *sorted(people, key=self._by_title)]

    def next_unread(self) -> str | None:
        """Mentions and direct messages first, then groups; after the current one, in the list's order."""
        listed = self.listed()
        at = listed.index(self.current)
        unread = [conv for conv in listed[at + 1 :] + listed[:at] if conv and self[conv].unread]
        return min(unread, key=lambda conv: not self.is_urgent(conv), default=None)

    def is_urgent(self, conv: str) -> bool:
        return self[conv].has_mention or (bool(conv) and not parse_key(conv).group)

    def unread_elsewhere(self) -> int:
        """Conversations with unread messages, but the current one."""
        return sum(bool(self[conv].unread) for conv in self.listed() if conv not in (HOME, self.current))

    def _by_title(self, conv: str) -> tuple[str, str]:
        return self._directory.title(conv).strip('["').casefold(), conv
