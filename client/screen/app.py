"""The full-screen client: the layout, what the keys and commands do, when it is drawn."""

from __future__ import annotations

import asyncio
import re
import sys
import time
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.mouse_events import MouseEventType

from client.aio.client import Client
from client.aio.server import Server
from client.commands.directory import Directory
from client.commands.shell import Quit, Shell, UsageError
from client.commands.table import Command, parse_line
from client.commands.view import Interrupt
from client.commands.wording import no_server, start_hint
from client.i18n import _, ngettext
from client.local import files
from client.local.accounts import Account, Accounts
from client.local.settings import BadSettings, Settings
from client.protocol.events import Event, Greeted, LoggedIn, LoggedOut, LoginFailed, Message, Retrying
from client.screen import panes
from client.screen.commands import screen_commands
from client.screen.completion import InputCompleter, titles
from client.screen.conversations import HOME, Conversation
from client.screen.desk import Desk
from client.screen.finder import Finder
from client.screen.keys import KEYS, NUMBERS
from client.screen.layout import build
from client.screen.notify import Notifier
from client.screen.question import Question
from client.screen.rows import Row
from client.text import clean, clean_line, shown_name, valid
from forkchat.errors import AlreadyOnline, Refused, TokenExpired
from forkchat.wire.conversation import parse_key

#: Seconds between two drawings for what comes by itself; a key is shown at once.
_FRAME = 0.07
#: Lines of a message above which one is asked whether it is meant; characters that can be pasted.
_MAX_LINES, _MAX_PASTE = 5, 65_536
#: Seconds between two signs that one is typing, and after the last key until a draft is kept.
_TYPING_PAUSE, _DRAFT_PAUSE = 4.0, 1.0
_WHEEL = {MouseEventType.SCROLL_UP: 3, MouseEventType.SCROLL_DOWN: -3}
#: Messages of the plain view.
_BARE = 200


