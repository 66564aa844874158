"""The input line: what is typed, completed, pasted, offered and entered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.history import InMemoryHistory

from client.commands.shell import UsageError
from client.commands.table import Command, parse_line, without_password
from client.i18n import _
from client.screen.completion import InputCompleter
from client.screen.conversations import HOME
from client.screen.question import Question
from client.screen.turns import Entered, Turns
from client.text import clean, clean_line, valid
from forkchat.errors import Refused

if TYPE_CHECKING:
    from client.screen.app import App

#: Lines of a message above which one is asked whether it is meant; characters that can be pasted.
_MAX_LINES, _MAX_PASTE = 5, 65_536
#: The commands whose last argument is a message.
_MESSAGES = ("say", "msg", "groupchat")
#: Seconds between two signs that one is typing, and after the last key until a draft is kept.
_TYPING_PAUSE, _DRAFT_PAUSE = 4.0, 1.0


class Composer:
    """`typed_at`: when the text last changed, in monotonic seconds."""

    def __init__(self, app: App):
        self._app = app
        self.question = Question()
        self.turns = Turns(app)
        self.buffer: Buffer = Buffer(
            multiline=True,
            completer=InputCompleter(app.shell.commands, app.directory),
            history=InMemoryHistory(),
            tempfile_suffix=".txt",
            on_text_changed=self._on_text,
        )
        self.typed_at = float("-inf")
        self._told_typing = HOME, 0.0
        self._draft: asyncio.TimerHandle | None = None
        self._offered = ""

    def close(self) -> None:
        """What could not be sent is a draft, with what was being typed."""
        self._take_back(self.turns.close())
        self.keep_draft()

    def enter(self) -> None:
        if self.question.is_open:
            self.question.accept()
            return
        state = self.buffer.complete_state
        if state and state.current_completion:
            self.buffer.complete_state = None
            return
        text = valid(self.buffer.text)
        if text.strip():
            self._accept(text)

    def cancel(self) -> bool:
        """The question, else the line, else the command; whether there was one."""
        if self.question.is_open:
            self.question.cancel()
        elif self.buffer.text:
            self.buffer.reset()
        else:
            return self.turns.cancel()
        return True

    def new_line(self) -> None:
        self.buffer.insert_text("\n")

    def edit(self) -> None:
        self.buffer.open_in_editor()

    def paste(self, text: str) -> None:
        text = clean(text).rstrip("\n")  # what was copied with its line end
        if len(text) > _MAX_PASTE:
            self._app.complain(
                _("that is too long to be pasted: {number} characters, at most {most}").format(
                    number=len(text), most=_MAX_PASTE
                )
            )
        elif self.question.is_open:
            self.question.buffer.insert_text(clean_line(text))
        else:
            self.buffer.insert_text(text)

    def offer(self, text: str) -> None:
        """Put it there, unless the user has begun to type. It is replaced by what is typed next, as long as
        nothing else was done to it; one that ends with a blank is to be gone on with, unless by a command.
        """
        if not self.buffer.text:
            self._set(text)
            self._offered = text

    def keep_draft(self) -> None:
        self._app.desk.keep_draft(self._app.conv, self._keepable())

    def _keepable(self) -> str:
        return without_password(valid(self.buffer.text), self._app.shell.commands)

    def _draft_here(self) -> str:
        return self._app.desk.journal.drafts.get(self._app.conv, "")

    def swap_draft(self, left: str) -> None:
        """A key has led here, from `left`: what was begun there, and what waits there, stays there."""
        self._take_back(self.turns.let_go())
        self._app.desk.keep_draft(left, self._keepable())
        self._set(self._draft_here())

    def bring_along(self, left: str) -> None:
        """A command has led here, from `left`: what is typed behind it was meant for here. The draft that was
        here can be had by Up.
        """
        if not self.buffer.text:
            self._set(self._draft_here())
            return
        if draft := self._draft_here():
            self.buffer.history.append_string(draft)
            self._app.desk.history.add_input(draft)
            self.buffer.reset(self.buffer.document)
        self._app.desk.keep_draft(left, "")
        self.keep_draft()

    def put_away(self) -> None:
        """Another user is about to come: what was begun in a conversation is this one's draft."""
        if self._app.conv:
            self.keep_draft()
            self.buffer.reset()

    def bring_inputs(self) -> None:
        """Another user is here now. What was begun on the home page stays in the line."""
        self.buffer.history = InMemoryHistory(self._app.desk.history.inputs()[::-1])
        self.buffer.reset(self.buffer.document)
        if not self.buffer.text:
            self._set(self._draft_here())

    def _take_back(self, messages: list[str]) -> None:
        self._set("\n".join(filter(None, [*messages, self.buffer.text])))

    def _set(self, text: str) -> None:
        self.buffer.text = text
        self.buffer.cursor_position = len(text)

    def _on_text(self, _: object) -> None:
        if self._replaces_offer():
            return  # it is called again
        app, text = self._app, self.buffer.text
        self.typed_at = now = time.monotonic()
        conv, told_at = self._told_typing
        if text and app.conv and text[0] != "/" and (conv != app.conv or now > told_at + _TYPING_PAUSE):
            self._told_typing = app.conv, now
            app.client.typing(app.conv)
        if self._draft:
            self._draft.cancel()
        self._draft = asyncio.get_running_loop().call_later(_DRAFT_PAUSE, self.keep_draft)

    def _replaces_offer(self) -> bool:
        offered, self._offered = self._offered, ""
        typed = self.buffer.text.removeprefix(offered)
        if not offered or typed in ("", self.buffer.text) or (offered[-1] == " " and typed[0] != "/"):
            return False
        self._set(typed)
        return True

    def _accept(self, text: str) -> None:
        """What fails stays in the line; so does, until one has said yes, what is long and perhaps a slip."""
        try:
            command, arguments = parse_line(text, self._app.shell.commands)
        except UsageError as error:
            self.turns.tell(error)
            return
        lines = arguments[-1].count("\n") + 1 if command.name in _MESSAGES else 0
        if lines > _MAX_LINES:
            label = _("send these {number} lines as one message? y/n: ").format(number=lines)
            self.question.confirm(label, lambda: self._do(command, arguments, text))
        else:
            self._do(command, arguments, text)

    def _do(self, command: Command, arguments: list[str], text: str) -> None:
        """Send a message at once, unless it is behind a command that has no answer yet."""
        app = self._app
        is_message = command.name == "say"
        try:
            if is_message and app.conv and app.client.session.me and not self.turns.is_busy:
                app.client.post(app.conv, arguments[0])
            else:
                self.turns.put(Entered(text, command.run(app.shell, *arguments), is_message))
        except (UsageError, Refused) as error:
            self.turns.tell(error)
            return
        self.buffer.reset(append_to_history=True)
        self._told_typing = HOME, 0.0  # a message ends it for the others
        app.desk.history.add_input(text)
        app.desk.keep_draft(app.conv, "")
        app.draw_soon()
