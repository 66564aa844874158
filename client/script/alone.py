"""One-shot commands without a line of input: `chatcli send`, `history`, `tail`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from client.commands.actions import fetch_last
from client.commands.shell import naming
from client.commands.wording import complaint
from client.i18n import _
from client.protocol.events import (
    Disconnected,
    Event,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    Message,
    Stranded,
)
from client.script.codes import OK, exit_code
from client.script.script import TROUBLE, Script
from client.script.streams import Input
from forkchat.errors import NotLoggedIn, Refused


class Alone(Script):
    """A script that runs one command and shows only its result. Other messages keep waiting for the user.

    Each command's method returns the exit code.
    """

    follows_all = False

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        #: The reason for which waiting ends; None if output failed, so that it cannot be shown.
        self._ended: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()

    async def send(self, to: str, text: str) -> int:
        """Send a text. `-` stands for all of standard input."""

        async def job() -> None:
            said = (await Input().rest()).rstrip("\n") if text == "-" else text
            cid = self.shell.post(await self.shell.conversation(to), said)
            with naming(to):
                sent = await self.client.acknowledged(cid, self.view.patience)
            self.view.done({"conv": sent.conv, "seq": sent.seq, "ts": sent.ts})

        return await self._do(job)

    async def history(self, name: str, number: int) -> int:
        """Show the last `number` messages."""

        async def job() -> None:
            for message in await fetch_last(self.shell, await self.shell.conversation(name), number):
                self.view.show(message)

        return await self._do(job)

    async def tail(self, name: str, number: int) -> int:
        """Show the last messages, then new ones, until the script is interrupted or logged out."""

        async def job() -> None:
            conv = await self.shell.conversation(name)
            past = await fetch_last(self.shell, conv, number)
            for message in past:
                self.view.show(message)
            if not self.output.failure:  # otherwise nobody has seen them
                first, last = (past[0].seq, past[-1].seq) if past else (1, 0)
                self.client.follow(conv, first, last)
            if refused := await self.while_read(self._ended):
                raise refused

        return await self._do(job)

    async def _do(self, job: Callable[[], Awaitable[None]]) -> int:
        async def work() -> int:
            try:
                await job()
            except TROUBLE as error:
                code = exit_code(error, is_login=False)
                self.view.failed(complaint(error), code, error)
                return code
            return OK

        return await self.run(work)

    def _on_event(self, event: Event) -> None:
        self.directory.note(event)
        match event:
            case Message() | Disconnected(is_wanted=True) | LoggedIn(is_resumed=True):
                self.view.on_event(event)
            case LoggedOut(reason=reason):
                self._end(NotLoggedIn(reason))
            case LoginFailed(refused=refused):
                self._end(NotLoggedIn(refused.errmsg))

    def _on_other_epoch(self) -> None:
        super()._on_other_epoch()
        self._end(Stranded(_("the server has another database now; start again to follow what is there")))

    def _on_output_failure(self, error: OSError) -> None:
        self._end(None)
        super()._on_output_failure(error)

    def _end(self, reason: Refused | None) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)
