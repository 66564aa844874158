"""Whether MySQL still has what was acknowledged: a restored backup or a promoted replica may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from forkchat import log
from forkchat.jobs import Job
from forkchat.runtime import sleep
from forkchat.service.context import Context
from forkchat.wire.chat import ChatMessage

#: Looks at a message that is not there, and seconds between them. A node that lags shows it by the last one.
_LOOKS, _PAUSE = 4, 1.0
#: Suspects that are looked at. Where more are lost, these prove it.
_MAX_SUSPECTS = 200


class _Suspect:
    __slots__ = ("looks", "ts")

    def __init__(self, ts: int):
        self.ts = ts
        self.looks = 0  # that have not found it


class Past:
    """Suspects messages, looks at them again, and has the epoch in which it looked renewed once one is proven
    to be lost; another worker may have done so meanwhile.

    A message is lost if another one has its number, or if the conversation ends before it and goes on doing
    so. One read that finds less than was there before proves nothing: it may have come from a node that lags.
    """

    def __init__(self, context: Context, renew: Callable[[str], Awaitable[object]]):
        self._context = context
        self._renew = renew
        self._suspects: dict[tuple[str, int], _Suspect] = {}  # by conversation and number
        self._looking = Job(context.loop, "past.look", self._look)

    def suspect(self, conv: str, seq: int, ts: int) -> None:
        """The message of that number and time, which was stored or delivered here, may be gone."""
        if len(self._suspects) < _MAX_SUSPECTS:
            self._suspects.setdefault((conv, seq), _Suspect(ts))
            self._looking.want()

    def forget(self) -> None:
        """The epoch is a new one."""
        self._suspects.clear()

    async def _look(self) -> None:
        is_behind = False
        while self._suspects:
            epoch = self._context.epoch
            for (conv, seq), suspect in list(self._suspects.items()):
                found = await self._context.store.messages.between(conv, seq - 1, seq, 1)
                suspect.looks += 1
                is_other = any(ChatMessage(*row).ts != suspect.ts for row in found.rows)
                if is_other or (found.last < seq and suspect.looks >= _LOOKS):
                    await self._prove(conv, seq, epoch)
                    return
                if found.last >= seq:  # it is there, or was deleted as too old
                    self._suspects.pop((conv, seq), None)
                elif not is_behind:
                    is_behind = True
                    log.info("store.behind", conv=conv, seq=seq, last=found.last)
            if self._suspects:
                await sleep(self._context.loop, _PAUSE)
        if is_behind:
            log.info("store.caught_up")

    async def _prove(self, conv: str, seq: int, epoch: str) -> None:
        log.error(
            "store.regressed",
            conv=conv,
            seq=seq,
            hint="MySQL lost what was acknowledged: a backup was restored, or a replica promoted?",
        )
        await self._renew(epoch)
