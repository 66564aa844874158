"""The conversation on the screen: its visible items, scrolling, and the gaps to be fetched.

Only messages near the screen are in memory. Each drawing takes and wraps only the messages around the lowest
visible item.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.i18n import _, ngettext
from client.local.journal import Journal
from client.local.quiet import Quiet
from client.protocol.events import Message
from client.protocol.outbox import Pending
from client.screen.conversations import Conversation, Key
from client.screen.rows import Row, day, message_rows, note_rows, rule
from client.screen.window import END, Near, Window
from client.text import shown_name

#: Two numbers of messages. The messages between them are missing here.
Gap = tuple[int, int]

#: Messages that are taken on each side of the lowest visible one, more than a screen has.
_WINDOW = 100


@dataclass(frozen=True)
class Item:
    """A message, note or gap in a conversation, with the rows that it is drawn in."""

    key: Key
    rows: tuple[Row, ...]
    gap: Gap | None = None


class Transcript:
    """The transcript of one user's conversations. `query`: the text that is searched for and highlighted."""

    def __init__(self, window: Window, journal: Journal, me: tuple[int, str], quiet: Quiet):
        self.query = ""
        self._window = window
        self._quiet = quiet
        self._journal = journal
        self._me = me

    def draw(self, chat: Conversation, width: int, height: int) -> tuple[list[Row], list[Gap]]:
        """Return the visible rows, the lowest last, and the gaps near them, the nearest first."""
        items, at, hidden, _ = self._place(chat, width, height)
        gaps = [item.gap for item in reversed(items[: at + 1]) if item.gap]
        gaps += [item.gap for item in items[at + 1 :] if item.gap]
        rows: list[Row] = []
        for item in reversed(items[: at + 1]):
            rows += reversed(item.rows[: len(item.rows) - hidden])
            hidden = 0
            if len(rows) >= height:
                break
        return rows[:height][::-1], gaps

    def scroll(self, chat: Conversation, width: int, height: int, up: int) -> bool:
        """Scroll by `up` rows, down if negative, at most a screen. Stop at the first and the last item.

        Return False, and do nothing, if the messages there are not read yet.
        """
        items, at, hidden, is_whole = self._place(chat, width, height)
        if not items or not is_whole:
            return is_whole
        hidden += up
        while hidden >= len(items[at].rows) and at > 0:
            hidden -= len(items[at].rows)
            at -= 1
        while hidden < 0 and at < len(items) - 1:
            at += 1
            hidden += len(items[at].rows)
        above = sum(len(item.rows) for item in items[: at + 1]) - hidden
        if above < height and up > 0:  # the first item is on the screen: put it at the top
            hidden -= height - above
            while hidden < 0 and at < len(items) - 1:
                at += 1
                hidden += len(items[at].rows)
        is_end = at == len(items) - 1 and hidden <= 0
        chat.bottom = None if is_end else (items[at].key, max(hidden, 0))
        return True

    def show(self, chat: Conversation, seq: int, height: int) -> None:
        """Bring a message, which must be in the window, to the middle of the screen."""
        near = self._window.near(chat.conv, seq, max(1, height // 3))
        below = [message for message in near.after if not self._quiet.hides(message)]
        is_end = len(below) < max(1, height // 3)
        chat.bottom = None if is_end else ((below[-1].seq, 0), 0)

    def seen(self, chat: Conversation, limit: int) -> list[Message]:
        """Return the last `limit` messages, down to the lowest on the screen."""
        near = self._window.near(chat.conv, _lowest(chat), limit)
        return [message for message in near.before if not self._quiet.hides(message)]

    def _place(self, chat: Conversation, width: int, height: int) -> tuple[list[Item], int, int, bool]:
        """Return the items around the lowest visible one, its index, and its rows below the screen.

        The fourth value is False if messages that are kept there are not read yet.
        """
        near = self._window.near(chat.conv, _lowest(chat), max(_WINDOW, 2 * height))
        items = self._items(chat, width, near)
        if chat.bottom is None:
            return items, len(items) - 1, 0, near.is_whole
        key, hidden = chat.bottom
        at = max((at for at, item in enumerate(items) if item.key <= key), default=0)
        return items, at, min(hidden, len(items[at].rows) - 1) if items else 0, near.is_whole

    def _items(self, chat: Conversation, width: int, near: Near) -> list[Item]:
        """Return the items in order: messages, with gaps and notes between them, then unsent messages."""
        stand, conv = chat.stand, chat.conv
        messages = near.before + near.after
        has_start, has_end = near.is_start, near.is_end or not near.is_read
        found: list[Item] = []
        previous = max(stand.first, 1) - 1 if has_start or not messages else messages[0].seq - 1
        low = previous if near.is_read and not has_start else -1
        last: Message | None = None
        for message in messages:
            if near.is_read:
                found += self._gap(chat, previous, message.seq, width)
            previous = message.seq
            if not self._quiet.hides(message):
                found.append(Item((message.seq, 0), self._message(chat, message, last, has_start, width)))
                last = message
        if near.is_end:
            found += self._gap(chat, previous, stand.last + 1, width)
        if has_end:
            found += self._unsent(conv, width)
        high = END if has_end else previous
        found += [
            Item(note.key, tuple(note_rows(note.text, width, "error" if note.kind == "error" else "note")))
            for note in chat.notes
            if low <= note.key[0] <= high
        ]
        return sorted(found, key=lambda item: item.key)

    def _gap(self, chat: Conversation, after: int, before: int, width: int) -> list[Item]:
        gap = after, before
        if before - after <= 1 or gap in chat.void:
            return []
        number = before - after - 1
        text = ngettext("{number} message is not here yet", "{number} messages are not here yet", number)
        text = text.format(number=number)
        return [Item((before, -1), (rule(text, width, "class:gap"),), gap)]

    def _message(
        self, chat: Conversation, message: Message, last: Message | None, has_start: bool, width: int
    ) -> tuple[Row, ...]:
        head = []
        today = day(message.ts)
        if (last is None and has_start) or (last and day(last.ts) != today):
            head.append(rule(today, width, "class:day"))
        before = last.seq if last else 0
        if chat.divider is not None and before <= chat.divider < message.seq:
            head.append(rule(_("unread"), width, "class:divider"))
        mark = ""
        if message.is_own:
            mark = "✓✓" if message.seq <= chat.stand.seen else "✓"
        return (*head, *message_rows(message, width, mark, "", self.query))

    def _unsent(self, conv: str, width: int) -> list[Item]:
        journal = self._journal
        failed = [(pending, f"✗ {reason}", "class:error") for pending, reason in journal.failed.values()]
        waiting = [(pending, "…", "class:unsent") for pending in journal.unsent.values()]
        return [
            Item((END, at), tuple(self._own(pending, mark, style, width)))
            for at, (pending, mark, style) in enumerate(failed + waiting, 1)
            if journal.place(pending) == conv
        ]

    def _own(self, pending: Pending, mark: str, style: str, width: int) -> list[Row]:
        me, name = self._me
        text = pending.text
        if not self._journal.place(pending):
            text = _("to {name}: {text}").format(name=shown_name(pending.name or pending.conv), text=text)
        message = Message(pending.conv, 0, me, name, text, 0, pending.cid, is_own=True)
        return message_rows(message, width, mark, style, self.query)


def _lowest(chat: Conversation) -> int:
    """Return the number of the lowest message on the screen, or a higher one."""
    return chat.bottom[0][0] if chat.bottom else END
