"""What was entered, one after the other: commands, and the messages that were typed behind one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from client.commands.shell import Quit, UsageError
from client.commands.wording import complaint, no_server
from client.i18n import N_, _
from client.local.journal import Line
from client.local.settings import BadSettings
from client.protocol.events import Stranded
from client.text import clean_line
from forkchat.errors import Refused

if TYPE_CHECKING:
    from client.screen.app import App

#: Seconds for a command to come to its end when chatcli does: it may have its answer, and a token to write.
_LAST = 1.0
#: Ids are other people's there, and so is the conversation in which the line was entered.
_STRANDED = N_("not done, because the server has another database now: {text}")


@dataclass(frozen=True)
class Entered:
    """`key`: as `Desk.enter`'s, and the `cid` of the message that the line says: what is done once more
    because chatcli was killed says it once. `text`: the line, as it was typed; `job`: what it asks for;
    `is_local`: it is for the conversation that the user is in, as a message is; `leads`: the user goes where
    it leads.
    """

    key: str
    text: str
    job: Coroutine[Any, Any, object]
    is_local: bool
    leads: bool = True


class Turns:
    """What is for a conversation and was typed behind a command is for where this leads; if it fails, nobody
    knows where that is, and nothing is done. `leads`: the user goes where the command leads that runs.
    """

    def __init__(self, app: App):
        self._app = app
        self._entered: asyncio.Queue[Entered] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self.leads = True
        self._has_failed = False  # what had its turn last
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Something has no answer yet: what is entered now has to wait."""
        return self._running is not None or not self._entered.empty()

    @property
    def waiting(self) -> int:
        return self._entered.qsize()

    def put(self, entered: Entered, is_behind: bool) -> None:
        """`is_behind`: something was busy when the line was entered; it may have failed since."""
        if not is_behind:
            self._has_failed = False
        self._entered.put_nowait(entered)

    def cancel(self) -> bool:
        """What runs; whether there was something."""
        return self._running is not None and self._running.cancel()

    def let_go(self) -> list[Entered]:
        """The user has gone elsewhere: commands lead nowhere. Returns the lines that waited for where they
        would have led, and are not done.
        """
        self.leads = False
        waiting = [self._entered.get_nowait() for _ in range(self._entered.qsize())]
        for entered in waiting:
            if entered.is_local:
                entered.job.close()
            else:
                self._entered.put_nowait(replace(entered, leads=False))
        return [entered for entered in waiting if entered.is_local]

    async def close(self) -> None:
        """What has no answer yet, or no turn, stays entered: it is asked about at the next start."""
        while not self._entered.empty():
            self._entered.get_nowait().job.close()
        if self._running:
            await asyncio.wait([self._running], timeout=_LAST)
        self._is_closed = True

    async def work(self) -> None:
        """For as long as the client runs."""
        while True:
            entered = await self._entered.get()
            self.leads = entered.leads
            self._running = self._app.start(self._run(entered))
            await asyncio.wait([self._running])
            if self._running.cancelled():
                self._app.tell(_("interrupted"))
            self._running = None

    async def _run(self, entered: Entered) -> None:
        shell, line = self._app.shell, self._app.desk.journal.entered[entered.key]
        try:
            if entered.is_local and (reason := self._hindrance(line)):
                entered.job.close()
                raise UsageError(reason)
            self._has_failed = True
            shell.cid, shell.epoch = entered.key, line.epoch
            await entered.job
            self._has_failed = False
        except Quit:
            self._app.leave()
        except (UsageError, BadSettings, Refused, OSError) as error:
            is_stranded = isinstance(error, Stranded)
            self.tell(UsageError(_told(_STRANDED, line)) if is_stranded else error)
            self._app.composer.offer(entered.text)
        finally:
            shell.cid = shell.epoch = ""
            if not self._is_closed:
                self._app.desk.over(entered.key)
        self._app.draw_soon()

    def _hindrance(self, line: Line) -> str:
        """Why a line is not done that is for the conversation at hand; "" if it is."""
        if line.conv and not self._app.desk.journal.place(line):
            return _told(_STRANDED, line)
        if not self.leads:
            return _told(N_("not done, because you have gone elsewhere: {text}"), line)
        if self._has_failed:
            return _told(N_("not sent, because the command before it failed: {text}"), line)
        return ""

    def tell(self, error: Exception) -> None:
        if isinstance(error, ConnectionError):
            for text in no_server(self._app.server, error):
                self._app.complain(text)
        else:
            self._app.complain(complaint(error))


def _told(reason: str, line: Line) -> str:
    return _(reason).format(text=clean_line(line.text))
