"""The weight of unread messages: which of them count, and whether one mentions the user.

The user's own messages do not count, nor do those of ignored users.
"""

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

#: Unread messages of a conversation that are looked through if the user ignores someone.
#: The same if the user ignores nobody.
_IGNORING, _LISTENING = 1000, 100


@dataclass(frozen=True)
class Weight:
    """The result of weighing messages.

    `ignored`: the numbers of the messages that do not count. `has_mention`: another one mentions the user.
    """

    ignored: set[int]
    has_mention: bool


class Scale:
    """The scale of the user called `name`, which uses `quiet` as it is when messages are weighed."""

    def __init__(self, name: str, quiet: Quiet):
        self._name = name
        self._quiet = quiet
        self._limit = _IGNORING if quiet.ignored else _LISTENING

    def weigh(self, messages: Iterable[Message], read: int) -> Weight:
        """Weigh messages. `read`: the number of the last message that the user has read."""
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
        """Weigh the kept messages of each conversation that are unread, or came after it was closed.

        Runs on the history's thread.
        """
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
        """Give a conversation the weight of its kept messages, and of those not written yet."""
        unwritten = self.weigh(lane.unwritten(chat.conv), chat.stand.read)
        chat.ignored = kept.ignored | unwritten.ignored
        chat.has_mention = bool(chat.unread) and (kept.has_mention or unwritten.has_mention)


def mentions(name: str, text: str) -> bool:
    # Only ASCII word characters next to the name prevent a match, because Chinese has no blanks around names.
    pattern = rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])"
    return bool(name) and bool(re.search(pattern, text, re.IGNORECASE))
