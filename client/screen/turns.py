"""The queue of entered lines: commands, and the messages that were typed after one."""

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

#: Seconds for the running command to finish at exit, because it may have its answer and still write a token.
_LAST = 1.0
#: In another database the ids are other users', and so is the conversation in which the line was entered.
_STRANDED = N_("not done, because the server has another database now: {text}")


@dataclass(frozen=True)
class Entered:
    """An entered line.

    `key`: from `Desk.enter`, and the `cid` of the message that the line sends. A line that is done again
    after chatcli was killed thus sends its message only once. `text`: the line as it was typed. `job`: does
    what the line asks for. `is_local`: the line acts on the conversation that the user is in, as a message
    does. `leads`: the user goes to the conversation that the line opens.
    """

    key: str
    text: str
    job: Coroutine[Any, Any, object]
    is_local: bool
    leads: bool = True


class Turns:
    """The queue, which does one line at a time.

    A local line typed after a command acts on the conversation that the command opens. If the command fails,
    that conversation is unknown, and the line is not done. `leads`: the user goes to the conversation that
    the running command opens.
    """

    def __init__(self, app: App):
        self._app = app
        self._entered: asyncio.Queue[Entered] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self.leads = True
        self._has_failed = False  # the line that had its turn last has failed
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """True while a line has no answer yet, so that a line entered now has to wait."""
        return self._running is not None or not self._entered.empty()

    @property
    def waiting(self) -> int:
        return self._entered.qsize()

    def put(self, entered: Entered, is_behind: bool) -> None:
        """Add a line. `is_behind`: an earlier line had no answer when this one was entered.

        The earlier line may have failed since.
        """
        if not is_behind:
            self._has_failed = False
        self._entered.put_nowait(entered)

    def cancel(self) -> bool:
        """Cancel the running command; return False if there is none."""
        return self._running is not None and self._running.cancel()

    def let_go(self) -> list[Entered]:
        """Let commands lead nowhere, because the user has gone elsewhere.

        Return the lines that waited for the conversations that these would have opened. They are not done.
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
        """Stop. Lines without an answer or a turn stay in the journal, and the next start asks about them."""
        while not self._entered.empty():
            self._entered.get_nowait().job.close()
        if self._running:
            await asyncio.wait([self._running], timeout=_LAST)
        self._is_closed = True

    async def work(self) -> None:
        """Do the lines in turn for as long as the client runs."""
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
        """Return the reason why a local line cannot be done, "" if it can."""
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
