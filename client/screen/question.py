"""Questions in the place of the input line: a password, yes or no, a conversation, a text to search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, DummyCompleter, DynamicCompleter
from prompt_toolkit.document import Document

from client.text import valid

_YES, _NO = ("y", "yes", "是", "好"), ("n", "no", "否", "不")


class Question:
    """The question to the user, of which at most one is open at a time.

    `is_secret`: the typed text is neither shown nor remembered. `on_change` is called when a question is
    opened, and when it is answered.

    A question opens, closes and passes on its answer at once. Text typed after that goes to what comes next,
    even in the same read of the terminal.
    """

    def __init__(self) -> None:
        self.label = ""
        self.is_secret = False
        self.completer: Completer = DummyCompleter()
        self.on_change: Callable[[], None] = lambda: None
        self._then: Callable[[str | None], object] | None = None
        self._on_text: Callable[[str], object] | None = None
        self.buffer = Buffer(
            multiline=False,
            completer=DynamicCompleter(lambda: self.completer),
            complete_while_typing=True,
            on_text_changed=self._text_changed,
        )

    @property
    def is_open(self) -> bool:
        return self._then is not None

    def ask(
        self,
        label: str,
        then: Callable[[str | None], object],
        *,
        is_secret: bool = False,
        completer: Completer | None = None,
        on_text: Callable[[str], object] | None = None,
        text: str = "",
    ) -> None:
        """Open a question. `then` gets the typed text after Enter, None after Ctrl-C.

        `text` is in the line from the start. MUST NOT be called while a question is open.
        """
        self._then, self._on_text = then, on_text
        self.label, self.is_secret = label, is_secret
        self.completer = completer or DummyCompleter()
        self.buffer.reset(Document(text))
        self.on_change()

    def confirm(
        self, label: str, then: Callable[[], object], otherwise: Callable[[], object] = lambda: None
    ) -> None:
        """Ask for a yes, which calls `then`, or a no, which calls `otherwise`. Ctrl-C calls neither.

        Any other answer stays in the line, because the user may not have seen the question. MUST NOT be
        called while a question is open.
        """

        def take(answer: str | None) -> None:
            word = answer and answer.strip().casefold()
            if word in _YES:
                then()
            elif word in _NO:
                otherwise()
            elif answer is not None:
                self.ask(label, take, text=answer)

        self.ask(label, take)

    def secrets(self, labels: Sequence[str]) -> asyncio.Future[list[str]]:
        """Ask for several secrets in turn; return a future of the answers, which Ctrl-C cancels.

        MUST NOT be called while a question is open.
        """
        typed: list[str] = []
        found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

        def take(answer: str | None) -> None:
            if answer is None:
                found.cancel()
                return
            typed.append(answer)
            if len(typed) < len(labels):
                ask()
            elif not found.done():
                found.set_result(typed)

        def ask() -> None:
            self.ask(labels[len(typed)], take, is_secret=True)

        ask()
        return found

    def accept(self) -> None:
        """Answer with the marked completion, else with the first one, else with the typed text."""
        state = self.buffer.complete_state
        chosen = state and state.current_completion
        if not chosen:  # completed again, because Enter may come before the menu is there
            event = CompleteEvent(completion_requested=True)
            chosen = next(iter(self.completer.get_completions(self.buffer.document, event)), None)
        self._close(valid(chosen.text if chosen else self.buffer.text))

    def relabel(self, label: str) -> None:
        if self.is_open:
            self.label = label

    def cancel(self) -> None:
        self._close(None)

    def _close(self, answer: str | None) -> None:
        then, self._then = self._then, None
        self._on_text = None
        self.buffer.reset()
        self.on_change()
        if then:
            then(answer)

    def _text_changed(self, _: object) -> None:
        if self._on_text:
            self._on_text(self.buffer.text)
