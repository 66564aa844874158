"""The full-screen client: its parts put together, what happens handed to them, when it is drawn."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any

from client.aio.client import Client
from client.aio.server import Server
from client.commands.directory import Directory
from client.commands.shell import Shell
from client.i18n import _, ngettext
from client.local import files
from client.local.accounts import Accounts
from client.local.settings import Settings
from client.protocol.events import Event, Greeted, Message, Retrying
from client.screen import panes
from client.screen.bare import Bare
from client.screen.commands import screen_commands
from client.screen.composer import Composer
from client.screen.conversations import Conversation
from client.screen.desk import Desk
from client.screen.entrance import Entrance
from client.screen.failures import Failures
from client.screen.keys import KEYS, NUMBERS
from client.screen.layout import build
from client.screen.notify import Notifier
from client.screen.reader import Reader
from client.text import shown_name
from forkchat.wire.conversation import parse_key

#: Seconds between two drawings for what comes by itself; a key is shown at once.
_FRAME = 0.07
#: Seconds after a key for which the user is taken to see what comes.
_LOOKS = 10.0
_FAILURES = files.DATA / "failures.log"


class App:
    """It is also the view (`client.commands.view`) of the commands that are typed in it.

    `retry_at`: when the next try to connect is, None while there is a connection; `retry_reason`: why there
    is none.
    """

    patience = 0.0

    def __init__(self, server: Server, settings: Settings, accounts: Accounts, given: Mapping[str, str]):
        self.server = server
        self.settings = settings
        self.directory = Directory()
        folder = files.DATA / re.sub(r"[^A-Za-z0-9.-]", "_", str(server))
        self.desk = Desk(folder, self.directory, self._on_news, self.draw_soon)
        self.client = Client(
            server.host, server.port, on_event=self._on_event, ssl=server.tls, on_post=self.desk.keep
        )
        self.desk.client = self.client
        self.shell = Shell(
            self.client, self, self.directory, settings, accounts, given, screen_commands(self)
        )
        self.composer: Composer = Composer(self)
        self.reader: Reader = Reader(self)
        self.bare: Bare = Bare(self)
        self.retry_at: float | None = None
        self.retry_reason = ""
        self._entrance = Entrance(self, accounts)
        self._notifier = Notifier(settings)
        self._failures = Failures(_FAILURES)
        self._frame: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._application = build(self)

    async def run(self, user: str) -> int:
        """Until the user leaves; the exit code."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_failure)
        loop.add_signal_handler(signal.SIGINT, self.cancel)  # Ctrl-C is one in the plain view alone
        self.start(self.composer.work())
        self.start(self._tick())
        self.start(self._entrance.begin(user))
        try:
            await self._application.run_async(handle_sigint=False, set_exception_handler=False)
        finally:
            self.composer.keep_draft()
            for task in self._tasks:
                task.cancel()
            self.composer.close()
            await self.client.close()
            self.desk.close()
        self._say_what_waits()
        return 0

    def _say_what_waits(self) -> None:
        unsent, lost = len(self.desk.journal.unsent), self.desk.journal.unkept
        if lost:
            text = ngettext(
                "{number} message or draft could not be kept, and is lost",
                "{number} messages and drafts could not be kept, and are lost",
                lost,
            )
            print(text.format(number=lost))
        elif unsent:
            text = ngettext(
                "{number} message is not sent yet; it goes out when chatcli is started again",
                "{number} messages are not sent yet; they go out when chatcli is started again",
                unsent,
            )
            print(text.format(number=unsent))

    # --- the view -----------------------------------------------------------------------------------

    @property
    def conv(self) -> str:
        return self.desk.conversations.current

    def tell(self, text: str) -> None:
        self.desk.note(self.conv, text)
        self.draw_soon()

    def complain(self, text: str) -> None:
        self.desk.note(self.conv, text, "error")
        self.draw_soon()

    def show(self, message: Message) -> None:
        """It is in the conversation already."""

    def open(self, conv: str) -> None:
        if conv != self.conv:
            self.composer.keep_draft()
            self.reader.end_search()
            self.desk.switch(conv)
            self.composer.bring_draft()
            self.draw_soon()

    def secrets(self, prompts: list[str]) -> Awaitable[list[str]]:
        return self.composer.question.secrets(prompts)

    # --- what keys do -------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Ctrl-C: the plain view, a question, a search, the line, a command."""
        if self.bare.is_shown:
            self.bare.end()
        elif self.reader.is_searching and not self.composer.question.is_open:
            self.reader.end_search()
        elif not self.composer.cancel():
            self.tell(_("Ctrl+q or /quit leaves"))
        self.draw_soon()

    def help(self) -> None:
        width = max(len(key.name) for key in KEYS)
        for key in (*KEYS[:5], NUMBERS, *KEYS[5:]):
            self.tell(f"{key.name:{width}}  {_(key.help)}")

    def redraw(self) -> None:
        self._application.renderer.clear()

    def leave(self) -> None:
        """What would be lost with that is asked about."""
        self.composer.keep_draft()
        lost = self.desk.unkept()
        if not lost:
            self._exit()
            return
        label = ngettext(
            "{number} message or draft is not sent and cannot be kept here: leave and lose it? y/n: ",
            "{number} messages and drafts are not sent and cannot be kept here: leave and lose them? y/n: ",
            lost,
        )
        self.composer.question.cancel()
        self.composer.question.confirm(label.format(number=lost), self._exit)

    def _exit(self) -> None:
        if self._application.is_running and not self._application.is_done:
            self._application.exit()

    # --- what happens -------------------------------------------------------------------------------

    def start(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Beside everything else; what goes wrong in it is told."""
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def draw_soon(self) -> None:
        if self._frame is None:
            self._frame = asyncio.get_running_loop().call_later(_FRAME, self._draw)

    def other(self, conv: str) -> int:
        """The id of the other side of a pair."""
        return parse_key(conv).other(self.directory.me[0])

    def _draw(self) -> None:
        self._frame = None
        if self._application.is_running:
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
                self.draw_soon()

    def _on_event(self, event: Event) -> None:
        match event:
            case Retrying():
                self.retry_at = time.monotonic() + event.seconds
                self.retry_reason = event.reason
            case Greeted():
                self.retry_at = None
        self._entrance.on_event(event)
        self.desk.on_event(event)
        self.draw_soon()

    def _on_news(self, chat: Conversation, message: Message) -> None:
        """Ring for what is for the user, unless they look at it."""
        is_direct = message.conv[0] == "d"
        is_seen = chat.conv == self.conv and time.monotonic() - self.composer.typed_at < _LOOKS
        if is_seen or not (is_direct or self.desk.mentions(message.text)):
            return
        name = shown_name(message.name)
        where = name if is_direct else f"{name} {self.directory.title(message.conv)}"
        self._application.output.write_raw(self._notifier.notice(where, message.text))
        self._application.output.flush()

    def _on_failure(self, _loop: object, context: dict[str, Any]) -> None:
        """A mistake of ours: it must not cost the user what they have on the screen."""
        if error := context.get("exception"):
            self._failed(error)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        if text := self._failures.note(error):
            self.complain(text)


def run(server: Server, settings: Settings, accounts: Accounts, user: str, given: Mapping[str, str]) -> int:
    """`user`: who is to log in; "" for whoever did last. `given`: as the shell's. Returns the exit code."""

    async def go() -> int:
        return await App(server, settings, accounts, given).run(user or settings.text("user"))

    try:
        return asyncio.run(go())
    except KeyboardInterrupt:  # before the loop handles it
        return 128 + signal.SIGINT
    except Exception as error:
        print(Failures(_FAILURES).note(error), file=sys.stderr)
        return 1