class App:
    """It is also the view (`client.commands.view`) of the commands that are typed in it."""

    patience = 0.0

    def __init__(self, server: Server, settings: Settings, accounts: Accounts):
        self._server = server
        self.settings = settings
        self._accounts = accounts
        self.directory = Directory()
        folder = files.DATA / re.sub(r"[^A-Za-z0-9.-]", "_", str(server))
        self.desk = Desk(folder, self.directory, self._on_news)
        self.client = Client(
            server.host, server.port, on_event=self._on_event, ssl=server.tls, on_post=self.desk.keep
        )
        self.desk.client = self.client
        self._shell = Shell(self.client, self, self.directory, settings, screen_commands(self))
        self._notifier = Notifier(settings)
        self.question = Question()
        self._finder = Finder(self.desk)
        self.input: Buffer = Buffer(
            multiline=True,
            completer=InputCompleter(self._shell.commands, self.directory),
            history=InMemoryHistory(),
            tempfile_suffix=".txt",
            on_text_changed=self._on_text,
            enable_history_search=False,
        )
        self.retry_at: float | None = None
        self.retry_reason = ""
        self._size = 80, 24
        self._frame: asyncio.TimerHandle | None = None
        self._draft: asyncio.TimerHandle | None = None
        self._typed_at = float("-inf")
        self._told_typing = HOME, 0.0
        self._command: asyncio.Task[None] | None = None
        self._commands: asyncio.Queue[tuple[Command, list[str], str]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._application = build(self)

    async def run(self, user: str) -> int:
        """Until the user leaves."""
        asyncio.get_running_loop().set_exception_handler(self._on_failure)
        worker = self._start(self._work())
        clock = self._start(self._tick())
        self._start(self._begin(user))
        try:
            await self._application.run_async(handle_sigint=False, set_exception_handler=False)
        finally:
            self.desk.keep_draft(self.conv, self.input.text)
            worker.cancel()
            clock.cancel()
            unsent = len(self.desk.journal.unsent)
            await self.client.close()
            self.desk.close()
        if unsent:
            print(
                ngettext(
                    "{number} message is not sent yet; it goes out when chatcli is started again",
                    "{number} messages are not sent yet; they go out when chatcli is started again",
                    unsent,
                ).format(number=unsent)
            )
        return 0

    def _on_failure(self, _loop: object, context: dict[str, Any]) -> None:
        """A mistake of ours: it must not cost the user what they have on the screen."""
        error = context.get("exception")
        if error:
            file = write_failure(error)
            self.complain(
                _("something went wrong in chatcli itself; it is written down in {file}").format(file=file)
            )

    # --- what commands need -------------------------------------------------------------------------

    @property
    def conv(self) -> str:
        return self.desk.conversations.current

    def tell(self, text: str) -> None:
        self.desk.note(self.conv, text)
        self._draw_soon()

    def complain(self, text: str) -> None:
        self.desk.note(self.conv, text, "error")
        self._draw_soon()

    def show(self, message: Message) -> None:
        """It is in the conversation already."""

    def open(self, conv: str) -> None:
        if conv == self.conv:
            return
        self.desk.keep_draft(self.conv, self.input.text)
        self.desk.switch(conv)
        self._finder.end()
        self._set_input(self.desk.journal.drafts.get(conv, ""))
        self._draw_soon()

    async def secret(self, prompt: str) -> str:
        return await self.question.ask(prompt, is_secret=True)

    # --- what keys do -------------------------------------------------------------------------------

    def enter(self) -> None:
        if self.question.is_open:
            self.question.accept()
            return
        state = self.input.complete_state
        if state and state.current_completion:
            self.input.complete_state = None
            return
        text = valid(self.input.text)
        if not text.strip():
            return
        if text.count("\n") >= _MAX_LINES and not text.startswith("/"):
            self._start(self._confirm(text))
        else:
            self._accept(text)

    def cancel(self) -> None:
        """Ctrl-C: the question, else the line, else the command."""
        if self.question.is_open:
            self.question.cancel()
        elif self._finder.is_on:
            self._finder.end()
        elif self.input.text:
            self.input.reset()
        elif self._command:
            self._command.cancel()
        else:
            self.tell(_("Ctrl+q or /quit leaves"))

    def leave(self) -> None:
        if self._application.is_running and not self._application.is_done:
            self._application.exit()

    def redraw(self) -> None:
        self._application.renderer.clear()

    def step(self, by: int) -> None:
        listed = self.desk.conversations.listed()
        self.open(listed[(listed.index(self.conv) + by) % len(listed)])

    def go_to(self, number: int) -> None:
        listed = self.desk.conversations.listed()
        if number < len(listed):
            self.open(listed[number])

    def last(self) -> None:
        self.open(self.desk.conversations.previous)

    def next_unread(self) -> None:
        conv = self.desk.conversations.next_unread()
        if conv is None:
            self.tell(_("nothing is unread elsewhere"))
        else:
            self.open(conv)

    def page(self, up: int) -> None:
        self._scroll(up * max(1, self._size[1] - 2))

    def bottom(self) -> None:
        self._finder.end()
        self.desk.current.bottom = None
        self._draw_soon()

    def first_unread(self) -> None:
        chat = self.desk.current
        if chat.divider is not None:
            chat.bottom = None
            self.desk.transcript.show(chat, chat.divider + 1, self._size[1])
        else:
            self.tell(_("everything here was read"))
        self._draw_soon()

    def go_back(self, number: int) -> None:
        """So many messages from the end."""
        chat = self.desk.current
        if chat.conv:
            seq = max(chat.stand.first, 1, chat.stand.last - number + 1)
            self.desk.transcript.show(chat, seq, self._size[1])
        self._draw_soon()

    def ask_where(self) -> None:
        self._start(self._where())

    def search(self) -> None:
        """Begin, or go on to earlier ones."""
        if self._finder.is_on:
            self._found(self._finder.further(self._size[1]))
        elif self.conv and not self.question.is_open:
            self._start(self._search())

    def find(self, text: str) -> None:
        """The latest message that has the text in it."""
        self._finder.begin(self.desk.current)
        if not self._finder.find(text, self._size[1]):
            self.tell(_("nothing that is here has that in it: {text}").format(text=text))

    def help(self) -> None:
        width = max(len(key.name) for key in KEYS)
        for key in (*KEYS[:5], NUMBERS, *KEYS[5:]):
            self.tell(f"{key.name:{width}}  {_(key.help)}")

    def new_line(self) -> None:
        self.input.insert_text("\n")

    def edit(self) -> None:
        self.input.open_in_editor()

    def bare(self) -> None:
        self._start(self._bare())

    def paste(self, text: str) -> None:
        text = clean(text)
        if len(text) > _MAX_PASTE:
            self.complain(
                _("that is too long to be pasted: {number} characters, at most {most}").format(
                    number=len(text), most=_MAX_PASTE
                )
            )
        elif self.question.is_open:
            self.question.buffer.insert_text(clean_line(text))
        else:
            self.input.insert_text(text)

    # --- what happens -------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        match event:
            case Retrying():
                self.retry_at = time.monotonic() + event.seconds
                self.retry_reason = event.reason
            case Greeted():
                self.retry_at = None
        self.desk.on_event(event)
        match event:
            case LoggedIn():
                if not event.is_resumed:
                    self._load_inputs()
                self._start(self._keep_account(event.id, event.name))
            case LoggedOut(reason="logout"):
                self._forget_token()
            case LoginFailed():
                self._login_failed(event.refused)
        self._draw_soon()

    def _on_news(self, chat: Conversation, message: Message) -> None:
        is_urgent = message.conv[0] == "d" or self.desk.mentions(message.text)
        is_seen = message.conv == self.conv and time.monotonic() - self._typed_at < 10
        if is_urgent and not is_seen:
            name = shown_name(message.name)
            where = name if message.conv[0] == "d" else f"{name} {self.directory.title(message.conv)}"
            self._application.output.write_raw(self._notifier.notice(where, message.text))
            self._application.output.flush()

    async def _begin(self, user: str) -> None:
        account = self._accounts.named(user) if user else self._accounts.last()
        token = await asyncio.to_thread(self._accounts.token, account) if account else ""
        if account:
            self.desk.restore(account.id, account.name)
            self._load_inputs()
            self.desk.note(HOME, _("welcome back, {name}").format(name=shown_name(account.name)))
        if token:
            self._shell.resume(token)
        else:
            await self._welcome(account.name if account else user)
        self._draw_soon()

    async def _welcome(self, name: str) -> None:
        """Nobody can log in by themselves: say how, once we know that there is a server."""
        try:
            await self.client.connect()
            where = {"host": self._server.host, "port": self._server.port}
            self.tell(_("connected to {host}, port {port}").format(**where))
        except OSError as error:
            for text in no_server(self._server, error):
                self.complain(text)
        if name:
            self.tell(
                _("/login {name} logs in; /register NAME makes an account").format(name=shown_name(name))
            )
            self._offer(f"/login {name}")
        else:
            self.tell(_("no account is known here yet: put your name behind /register and press Enter"))
            self.tell(_("or, if you have one on this server: /login NAME"))
            self._offer("/register ")

    def _offer(self, text: str) -> None:
        if not self.input.text:
            self._set_input(text)

    def _login_failed(self, refused: Refused) -> None:
        if isinstance(refused, TokenExpired):
            name = self.directory.me[1]
            self.complain(_("the last login has expired; log in with the password"))
            self._offer(f"/login {name}")
        elif isinstance(refused, AlreadyOnline) and self._shell.is_resuming:
            hint = _("/takeover ends the session there and logs in here")
            self.complain(f"{_(clean_line(refused.errmsg))}; {hint}")

    async def _keep_account(self, user: int, name: str) -> None:
        account = Account(user, name, self.client.session.token)
        try:
            await asyncio.to_thread(self._accounts.save, account)
        except OSError as error:
            self.complain(_("the login is not kept: {reason}").format(reason=error.strerror))

    def _forget_token(self) -> None:
        account = self._accounts.named(self.directory.me[1])
        if account:
            with suppress(OSError):
                self._accounts.forget_token(account)

    def _on_text(self, _: object) -> None:
        self._typed_at = now = time.monotonic()
        text = self.input.text
        conv, told_at = self._told_typing
        if text and self.conv and text[0] != "/" and (conv != self.conv or now > told_at + _TYPING_PAUSE):
            self._told_typing = self.conv, now
            self.client.typing(self.conv)
        if self._draft:
            self._draft.cancel()
        self._draft = asyncio.get_running_loop().call_later(_DRAFT_PAUSE, self._keep_draft)

    def _keep_draft(self) -> None:
        self.desk.keep_draft(self.conv, self.input.text)

    async def _confirm(self, text: str) -> None:
        number = text.count("\n") + 1
        label = _("send these {number} lines as one message? y/n: ").format(number=number)
        with suppress(Interrupt):
            if (await self.question.ask(label)).strip().casefold() in ("y", "yes", "是", "好"):
                self._accept(text)

    def _accept(self, text: str) -> None:
        """Send a message at once; queue a command behind those that still run."""
        conv = self.conv
        self.input.reset(append_to_history=True)
        self.desk.history.add_input(text)
        self.desk.keep_draft(conv, "")
        try:
            command, arguments = parse_line(text, self._shell.commands)
            if command.name == "say" and conv and self.client.session.me:
                self.desk.post(conv, arguments[0])
            else:
                self._commands.put_nowait((command, arguments, text))
        except (UsageError, Refused) as error:
            self._failed(error, text)
        self._draw_soon()

    async def _work(self) -> None:
        """One command after the other."""
        while True:
            command, arguments, text = await self._commands.get()
            self._command = self._start(self._do(command, arguments, text))
            await asyncio.wait([self._command])
            if self._command.cancelled():
                self.tell(_("interrupted"))
            self._command = None

    async def _do(self, command: Command, arguments: list[str], text: str) -> None:
        try:
            await command.run(self._shell, *arguments)
        except Quit:
            self.leave()
        except Interrupt:
            self.tell(_("interrupted"))
        except (UsageError, BadSettings, Refused, OSError) as error:
            self._failed(error, text)
        self._draw_soon()

    def _failed(self, error: Exception, text: str) -> None:
        """Say why, and give back what was typed."""
        told = _(error.errmsg) if isinstance(error, Refused) else str(error)
        self.complain(told or _("no answer from the server"))
        if isinstance(error, ConnectionError) and not self._server.tls:
            self.complain(start_hint(self._server.port))
        self._offer(text)

    async def _where(self) -> None:
        conversations = self.desk.conversations
        found = {self.directory.title(conv) if conv else "forkchat": conv for conv in conversations.listed()}
        with suppress(Interrupt):
            completer = titles(found, lambda conv: conversations[conv].unread)
            chosen = await self.question.ask(_("go to: "), completer=completer)
            if chosen in found:
                self.open(found[chosen])

    async def _search(self) -> None:
        self._finder.begin(self.desk.current)
        try:
            await self.question.ask(_("search: "), on_text=self._find)
        except Interrupt:
            self._finder.end(is_cancelled=True)

    def _find(self, text: str) -> None:
        self._found(self._finder.find(text, self._size[1]))

    def _found(self, is_found: bool) -> None:
        if not is_found:
            self._application.output.bell()
        self.question.label = _("search: ") if is_found else _("search, nothing further: ")
        self._draw_soon()

    async def _bare(self) -> None:
        messages = self.desk.history.before(self.conv, 1 << 60, _BARE)

        def show() -> None:
            for message in messages:
                print(f"{shown_name(message.name)}: {clean(message.text)}")
            with suppress(EOFError, KeyboardInterrupt):
                print(_("-- Enter goes back "), end="", flush=True)  # input() would write it to stderr
                input()

        await run_in_terminal(show, in_executor=True)

    # --- drawing ------------------------------------------------------------------------------------

    def _scroll(self, rows: int) -> None:
        width, height = self._size
        self.desk.transcript.scroll(self.desk.current, width, height, rows)
        self._draw_soon()

    def prompt(self) -> str:
        return (self.directory.title(self.conv) if self.conv else "") + "> "

    def draw(self, width: int, height: int) -> list[Row]:
        self._size = width, height
        chat = self.desk.current
        rows, gaps = self.desk.transcript.draw(chat, width, height)
        if gaps and chat.conv:
            self.desk.fetch(chat, gaps[0])
        if chat.bottom is None and self.desk.read():
            self._draw_soon()  # the list was drawn before
        return rows

    def _draw_soon(self) -> None:
        if self._frame is None:
            self._frame = asyncio.get_running_loop().call_later(_FRAME, self._draw_now)

    def _draw_now(self) -> None:
        self._frame = None
        self.desk.commit()
        self._application.invalidate()

    async def _tick(self) -> None:
        """What changes with the time alone: the seconds until the next try, who types."""
        shown = ""
        while True:
            await asyncio.sleep(0.5)
            now = str(panes.status(self, 200))
            if now != shown:
                shown = now
                self._draw_soon()

    def on_wheel(self, _row: int, kind: MouseEventType) -> None:
        if kind in _WHEEL:
            self._scroll(_WHEEL[kind])

    def on_click(self, row: int, kind: MouseEventType) -> None:
        if kind == MouseEventType.MOUSE_UP:
            self.go_to(panes.list_start(self, self._application.output.get_size().rows) + row)

    def _set_input(self, text: str) -> None:
        self.input.text = text
        self.input.cursor_position = len(text)

    def _load_inputs(self) -> None:
        history = InMemoryHistory(self.desk.history.inputs()[::-1])
        self.input.history = history
        self.input.reset()
        self._set_input(self.desk.journal.drafts.get(self.conv, ""))

    def other(self, conv: str) -> int:
        """The id of the other side of a pair."""
        return parse_key(conv).other(self.directory.me[0])

    def _start(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._on_failure(None, {"exception": error})


def run(server: Server, settings: Settings, accounts: Accounts, user: str) -> int:
    """`user`: who is to log in; "" for whoever did last."""

    async def go() -> int:
        return await App(server, settings, accounts).run(user or settings.text("user"))

    try:
        return asyncio.run(go())
    except Exception as error:
        text = _("something went wrong in chatcli itself; it is written down in {file}")
        print(text.format(file=write_failure(error)), file=sys.stderr)
        return 1


def write_failure(error: BaseException) -> Path:
    """Where its trace is; no one's words are in it."""
    file = files.DATA / "failures.log"
    with suppress(OSError):
        files.make_private_folder(file.parent)
        with file.open("a") as stream:
            stream.write("".join(traceback.format_exception(error)))
    return file
