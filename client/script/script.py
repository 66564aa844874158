"""What scripts do: commands line by line, each answered before the next is read, or one thing alone."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Mapping

from client.aio.client import Client
from client.aio.server import Server
from client.commands.actions import PASSWORD, fetch_last
from client.commands.directory import Directory, parse_who
from client.commands.shell import Quit, Shell, Told, UsageError
from client.commands.table import COMMANDS, Command
from client.commands.wording import complaint, no_server
from client.i18n import _
from client.local.accounts import Accounts
from client.local.settings import BadSettings, Settings
from client.protocol.events import Event, LoggedOut, LoginFailed, Message
from client.script.codes import NETWORK, OK, TIMEOUT, exit_code
from client.script.ndjson import Ndjson
from client.script.plain import PATIENCE, Plain
from client.script.streams import Input
from forkchat.errors import NotLoggedIn, Refused, TokenExpired

#: What a command may raise because of what the user, the server or the network did.
TROUBLE = (UsageError, BadSettings, Refused, OSError)


class Script:
    """Made inside the event loop. `user`: who logs in before anything is done; "" for nobody.

    `given`: as the shell's.
    """

    def __init__(
        self,
        server: Server,
        settings: Settings,
        accounts: Accounts,
        user: str,
        given: Mapping[str, str],
        is_json: bool,
    ):
        self._server = server
        self._accounts = accounts
        self._user = user
        self._directory = Directory()
        self._view: Plain | Ndjson = Ndjson() if is_json else Plain(self._directory)
        self._client = Client(
            server.host, server.port, on_event=self._on_event, patience=PATIENCE, ssl=server.tls
        )
        self._shell = Shell(self._client, self._view, self._directory, settings, accounts, given, COMMANDS)
        self._is_quiet = False
        self._followed: str | None = None
        self._meanwhile: list[Message] = []
        self._logged_out: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def lines(self) -> int:
        """Commands from standard input, until it ends and everything was acknowledged and shown.

        Returns the exit code: that of the first command that failed.
        """
        code = await self._begin()
        if code:
            return code
        lines = Input()
        try:
            while True:
                line = await lines.line()
                if line.strip():
                    failed = await self._do(line)
                    code = code or failed
        except (EOFError, Quit):
            pass
        if not await self._client.settle(PATIENCE):
            unsent = self._client.session.unsent
            self._view.complain(_("not acknowledged: {number} messages").format(number=unsent))
            code = code or TIMEOUT
        await self._client.close()
        return code

    async def send(self, to: str, text: str) -> int:
        """`-` is standard input, all of it. Returns the exit code, as `history` and `tail` do."""

        async def job() -> None:
            data = await asyncio.to_thread(sys.stdin.buffer.read) if text == "-" else text.encode()
            conv = await self._shell.conversation(to)
            cid = self._client.post(conv, data.decode(errors="replace").rstrip("\n"))
            sent = await self._client.acknowledged(cid, self._view.patience)
            self._view.done({"conv": sent.conv, "seq": sent.seq, "ts": sent.ts})

        return await self._alone(job)

    async def history(self, name: str, number: int) -> int:
        """The last messages."""

        async def job() -> None:
            for message in await fetch_last(self._shell, await self._shell.conversation(name), number):
                self._view.show(message)

        return await self._alone(job)

    async def tail(self, name: str, number: int) -> int:
        """The last messages, then those that come, until it is interrupted or logged out."""

        async def job() -> None:
            conv = await self._shell.conversation(name)
            past = await fetch_last(self._shell, conv, number)
            for message in past:
                self._view.show(message)
            self._follow(conv, past[-1].seq if past else 0)
            raise NotLoggedIn(await self._logged_out)

        return await self._alone(job)

    async def _begin(self) -> int:
        try:
            await self._client.connect()
        except OSError as error:
            for text in no_server(self._server, error):
                self._view.complain(text)
            return NETWORK
        if not self._user:
            return OK
        try:
            await self._log_in()
        except TROUBLE as error:
            code = exit_code(error, is_login=True)
            self._view.failed(complaint(error), code, error)
            await self._client.close()
            return code
        return OK

    async def _log_in(self) -> None:
        """With the password that was given, else the token of the last time, else one that is asked for."""
        account = self._accounts.named(parse_who(self._user))
        password = self._shell.given.get(PASSWORD, "")
        token = "" if password or not account else self._accounts.token(account)
        if account and token:
            try:
                await self._client.login(token=token)
            except TokenExpired:
                self._accounts.renew(account.id, "")
                raise
            if self._client.session.token != token:
                self._accounts.renew(account.id, self._client.session.token)
            return
        if not password and sys.stdin.isatty():
            password = await asyncio.to_thread(getpass.getpass, _("password: "))
        if not password:
            raise UsageError(_("no password; without a terminal set {name}").format(name=PASSWORD))
        await self._shell.log_in(self._user, password)

    async def _alone(self, job: Callable[[], Awaitable[None]]) -> int:
        """Nothing is told but what was asked for."""
        self._is_quiet = True
        code = await self._begin()
        if code:
            return code
        try:
            await job()
        except TROUBLE as error:
            code = exit_code(error, is_login=False)
            self._view.failed(complaint(error), code, error)
        await self._client.close()
        return code

    async def _do(self, line: str) -> int:
        command: Command | None = None
        try:
            command, arguments = self._view.parse(line)
            self._view.done(await command.run(self._shell, *arguments))
        except Told as told:
            assert told.__cause__
            code = exit_code(told.__cause__, is_login=False)
            self._view.failed("", code, told.__cause__)
            return code
        except TROUBLE as error:
            code = exit_code(error, bool(command and command.name in ("login", "takeover")))
            self._view.failed(complaint(error), code, error)
            return code
        return OK

    def _follow(self, conv: str, last: int) -> None:
        """Show what comes there after `last`, and what came meanwhile."""
        self._followed = conv
        for message in self._meanwhile:
            if message.conv == conv and message.seq > last:
                self._view.show(message)
        self._meanwhile.clear()

    def _on_event(self, event: Event) -> None:
        is_news = self._directory.note(event)
        if not self._is_quiet:
            if is_news:
                self._view.on_event(event)
            if isinstance(event, Message) and event.seq and not event.is_own:
                self._client.read(event.conv, event.seq)
            return
        match event:
            case Message() if self._followed is None:
                self._meanwhile.append(event)
            case Message() if event.conv == self._followed:
                self._view.show(event)
            case LoggedOut(reason=reason) if not self._logged_out.done():
                self._logged_out.set_result(reason)
            case LoginFailed(refused=refused) if self._followed and not self._logged_out.done():
                self._logged_out.set_result(refused.errmsg)
