"""What commands need of the place that they were typed in: the screen, or a script's output."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from client.protocol.events import Message


class View(Protocol):
    """`patience`: seconds that a command waits for its message to be stored; 0: not at all.

    `conv`: the conversation that a line without a command goes to, "" for none.
    """

    patience: float

    @property
    def conv(self) -> str: ...

    def tell(self, text: str) -> None:
        """Say what was done. The text may have others' words in it, and several lines."""

    def complain(self, text: str) -> None:
        """Say what went wrong."""

    def page(self, title: str, lines: list[str]) -> None:
        """Show a text that is longer than an answer."""

    def show(self, message: Message) -> None:
        """Show a message of the past."""

    def open(self, conv: str) -> None:
        """`conv` is what the user looks at from now on, unless they have gone elsewhere."""

    def secrets(self, prompts: list[str]) -> Awaitable[list[str]]:
        """Ask at once; awaited it is what the user has typed, without its being shown. Raises EOFError when
        there is nobody."""
