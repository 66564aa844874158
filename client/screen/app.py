"""The full-screen client: it builds its parts, passes events to them, and decides when to draw."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from client.aio.client import Client
from client.aio.server import Server
from client.commands.directory import Directory
from client.commands.shell import Shell
from client.commands.wording import not_encrypted
from client.i18n import _, ngettext
from client.local import files, servers
from client.local.accounts import Accounts
from client.local.settings import Settings
from client.protocol.events import Event, Greeted, LoggedIn, LoggedOut, LoginFailed, Message, Retrying
from client.screen import panes
from client.screen.bare import Bare
from client.screen.commands import screen_commands
from client.screen.composer import Composer
from client.screen.conversations import HOME, Conversation
from client.screen.desk import Desk
from client.screen.ending import Ending
from client.screen.entrance import Entrance
from client.screen.failures import Failures
from client.screen.hyperlinks import Hyperlinks
from client.screen.keys import KEYS, NUMBERS
from client.screen.layout import build
from client.screen.links import Links
from client.screen.notify import Notifier
from client.screen.pager import Pager
from client.screen.reader import Reader
from client.text import action, shown_name
from forkchat.wire.conversation import parse_key

#: Seconds between two drawings caused by events. A key press is drawn at once.
_FRAME = 0.07
#: Seconds after a key press for which the user counts as looking at the screen.
_LOOKS = 10.0
_FAILURES = files.DATA / "failures.log"


class App:
    """The application, and the view (`client.commands.view`) of the commands that are typed in it.

    `retry_at`: monotonic time of the next attempt to connect, None while there is a connection.
    `retry_reason`: why there is no connection. `is_replaced`: the user has logged in elsewhere since.
    """

    patience = 0.0

    def __init__(self, server: Server, settings: Settings, accounts: Accounts, given: Mapping[str, str]):
        self.server = server
        self.settings = settings
        self.accounts = accounts
        self.directory = Directory()
        folder = servers.folder(files.DATA, str(server))
        self.desk = Desk(
            folder,
            self.directory,
            settings,
            on_news=self._on_news,
            on_change=self.draw_soon,
            on_other_epoch=lambda: self.go_to(HOME),
            on_inputs=self._on_inputs,
            on_stray=self._on_stray,
        )
        self.client = Client(
            server.host, server.port, on_event=self._on_event, ssl=server.tls, on_post=self.desk.keep
        )
        self.desk.client = self.client
        self.shell = Shell(
            self.client, self, self.directory, settings, accounts, given, screen_commands(self)
        )
        self.composer: Composer = Composer(self)
        self.reader: Reader = Reader(self)
        self.links: Links = Links(self)
        self.hyperlinks = Hyperlinks(settings)
        self.bare: Bare = Bare(self)
        self.retry_at: float | None = None
        self.retry_reason = ""
        self.is_replaced = False
        self._is_warned = False
        self._entrance = Entrance(self)
        self._notifier = Notifier(settings)
        self._failures = Failures(_FAILURES)
        self._frame: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._code = 0  # the exit code
        self.application = build(self)
        self.pager = Pager(self)

    async def run(self, user: str, usual: str) -> int:
        """Run until the user leaves or a signal comes; return the exit code.

        `user`, `usual`: see `Entrance.begin`.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_failure)
        loop.add_signal_handler(signal.SIGINT, self.cancel)  # Ctrl-C is a signal only in the plain view
        ending = Ending(self.end)
        self.start(self.composer.turns.work())
        self.start(self._tick())
        self.start(self._entrance.begin(user, usual))
        try:
            await self.application.run_async(
                pre_run=self._exit_if_ended, handle_sigint=False, set_exception_handler=False
            )
        except EOFError:  # the terminal is gone
            self.end(signal.SIGHUP)
        except BaseException:
            ending.restore()
            raise
        finally:
            ending.begin(self._code)
            await self.composer.close()
            for task in self._tasks:
                task.cancel()
            await self.client.close()
            self.desk.close()
        if self._code != 128 + signal.SIGHUP:  # after a hangup nobody reads it
            self._say_what_waits()
        return self._code

    def end(self, number: int) -> None:
        """Exit because of the signal `number`. The text in the line is kept, and no question is asked."""
        self._code = self._code or 128 + number
        self.composer.keep_draft()
        self.bare.end()
        self._exit()

    def _exit_if_ended(self) -> None:
        if self._code:
            self._exit()

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

    def page(self, title: str, lines: list[str]) -> None:
        self.pager.show(title, lines)

    def show(self, message: Message) -> None:
        """Do nothing, because the message is in the conversation already."""

    def open(self, conv: str) -> None:
        """Go to `conv` for a command, unless the user has gone elsewhere meanwhile."""
        if self.composer.turns.leads:
            self._switch(conv, self.composer.bring_along)

    def go_to(self, conv: str) -> None:
        """Go to `conv` without a command, as for a key press or a click."""
        self._switch(conv, self.composer.swap_draft)

    def _switch(self, conv: str, treat_line: Callable[[str], None]) -> None:
        if conv != (left := self.conv):
            self.reader.leave()
            self.desk.switch(conv)
            treat_line(left)
            self.draw_soon()

    def secrets(self, prompts: list[str]) -> Awaitable[list[str]]:
        return self.composer.question.secrets(prompts)

    # --- actions of keys ----------------------------------------------------------------------------

    def cancel(self) -> None:
        """Act on Ctrl-C: end the plain view, a question, a search, the text in the line, or a command."""
        if self.bare.is_shown:
            self.bare.end()
        elif self.reader.search.has_marks and not self.composer.question.is_open:
            self.reader.search.end()
        elif not self.composer.cancel():
            hint, notes = _("Ctrl+q or /quit leaves"), self.desk.current.notes
            if not notes or notes[-1].text != hint:
                self.tell(hint)
        self.draw_soon()

    def help(self) -> None:
        width = max(len(key.name) for key in KEYS)
        keys = (*KEYS[:5], NUMBERS, *KEYS[5:])
        self.page(_("Keys"), [f"{key.name:{width}}  {_(key.help)}" for key in keys])

    def suspend(self) -> None:
        self.application.suspend_to_background()

    def redraw(self) -> None:
        self.application.renderer.clear()

    def leave(self) -> None:
        """Exit, after a question about the messages and drafts that would be lost, if there are any."""
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
        if self.application.is_running and not self.application.is_done:
            self.application.exit()

    # --- events and background jobs -----------------------------------------------------------------

    def start(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a job in the background; tell the user if it fails."""
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def draw_soon(self) -> None:
        if self._frame is None:
            self._frame = asyncio.get_running_loop().call_later(_FRAME, self._draw)

    def other(self, conv: str) -> int:
        """Return the id of the other user in a conversation of two."""
        return parse_key(conv).other(self.directory.me[0])

    def _draw(self) -> None:
        self._frame = None
        if self.application.is_running:
            self.application.invalidate()

    async def _tick(self) -> None:
        """Draw what changes only with time: the seconds until the next attempt, and who types."""
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
                self._warn()
            case LoggedIn() | LoginFailed():
                self.is_replaced = False
            case LoggedOut():
                self.is_replaced = event.reason == "replaced"
        self._entrance.on_event(event)
        self.desk.on_event(event)
        self.draw_soon()

    def _warn(self) -> None:
        """Warn that the connection is not encrypted. A reconnect does not repeat the warning."""
        if self.client.is_exposed and not self.server.is_plain_meant and not self._is_warned:
            self._is_warned = True
            self.complain(not_encrypted(self.server))

    def _on_news(self, chat: Conversation, message: Message) -> None:
        """Ring for a direct message or a mention, unless the user is looking at it."""
        is_direct = message.conv[0] == "d"
        is_seen = chat.conv == self.conv and time.monotonic() - self.composer.typed_at < _LOOKS
        if is_seen or not (is_direct or self.desk.mentions(message.text)):
            return
        name = shown_name(message.name)
        where = name if is_direct else f"{name} {self.directory.title(message.conv)}"
        done = action(message.text)
        text = f"* {name} {done}" if done else message.text
        self.application.output.write_raw(self._notifier.notice(where, text))
        self.application.output.flush()

    def _on_inputs(self, typed: list[str]) -> None:
        self.composer.bring_inputs(typed)

    def _on_stray(self, conv: str, text: str) -> None:
        self.composer.take_in(conv, text)

    def _on_failure(self, _loop: object, context: dict[str, Any]) -> None:
        """Report an unhandled exception, and go on, so that the user keeps what is on the screen."""
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
    """Run the client; return the exit code.

    `user`: the user to log in, "" if none was named. `given`: see `Shell`.
    """

    async def go() -> int:
        return await App(server, settings, accounts, given).run(user, settings.text("user"))

    try:
        return asyncio.run(go())
    except KeyboardInterrupt:  # before the loop handles SIGINT
        return 128 + signal.SIGINT
    except Exception as error:
        print(Failures(_FAILURES).note(error), file=sys.stderr)
        return 1
