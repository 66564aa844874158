"""Commands line by line, each answered before the next is read."""

from __future__ import annotations

from client.commands.shell import Quit, Told
from client.commands.table import Command
from client.commands.wording import complaint
from client.i18n import _
from client.protocol.events import Event, Message
from client.script.codes import OK, TIMEOUT, exit_code
from client.script.plain import PATIENCE
from client.script.script import TROUBLE, Script
from client.script.streams import Input


class Lines(Script):
    async def run(self) -> int:
        """Commands from standard input, until it ends and everything was acknowledged and shown.

        Returns the exit code: that of the first command that failed.
        """
        code = await self.begin()
        if code:
            return code
        lines = Input()
        try:
            while True:
                line = await lines.line()
                if line.strip():
                    failed = await self._do(line)
                    code = code or failed
        except EOFError:
            pass
        except Quit:
            self.view.done(None)
        if not await self.client.settle(PATIENCE):
            unsent = self.client.session.unsent
            self.view.complain(_("not acknowledged: {number} messages").format(number=unsent))
            code = code or TIMEOUT
        await self.client.close()
        return code

    async def _do(self, line: str) -> int:
        command: Command | None = None
        try:
            command, arguments = self.view.parse(line)
            self.view.done(await command.run(self.shell, *arguments))
        except Told as told:
            assert told.__cause__
            code = exit_code(told.__cause__, is_login=False)
            self.view.failed("", code, told.__cause__)
            return code
        except TROUBLE as error:
            code = exit_code(error, bool(command and command.name in ("login", "takeover")))
            self.view.failed(complaint(error), code, error)
            return code
        return OK

    def _on_event(self, event: Event) -> None:
        if self.directory.note(event):
            self.view.on_event(event)
        if isinstance(event, Message) and event.seq and not event.is_own:
            self.client.read(event.conv, event.seq)
