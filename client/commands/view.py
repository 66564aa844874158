"""What commands need of the place that they were typed in: the screen, or a script's output."""

from __future__ import annotations

from typing import Protocol

from client.protocol.events import Message


class Interrupt(Exception):
    """The user has pressed Ctrl-C at a question.

    Not KeyboardInterrupt: out of a task that would end the event loop.
    """


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

    def show(self, message: Message) -> None:
        """Show a message of the past."""

    def open(self, conv: str) -> None:
        """`conv` is what the user looks at from now on."""

    async def secret(self, prompt: str) -> str:
        """What the user types without its being shown. Raises Interrupt; EOFError when there is nobody."""
