"""Which unread messages count: none of one's own or of ignored people; and whether one mentions the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from client.local.history import History, Stand
from client.local.lane import HistoryLane
from client.local.quiet import Quiet
from client.protocol.events import Message
from client.screen.conversations import Conversation

#: Unread messages of a conversation that are looked through where someone is ignored, and where nobody is.
_IGNORING, _LISTENING = 1000, 100


@dataclass(frozen=True)
class Weight:
    """`ignored`: the numbers of the messages that count nowhere; `has_mention`: another mentions the user."""

    ignored: set[int]
    has_mention: bool


class Scale:
    """Of the user of that name, whose `quiet` is as it is when something is weighed."""

    def __init__(self, name: str, quiet: Quiet):
        self._name = name
        self._quiet = quiet
        self._limit = _IGNORING if quiet.ignored else _LISTENING

    def weigh(self, messages: Iterable[Message], read: int) -> Weight:
        """`read`: the last message that the user has read."""
        messages = list(messages)
        others = [message for message in messages if not message.is_own]
        ignored = {message.seq for message in others if self._quiet.hides(message)}
        own = {message.seq for message in messages if message.is_own and message.seq > read}
        return Weight(
            ignored | own,
            any(
                message.seq > read and message.seq not in ignored and mentions(self._name, message.text)
                for message in others
            ),
        )

    def weigh_kept(self, history: History, stands: Iterable[Stand]) -> list[Weight]:
        """What is kept of each of these conversations and not read, or came after it was closed. It is done
        on the history's thread."""
        found = []
        for stand in stands:
            seen = min(stand.read, self._quiet.closed.get(stand.conv, stand.read))
            messages = history.after(stand.conv, seen, self._limit) if stand.last > seen else []
            found.append(self.weigh(messages, stand.read))
        return found

    async def weigh_all(
        self, lane: HistoryLane, chats: list[Conversation], on_change: Callable[[], None]
    ) -> None:
        stands = [replace(chat.stand) for chat in chats]
        weights = await lane.read(partial(self.weigh_kept, stands=stands))
        for chat, weight in zip(chats, weights, strict=True):
            self.settle(chat, weight, lane)
        on_change()

    def settle(self, chat: Conversation, kept: Weight, lane: HistoryLane) -> None:
        """The conversation has the weight of what is kept, and of what is not written yet."""
        unwritten = self.weigh(lane.unwritten(chat.conv), chat.stand.read)
        chat.ignored = kept.ignored | unwritten.ignored
        chat.has_mention = bool(chat.unread) and (kept.has_mention or unwritten.has_mention)


def mentions(name: str, text: str) -> bool:
    # A boundary where there are words: names in Chinese stand in the text without blanks.
    pattern = rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])"
    return bool(name) and bool(re.search(pattern, text, re.IGNORECASE))
