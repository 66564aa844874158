"""The input line: typing, completion, pasting, offered texts, and Enter."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory

from client.commands.shell import Shell, UsageError
from client.commands.table import Command, parse_line, without_password
from client.i18n import _, ngettext
from client.local.journal import Journal
from client.screen.completion import InputCompleter
from client.screen.conversations import HOME
from client.screen.question import Question
from client.screen.turns import Entered, Turns
from client.text import clean_line, tidied, valid
from forkchat.errors import Refused

if TYPE_CHECKING:
    from client.screen.app import App

#: Lines of a message above which the user is asked to confirm it.
#: Characters that can be pasted at once, at most.
_MAX_LINES, _MAX_PASTE = 5, 65_536
#: The commands whose last argument is a message.
_MESSAGES = ("say", "me", "msg", "query", "groupchat")
#: Seconds between two notices to the server that the user is typing.
#: Seconds after a key press until the draft is synced to the disk.
_TYPING_PAUSE, _SYNC_PAUSE = 4.0, 0.3


async def _when_due(shell: Shell, line: str) -> object:
    """Parse and run a line that waited for its turn, because its conversation is known only now."""
    command, arguments = parse_line(line, shell.commands, has_classic=not shell.view.conv)
    return await command.run(shell, *arguments)


_LATER = Command("say", "TEXT", "", _when_due, is_local=True)


class Composer:
    """The input line, and the question in its place.

    `typed_at`: when the text last changed, in monotonic seconds.
    """

    def __init__(self, app: App):
        self._app = app
        self.question = Question()
        self.turns = Turns(app)
        self.buffer: Buffer = Buffer(
            multiline=True,
            completer=InputCompleter(app.shell.commands, app.directory, app.accounts),
            history=InMemoryHistory(),
            tempfile_suffix=".txt",
            on_text_changed=self._on_text,
        )
        self.typed_at = float("-inf")
        self._told_typing = HOME, 0.0
        self._sync: asyncio.TimerHandle | None = None
        self._offered = ""

    async def close(self) -> None:
        self.keep_draft()
        await self.turns.close()
        if self._sync:
            self._sync.cancel()

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
        """Cancel the question, else clear the line, else cancel the command.

        Return False if there was none of them.
        """
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
        if len(text) > _MAX_PASTE:
            self._app.complain(
                _("that is too long to be pasted: {number} characters, at most {most}").format(
                    number=len(text), most=_MAX_PASTE
                )
            )
            return
        text = tidied(text).rstrip("\n")  # a copied line often includes its line end
        if self.question.is_open:
            self.question.buffer.insert_text(clean_line(text))
        else:
            self.buffer.insert_text(text)

    def offer(self, text: str) -> None:
        """Put a text into the line, unless the user has begun to type.

        Text typed directly after the offer replaces it. An offer that ends with a blank is continued instead,
        unless a command is typed.
        """
        if not self.buffer.text:
            self._set(text)
            self._offered = text

    def keep_draft(self) -> None:
        self._app.desk.keep_draft(self._app.conv, self._keepable())

    def _keepable(self) -> str:
        return without_password(valid(self.buffer.text), self._app.shell.commands) if self._is_typed else ""

    @property
    def _is_typed(self) -> bool:
        """True if the user has typed the text in the line."""
        return self.buffer.text not in ("", self._offered)

    def _draft_here(self) -> str:
        return self._app.desk.journal.text(self._app.conv)

    def swap_draft(self, left: str) -> None:
        """Show the draft of this conversation, after a key has led here from the conversation `left`.

        Text begun in `left`, and messages waiting there, become the draft of `left`.
        """
        self._take_back(self.turns.let_go(), left)
        self._set(self._draft_here())

    def bring_along(self, left: str) -> None:
        """Keep the line, after a command has led here from the conversation `left`.

        Text typed after the command was meant for this conversation. A draft that it replaces is put into the
        history, where Up finds it.
        """
        self._meet_draft()
        if self._is_typed:
            self._app.desk.keep_draft(left, "")

    def take_in(self, conv: str, text: str) -> None:
        """Put a text begun earlier for `conv` before the draft that is there now."""
        if conv != self._app.conv:
            draft = self._app.desk.journal.text(conv)
            self._app.desk.keep_draft(conv, f"{text}\n{draft}" if draft else text)
            return
        line = self.buffer.document if self._is_typed else Document()
        head = f"{text}\n" if line.text else text
        self.buffer.reset(Document(head + line.text, len(head) + line.cursor_position))
        self.keep_draft()

    def put_away(self) -> None:
        """Prepare for another user.

        Text begun in a conversation becomes the draft of the user who leaves. An open question is cancelled,
        unless it asks for a password.
        """
        if not self.question.is_secret:
            self.question.cancel()
        if self._app.conv:
            self.keep_draft()
            self.buffer.reset()

    def come_in(self) -> None:
        """Begin with another user. Text begun on the home page stays in the line."""
        self.buffer.history = InMemoryHistory()
        self.buffer.reset(self.buffer.document)
        self._meet_draft()

    def _meet_draft(self) -> None:
        """Keep the typed text as the draft of this conversation, or show the draft if nothing is typed.

        A draft that the typed text replaces is put into the history.
        """
        draft, is_typed = self._draft_here(), self._is_typed
        if draft and not is_typed:
            self._set(draft)
        elif draft:
            self._remember(draft)
        if is_typed:
            self.keep_draft()

    def bring_inputs(self, earlier: list[str]) -> None:
        """Put the lines that this user typed in earlier runs into the history."""
        self.buffer.history = InMemoryHistory([*earlier, *self.buffer.history.get_strings()])
        self.buffer.reset(self.buffer.document)

    def resume(self) -> None:
        """Ask whether to do the lines that an earlier run left unfinished.

        They are kept until the user has answered.
        """
        left_over = self._app.desk.left_over
        if self.question.is_open or not left_over:
            return
        label = ngettext(
            "{number} line was entered and not done when chatcli ended: do it now? y/n: ",
            "{number} lines were entered and not done when chatcli ended: do them now? y/n: ",
            len(left_over),
        )
        for line in left_over.values():
            self._app.tell(_("entered and not done: {text}").format(text=clean_line(line.text)))

        def do() -> None:
            self._app.desk.left_over = {}
            last = [*left_over.values()][-1]
            self._app.go_to(self._app.desk.journal.place(last))
            for key, line in left_over.items():
                self._again(key, line.text, line.conv == last.conv)

        def let_go() -> None:
            for key in left_over:
                self._app.desk.over(key)

        self.question.confirm(label.format(number=len(left_over)), do, let_go)

    def _again(self, key: str, text: str, leads: bool) -> None:
        """Do a line of an earlier run. `leads`: the user did not go elsewhere after entering it."""
        self._remember(text)
        is_behind = self.turns.is_busy
        try:
            command, arguments = self._parse(text)
            job = command.run(self._app.shell, *arguments)
        except (UsageError, Refused) as error:
            self._app.desk.over(key)
            self.turns.tell(error)
            self.offer(text)
        else:
            self.turns.put(Entered(key, text, job, command.is_local, leads), is_behind)

    def _remember(self, text: str) -> None:
        """Add a text to the history, where Up finds it, and leave the line as it is."""
        self.buffer.history.append_string(text)
        self._app.desk.history.add_input(text)
        self.buffer.reset(self.buffer.document)

    def _take_back(self, messages: list[Entered], conv: str) -> None:
        """Turn waiting messages into a draft of that conversation, followed by the text in the line."""
        texts = [entered.text for entered in messages]
        self._app.desk.keep_draft(conv, "\n".join(filter(None, [*texts, self._keepable()])))
        for entered in messages:
            self._app.desk.over(entered.key)

    def _set(self, text: str) -> None:
        """Set the line without a call of `_on_text`, because the user has not typed the text."""
        self._offered = ""
        self.buffer.reset(Document(text, len(text)))

    def _on_text(self, _: object) -> None:
        self._replace_offer()
        app, text = self._app, self.buffer.text
        self.typed_at = now = time.monotonic()
        conv, told_at = self._told_typing
        if text and app.conv and text[0] != "/" and (conv != app.conv or now > told_at + _TYPING_PAUSE):
            self._told_typing = app.conv, now
            app.client.typing(app.conv)
        self.keep_draft()
        self._sync = self._sync or asyncio.get_running_loop().call_later(_SYNC_PAUSE, self._have_synced)

    def _have_synced(self) -> None:
        self._sync = None
        self._app.desk.change_journal(Journal.sync)

    def _replace_offer(self) -> None:
        offered, self._offered = self._offered, ""
        typed = self.buffer.text.removeprefix(offered)
        if offered and typed not in ("", self.buffer.text) and (offered[-1] != " " or typed[0] == "/"):
            self._set(typed)

    def _accept(self, text: str) -> None:
        """Run the entered text, which stays in the line if it fails.

        A message of many lines may be a slip. It stays in the line until the user confirms it.
        """
        is_behind, asked = self.turns.is_busy, self._asked
        try:
            command, arguments = self._parse(text)
        except UsageError as error:
            self.turns.tell(error)
            return
        lines = arguments[-1].count("\n") + 1 if command.name in _MESSAGES else 0
        if lines > _MAX_LINES:
            label = _("send these {number} lines as one message? y/n: ").format(number=lines)

            def send() -> None:
                if self._asked == asked:  # else the line or the epoch has changed since
                    self._do(command, arguments, text, is_behind)

            self.question.confirm(label, send)
        else:
            self._do(command, arguments, text, is_behind)

    @property
    def _asked(self) -> tuple[str, str]:
        """The text in the line, and the epoch of the server's database in which its names are valid."""
        return self.buffer.text, self._app.desk.journal.epoch

    def _parse(self, text: str) -> tuple[Command, list[str]]:
        """Parse a text. In a conversation, `help` and the other classic commands are messages.

        A text without a slash is parsed later if a command is still running. Raises UsageError.
        """
        if self.turns.is_busy and not text.startswith("/"):
            return _LATER, [text]
        return parse_line(text, self._app.shell.commands, has_classic=not self._app.conv)

    def _do(self, command: Command, arguments: list[str], text: str, is_behind: bool) -> None:
        """Send a message at once, unless it was entered after a command that had no answer yet."""
        app, key = self._app, ""
        try:
            is_plain = command.name == "say" and app.conv and app.client.session.me
            if is_plain and not is_behind:
                app.shell.post(app.conv, arguments[0])
            else:
                key = app.desk.enter(text)
                job = command.run(app.shell, *arguments)
                self.turns.put(Entered(key, text, job, command.is_local), is_behind)
        except (UsageError, Refused) as error:
            app.desk.over(key)
            self.turns.tell(error)
            return
        self.buffer.reset(append_to_history=True)
        self._told_typing = HOME, 0.0  # a message ends the typing notice for the others
        app.desk.history.add_input(text)
        app.desk.keep_draft(app.conv, "")
        app.draw_soon()
