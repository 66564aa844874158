"""What every script begins with: the connection, and the user logged in."""

from __future__ import annotations

import asyncio
import getpass
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping

from client.aio.client import Client
from client.aio.server import Server
from client.commands.access import login
from client.commands.directory import Directory
from client.commands.passwords import NoPassword
from client.commands.shell import Shell, UsageError
from client.commands.table import COMMANDS
from client.commands.wording import complaint, no_server, put_aside
from client.i18n import _
from client.local.accounts import Accounts
from client.local.settings import BadSettings, Settings
from client.protocol.events import Event
from client.script.codes import OK, exit_code
from client.script.ndjson import Ndjson
from client.script.plain import PATIENCE, Plain
from forkchat.errors import Refused

#: What a command may raise because of what the user, the server or the network did.
TROUBLE = (UsageError, BadSettings, Refused, OSError)


class Script(ABC):
    """Made inside the event loop. `user`: who logs in before anything is done; "" for nobody.

    `given`: as the shell's.
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
        self.view: Plain | Ndjson = Ndjson() if is_json else Plain(self.directory)
        self.client = Client(
            *(server.host, server.port),
            on_event=self._on_event,
            patience=PATIENCE,
            ssl=server.tls,
            follows_all=self.follows_all,
        )
        self.shell = Shell(self.client, self.view, self.directory, settings, accounts, given, COMMANDS)
        self._server = server
        self._accounts = accounts
        self._user = user

    @abstractmethod
    def _on_event(self, event: Event) -> None: ...

    async def begin(self) -> int:
        """Connect and log in; the exit code if that fails, else OK."""
        if self._accounts.damaged:
            self.view.complain(put_aside(self._accounts.damaged))
        try:
            await self.client.connect()
        except OSError as error:
            for text in no_server(self._server, error):
                self.view.complain(text)
            return exit_code(error, is_login=True)
        if not self._user:
            return OK
        try:
            await self._log_in()
        except TROUBLE as error:
            code = exit_code(error, is_login=True)
            self.view.failed(complaint(error), code, error)
            await self.client.close()
            return code
        return OK

    async def _log_in(self) -> None:
        """With the password that was given, else the token of the last time, else one that is asked for."""
        try:
            await login(self.shell, self._user)
        except NoPassword:
            if not sys.stdin.isatty():
                raise
            password = await asyncio.to_thread(getpass.getpass, _("password: "))
            if not password:
                raise
            await self.shell.log_in(self._user, password)
