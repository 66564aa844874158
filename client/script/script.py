"""The common part of all scripts: the connection and the login."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from client.aio.client import Client
from client.aio.server import Server
from client.commands.access import login
from client.commands.directory import Directory
from client.commands.passwords import NoPassword
from client.commands.shell import Shell, UsageError
from client.commands.table import COMMANDS
from client.commands.wording import complaint, no_server, not_encrypted, put_aside
from client.i18n import _
from client.local.accounts import Accounts
from client.local.settings import BadSettings, Settings
from client.protocol.events import Event, Greeted, Message
from client.script.codes import OK, exit_code
from client.script.ndjson import Ndjson
from client.script.plain import PATIENCE, Plain
from client.script.streams import Output, complain
from forkchat.errors import Refused

T = TypeVar("T")

#: Errors that a command may raise because of the user, the server or the network.
TROUBLE = (UsageError, BadSettings, Refused, OSError)


class Script(ABC):
    """A script, made inside the event loop.

    `user`: the user to log in before the work begins; "" for none. `given`: as for `Shell`.
    """

    follows_all = True

    def __init__(
        self,
        server: Server,
        settings: Settings,
        accounts: Accounts,
        user: str,
        given: Mapping[str, str],
        is_json: bool,
    ):
        self.directory = Directory()
        self.output = Output(self._on_output_failure)
        self.view: Plain | Ndjson = Ndjson(self.output) if is_json else Plain(self.directory, self.output)
        self.client = Client(
            *(server.host, server.port),
            on_event=self._take,
            on_error=lambda error: None,  # the exit code reports it
            patience=PATIENCE,
            ssl=server.tls,
            follows_all=self.follows_all,
        )
        self.shell = Shell(self.client, self.view, self.directory, settings, accounts, given, COMMANDS)
        self._server = server
        self._accounts = accounts
        self._user = user
        self._epoch = ""  # of the server's database

    @abstractmethod
    def _on_event(self, event: Event) -> None: ...

    def _take(self, event: Event) -> None:
        """Handle an event.

        Raises the output's failure for a message that could not be shown. The message is then not confirmed,
        and comes again.
        """
        if isinstance(event, Greeted):
            is_other, self._epoch = self._epoch not in ("", event.epoch), event.epoch
            self.shell.epoch = self.shell.epoch or event.epoch
            if is_other:
                self._on_other_epoch()
        self._on_event(event)
        if isinstance(event, Message) and self.output.failure:
            raise self.output.failure

    def _on_other_epoch(self) -> None:
        """Forget the directory and the open conversation, because ids mean other people in a new database."""
        self.directory.forget()
        self.view.open("")

    async def run(self, work: Callable[[], Awaitable[int]]) -> int:
        """Connect, log in and do the work, which returns an exit code. Return the script's exit code."""
        try:
            code = await self._begin() or await work()
        finally:
            await self.client.close()  # also after a signal, to confirm the messages that were shown
        return self.output.exit_code(code)

    async def while_read(self, awaitable: Awaitable[T]) -> T:
        """Await `awaitable` as long as standard output has a reader.

        Without a reader the script ends as if by SIGPIPE, because waiting has no use then.
        """
        watch = asyncio.create_task(self._watch())
        try:
            return await awaitable
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        await self.output.unread()
        self._on_output_failure(BrokenPipeError())

    def _on_output_failure(self, error: OSError) -> None:
        """End the script if standard output has no reader, because it might never end otherwise.

        After any other failure, typed messages are still sent.
        """
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + signal.SIGPIPE)

    async def _begin(self) -> int:
        """Connect and log in. Return OK, or the exit code of the failure."""
        if self._accounts.damaged:
            self.view.complain(put_aside(self._accounts.damaged))
        try:
            await self.client.connect()
        except OSError as error:
            for text in no_server(self._server, error):
                self.view.complain(text)
            return exit_code(error, is_login=True)
        if self.client.is_exposed and not self._server.is_plain_meant:
            complain("-- " + not_encrypted(self._server))  # in JSON, a problem is the server's
        if not self._user:
            return OK
        try:
            await self._log_in()
        except TROUBLE as error:
            code = exit_code(error, is_login=True)
            self.view.failed(complaint(error), code, error)
            return code
        return OK

    async def _log_in(self) -> None:
        """Log in with the given password, else with the stored token, else with a password from a prompt."""
        try:
            await login(self.shell, self._user)
        except NoPassword:
            if not os.isatty(0):
                raise
            # In the loop's thread: a signal can neither end another thread nor make it restore the echo.
            try:
                password = getpass.getpass(_("password: "))
            except EOFError:
                password = ""
            if not password:
                raise
            await self.shell.log_in(self._user, password)
