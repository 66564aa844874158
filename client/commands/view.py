"""The interface between commands and the view they were typed in: the screen, or a script's output."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from client.protocol.events import Message


class View(Protocol):
    """The place where commands are typed and their results are shown.

    `patience`: seconds that a command waits for its message to be stored, 0 for no wait.
    `conv`: the conversation that a line without a command goes to, "" for none.
    """

    patience: float

    @property
    def conv(self) -> str: ...

    def tell(self, text: str) -> None:
        """Report what was done. The text may contain other users' words, and several lines."""

    def complain(self, text: str) -> None:
        """Report what went wrong."""

    def page(self, title: str, lines: list[str]) -> None:
        """Show a text that is too long for an answer."""

    def show(self, message: Message) -> None:
        """Show a message from the history."""

    def open(self, conv: str) -> None:
        """Make `conv` the current conversation, unless the user has gone elsewhere meanwhile."""

    def secrets(self, prompts: list[str]) -> Awaitable[list[str]]:
        """Ask the user for hidden input at once, and return an awaitable of the answers.

        Awaiting it raises EOFError if there is no user to ask.
        """
