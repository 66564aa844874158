"""Searching in a conversation: from the latest match to earlier ones, in what is on this machine."""

from __future__ import annotations

from client.screen.conversations import Conversation
from client.screen.desk import Desk

_END = 1 << 60


class Finder:
    def __init__(self, desk: Desk):
        self._desk = desk
        self._chat = desk.current
        self._below = _END
        self._bottom: tuple[tuple[int, int], int] | None = None

    @property
    def is_on(self) -> bool:
        return bool(self._desk.transcript.query)

    def begin(self, chat: Conversation) -> None:
        self._chat, self._below, self._bottom = chat, _END, chat.bottom

    def find(self, text: str, height: int) -> bool:
        """Show the latest message with the text; whether there is one."""
        self._desk.transcript.query = text
        self._below = _END
        return self.further(height)

    def further(self, height: int) -> bool:
        """Show the one before; whether there is one."""
        query = self._desk.transcript.query
        found = self._desk.history.find(self._chat.conv, query, self._below) if query else []
        if found:
            self._below = found[0].seq
            self._desk.transcript.show(self._chat, self._below, height)
        return bool(found) or not query

    def end(self, is_cancelled: bool = False) -> None:
        """Nothing is marked any more; back to where one was when it is cancelled."""
        self._desk.transcript.query = ""
        if is_cancelled:
            self._chat.bottom = self._bottom
