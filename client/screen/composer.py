"""The input line: what is typed, completed, pasted and sent, and the commands, one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.history import InMemoryHistory

from client.commands.shell import Quit, UsageError
from client.commands.table import Command, parse_line, without_password
from client.commands.wording import complaint, start_hint
from client.i18n import _
from client.local.settings import BadSettings
from client.screen.completion import InputCompleter
from client.screen.conversations import HOME
from client.screen.question import Question
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
        self._running: asyncio.Task[None] | None = None
        self._commands: asyncio.Queue[tuple[Coroutine[Any, Any, object], str]] = asyncio.Queue()

    async def work(self) -> None:
        """Run the commands, for as long as the client does."""
        while True:
            self._running = self._app.start(self._run(*await self._commands.get()))
            await asyncio.wait([self._running])
            if self._running.cancelled():
                self._app.tell(_("interrupted"))
            self._running = None

    def close(self) -> None:
        """The turn of those that still wait will not come."""
        while not self._commands.empty():
            self._commands.get_nowait()[0].close()

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
        elif self._running:
            self._running.cancel()
        else:
            return False
        return True

    def new_line(self) -> None:
        self.buffer.insert_text("\n")

    def edit(self) -> None:
        self.buffer.open_in_editor()

    def paste(self, text: str) -> None:
        text = clean(text)
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
        """Put it there, unless the user has begun to type."""
        if not self.buffer.text:
            self._set(text)

    def keep_draft(self) -> None:
        text = without_password(valid(self.buffer.text), self._app.shell.commands)
        self._app.desk.keep_draft(self._app.conv, text)

    def bring_draft(self) -> None:
        """The user is in another conversation now."""
        self._set(self._app.desk.journal.drafts.get(self._app.conv, ""))

    def put_away(self) -> None:
        """Another user is about to come: what was begun in a conversation is this one's draft."""
        if self._app.conv:
            self.keep_draft()
            self.buffer.reset()

    def bring_inputs(self) -> None:
        """Another user is here now. What was begun on the home page stays in the line."""
        self.buffer.history = InMemoryHistory(self._app.desk.history.inputs()[::-1])
        self.buffer.reset(self.buffer.document)
        self.offer(self._app.desk.journal.drafts.get(HOME, ""))

    def _set(self, text: str) -> None:
        self.buffer.text = text
        self.buffer.cursor_position = len(text)

    def _on_text(self, _: object) -> None:
        app, text = self._app, self.buffer.text
        self.typed_at = now = time.monotonic()
        conv, told_at = self._told_typing
        if text and app.conv and text[0] != "/" and (conv != app.conv or now > told_at + _TYPING_PAUSE):
            self._told_typing = app.conv, now
            app.client.typing(app.conv)
        if self._draft:
            self._draft.cancel()
        self._draft = asyncio.get_running_loop().call_later(_DRAFT_PAUSE, self.keep_draft)

    def _accept(self, text: str) -> None:
        """What fails stays in the line; so does, until one has said yes, what is long and perhaps a slip."""
        try:
            command, arguments = parse_line(text, self._app.shell.commands)
        except UsageError as error:
            self._tell(error)
            return
        lines = arguments[-1].count("\n") + 1 if command.name in _MESSAGES else 0
        if lines > _MAX_LINES:
            label = _("send these {number} lines as one message? y/n: ").format(number=lines)
            conv = self._app.conv

            def send() -> None:
                self._app.open(conv)  # a command may have led elsewhere meanwhile
                self._do(command, arguments, text)

            self.question.confirm(label, send)
        else:
            self._do(command, arguments, text)

    def _do(self, command: Command, arguments: list[str], text: str) -> None:
        """Send a message at once; queue a command behind those that still run."""
        app = self._app
        try:
            if command.name == "say" and app.conv and app.client.session.me:
                app.desk.post(app.conv, arguments[0])
            else:
                self._commands.put_nowait((command.run(app.shell, *arguments), text))
        except Refused as error:
            self._tell(error)
            return
        self.buffer.reset(append_to_history=True)
        self._told_typing = HOME, 0.0  # a message ends it for the others
        app.desk.history.add_input(text)
        app.desk.keep_draft(app.conv, "")
        app.draw_soon()

    async def _run(self, command: Coroutine[Any, Any, object], text: str) -> None:
        try:
            await command
        except Quit:
            self._app.leave()
        except (UsageError, BadSettings, Refused, OSError) as error:
            self._tell(error)
            self.offer(text)
        self._app.draw_soon()

    def _tell(self, error: Exception) -> None:
        self._app.complain(complaint(error))
        if isinstance(error, ConnectionError) and not self._app.server.tls:
            self._app.complain(start_hint(self._app.server.port))
