"""One thing, done without a line of input: `chatcli send`, `history`, `tail`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from client.commands.actions import fetch_last
from client.commands.shell import naming
from client.commands.wording import complaint
from client.protocol.events import Event, LoggedOut, LoginFailed, Message
from client.script.codes import exit_code
from client.script.script import TROUBLE, Script
from forkchat.errors import NotLoggedIn


class Alone(Script):
    """Nothing is told but what was asked for; what waits for the user goes on waiting.

    Each job returns the exit code.
    """

    follows_all = False

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._logged_out: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def send(self, to: str, text: str) -> int:
        """`-` is standard input, all of it."""

        async def job() -> None:
            said = text
            if text == "-":
                said = (await asyncio.to_thread(sys.stdin.buffer.read)).decode(errors="replace").rstrip("\n")
            cid = self.shell.post(await self.shell.conversation(to), said)
            with naming(to):
                sent = await self.client.acknowledged(cid, self.view.patience)
            self.view.done({"conv": sent.conv, "seq": sent.seq, "ts": sent.ts})

        return await self._run(job)

    async def history(self, name: str, number: int) -> int:
        """The last messages."""

        async def job() -> None:
            for message in await fetch_last(self.shell, await self.shell.conversation(name), number):
                self.view.show(message)

        return await self._run(job)

    async def tail(self, name: str, number: int) -> int:
        """The last messages, then those that come, until it is interrupted or logged out."""

        async def job() -> None:
            conv = await self.shell.conversation(name)
            past = await fetch_last(self.shell, conv, number)
            for message in past:
                self.view.show(message)
            self.client.follow(conv, past[-1].seq if past else 0)
            raise NotLoggedIn(await self._logged_out)

        return await self._run(job)

    async def _run(self, job: Callable[[], Awaitable[None]]) -> int:
        code = await self.begin()
        if code:
            return code
        try:
            await job()
        except TROUBLE as error:
            code = exit_code(error, is_login=False)
            self.view.failed(complaint(error), code, error)
        finally:
            await self.client.close()  # also when interrupted: what was shown is confirmed
        return code

    def _on_event(self, event: Event) -> None:
        self.directory.note(event)
        match event:
            case Message():
                self.view.on_event(event)
            case LoggedOut(reason=reason) if not self._logged_out.done():
                self._logged_out.set_result(reason)
            case LoginFailed(refused=refused) if not self._logged_out.done():
                self._logged_out.set_result(refused.errmsg)
