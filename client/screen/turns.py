"""What was entered, one after the other: commands, and the messages that were typed behind one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from client.commands.shell import Quit, UsageError
from client.commands.wording import complaint, no_server
from client.i18n import _
from client.local.settings import BadSettings
from client.text import clean_line
from forkchat.errors import Refused

if TYPE_CHECKING:
    from client.screen.app import App


@dataclass(frozen=True)
class Entered:
    """`text`: the line, as it was typed; `job`: what it asks for; `leads`: the user goes where that leads."""

    text: str
    job: Coroutine[Any, Any, object]
    is_message: bool
    leads: bool = True


class Turns:
    """A message that was typed behind a command goes to where this leads; if it fails, nobody knows where
    that is, and the message is not sent. `leads`: the user goes where the command leads that runs.
    """

    def __init__(self, app: App):
        self._app = app
        self._entered: asyncio.Queue[Entered] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self.leads = True
        self._has_failed = False  # what had its turn last

    @property
    def is_busy(self) -> bool:
        """Something has no answer yet: what is entered now has to wait."""
        return self._running is not None or not self._entered.empty()

    @property
    def waiting(self) -> int:
        return self._entered.qsize()

    def put(self, entered: Entered) -> None:
        if not self.is_busy:
            self._has_failed = False
        self._entered.put_nowait(entered)

    def cancel(self) -> bool:
        """What runs; whether there was something."""
        return self._running is not None and self._running.cancel()

    def let_go(self) -> list[str]:
        """The user has gone elsewhere: commands lead nowhere. Returns the messages that waited for that,
        and are not sent.
        """
        self.leads = False
        waiting = [self._entered.get_nowait() for _ in range(self._entered.qsize())]
        for entered in waiting:
            if entered.is_message:
                entered.job.close()
            else:
                self._entered.put_nowait(replace(entered, leads=False))
        return [entered.text for entered in waiting if entered.is_message]

    def close(self) -> list[str]:
        """The turn of those that still wait will not come; the messages among them."""
        messages = self.let_go()
        while not self._entered.empty():
            self._entered.get_nowait().job.close()
        return messages

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
        try:
            if entered.is_message and self._has_failed:
                entered.job.close()
                text = _("not sent, because the command before it failed: {text}")
                raise UsageError(text.format(text=clean_line(entered.text)))
            self._has_failed = True
            await entered.job
            self._has_failed = False
        except Quit:
            self._app.leave()
        except (UsageError, BadSettings, Refused, OSError) as error:
            self.tell(error)
            self._app.composer.offer(entered.text)
        self._app.draw_soon()

    def tell(self, error: Exception) -> None:
        if isinstance(error, ConnectionError):
            for text in no_server(self._app.server, error):
                self._app.complain(text)
        else:
            self._app.complain(complaint(error))
