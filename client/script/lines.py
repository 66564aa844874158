"""Commands from standard input, each answered before the next line is read."""

from __future__ import annotations

from contextlib import suppress

from client.commands.access import login
from client.commands.passwords import NoPassword
from client.commands.shell import Quit, Told, UsageError
from client.commands.table import Command
from client.commands.wording import complaint
from client.i18n import _
from client.protocol.events import Event, Message
from client.script.codes import OK, TIMEOUT, USAGE, exit_code
from client.script.plain import PATIENCE
from client.script.script import TROUBLE, Script
from client.script.streams import Input

#: Commands that need no login, and commands that name the user to log in.
_FOR_ANYONE, _ENTRANCES = ("help", "set", "quit"), ("register", "login", "takeover")
#: Commands that choose the conversation for the lines after them.
_LEADING = ("msg", "query", "groupchat", "join", "group create")


class Lines(Script):
    async def all(self, usual: str) -> int:
        """Run commands from standard input until it ends and everything was acknowledged and shown.

        `usual`: the user to log in when a command needs one and no other was named; "" for none. Return the
        exit code of the first command that failed.
        """
        self._usual = usual
        return await self.run(self._work)

    async def _work(self) -> int:
        code = OK
        lines = Input()
        try:
            while True:
                line = await self.while_read(lines.line())
                if line.strip():
                    failed = await self._do(line)
                    code = code or failed
        except EOFError:
            pass
        except UsageError as error:
            self.view.complain(str(error))
            code = code or USAGE
        except Quit:
            self.view.done(None)
        if not await self.client.settle(PATIENCE):
            unsent = self.client.session.unsent
            self.view.complain(_("not acknowledged: {number} messages").format(number=unsent))
            code = code or TIMEOUT
        return code

    async def _do(self, line: str) -> int:
        is_login = leads = True
        try:
            command, arguments = self.view.parse(line)
            leads = command.name in _LEADING
            await self._log_in_usual(command)
            if command.name == "login":
                await self._leave_unless(arguments[0])
            is_login = command.name in ("login", "takeover")
            value = await command.run(self.shell, *arguments)
            if command.name == "register":
                await self.shell.keep_login()
            self.view.done(value)
        except Told as told:
            assert told.__cause__
            code = exit_code(told.__cause__, is_login=False)
            self.view.failed("", code, told.__cause__)
            return code
        except TROUBLE as error:
            if leads:  # the next line is meant for a conversation that is unknown now
                self.view.open("")
            code = exit_code(error, is_login)
            self.view.failed(complaint(error), code, error)
            return code
        return OK

    async def _log_in_usual(self, command: Command) -> None:
        """Log in the usual user before the first command that needs a user.

        A command that names its user replaces this login. Otherwise the usual user's waiting messages would
        go to a script of another user.
        """
        if command.name in _FOR_ANYONE:
            return
        usual, self._usual = self._usual, ""
        if usual and command.name not in _ENTRANCES:
            with suppress(NoPassword):
                await login(self.shell, usual)

    async def _leave_unless(self, who: str) -> None:
        """Leave the session if another user than `who` is logged in.

        So a script can log in as another user without a logout. The screen demands a logout, because a slip
        would lose what it shows.
        """
        if self.shell.is_logged_in() and not self.shell.is_logged_in(who):
            await self.client.leave()
            self.view.open("")

    def _on_other_epoch(self) -> None:
        super()._on_other_epoch()
        text = _("the server has another database now; before the next text /msg NAME says whom it is for")
        self.view.complain(text)

    def _on_event(self, event: Event) -> None:
        if self.directory.note(event):
            self.view.on_event(event)
        if isinstance(event, Message) and event.seq and not event.is_own and not self.output.failure:
            self.client.read(event.conv, event.seq)
