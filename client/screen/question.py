"""Questions in the place of the input line: a password, yes or no, where to go, what to search for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, DummyCompleter, DynamicCompleter

from client.commands.view import Interrupt
from client.text import valid


class Question:
    """At most one is asked at a time. `is_secret`: what is typed is not to be seen, nor remembered.
    `on_change` is called when one is asked, and when it is answered.
    """

    def __init__(self) -> None:
        self.label = ""
        self.is_secret = False
        self.completer: Completer = DummyCompleter()
        self.on_change: Callable[[], None] = lambda: None
        self._answer: asyncio.Future[str] | None = None
        self._on_text: Callable[[str], object] | None = None
        self.buffer = Buffer(
            multiline=False,
            completer=DynamicCompleter(lambda: self.completer),
            complete_while_typing=True,
            on_text_changed=self._text_changed,
        )

    @property
    def is_open(self) -> bool:
        return self._answer is not None

    def ask(
        self,
        label: str,
        *,
        is_secret: bool = False,
        completer: Completer | None = None,
        on_text: Callable[[str], object] | None = None,
    ) -> Coroutine[Any, Any, str]:
        """Ask at once, so that what is typed next is for it; the coroutine MUST be awaited, and has what was
        typed when Enter was pressed. Both raise Interrupt: for Ctrl-C, and if one is asked already."""
        if self._answer:
            raise Interrupt
        self._answer = asyncio.get_running_loop().create_future()
        self.label, self.is_secret = label, is_secret
        self.completer = completer or DummyCompleter()
        self._on_text = on_text
        self.buffer.reset()
        self.on_change()
        return self._wait(self._answer)

    async def _wait(self, answer: asyncio.Future[str]) -> str:
        try:
            return valid(await answer)
        finally:
            self._answer = None
            self._on_text = None
            self.buffer.reset()
            self.on_change()

    def accept(self) -> None:
        """Enter: the marked completion, else the first one, else what was typed."""
        state = self.buffer.complete_state
        chosen = state and state.current_completion
        if not chosen:  # made anew: who types fast presses Enter before the menu is there
            event = CompleteEvent(completion_requested=True)
            chosen = next(iter(self.completer.get_completions(self.buffer.document, event)), None)
        self._resolve(chosen.text if chosen else self.buffer.text)

    def relabel(self, label: str) -> None:
        if self.is_open:
            self.label = label

    def cancel(self) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_exception(Interrupt())

    def _resolve(self, text: str) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(text)

    def _text_changed(self, _: object) -> None:
        if self._on_text:
            self._on_text(self.buffer.text)
