"""Whether MySQL still has what was acknowledged: a restored backup or a promoted replica may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from forkchat import log
from forkchat.jobs import Job
from forkchat.runtime import sleep
from forkchat.service.context import Context
from forkchat.wire.chat import ChatMessage

#: Looks at a message that is not there, and seconds between them. A node that lags shows it by then.
_LOOKS, _PAUSE = 4, 1.0
#: Suspects that are looked at. Where more are lost, these prove it.
_MAX_SUSPECTS = 200


class Past:
    """Suspects messages, looks at them again, and has the epoch in which it looked renewed once one is proven
    to be lost; another worker may have done so meanwhile.

    A message is lost if another one has its number, or if the conversation ends before it and goes on doing
    so. One read that finds less than was there before proves nothing: it may have come from a node that lags.
    """

    def __init__(self, context: Context, renew: Callable[[str], Awaitable[object]]):
        self._context = context
        self._renew = renew
        self._suspects: dict[tuple[str, int], int] = {}  # (conversation, number): time
        self._looking = Job(context.loop, "past.look", self._look)

    def suspect(self, conv: str, seq: int, ts: int) -> None:
        """The message of that number and time, which was stored or delivered here, may be gone."""
        if len(self._suspects) < _MAX_SUSPECTS:
            self._suspects[conv, seq] = ts
            self._looking.want()

    def forget(self) -> None:
        """The epoch is a new one."""
        self._suspects.clear()

    async def _look(self) -> None:
        epoch = self._context.epoch
        for look in range(_LOOKS):
            for (conv, seq), ts in list(self._suspects.items()):
                found = await self._context.store.messages.between(conv, seq - 1, seq, 1)
                is_other = any(ChatMessage(*row).ts != ts for row in found.rows)
                if is_other or (found.last < seq and look == _LOOKS - 1):
                    await self._prove(conv, seq, epoch)
                    return
                if found.last >= seq:  # it is there, or was deleted as too old
                    self._suspects.pop((conv, seq), None)
            if not self._suspects:
                return
            await sleep(self._context.loop, _PAUSE)

    async def _prove(self, conv: str, seq: int, epoch: str) -> None:
        log.error(
            "store.regressed",
            conv=conv,
            seq=seq,
            hint="MySQL lost what was acknowledged: a backup was restored, or a replica promoted?",
        )
        await self._renew(epoch)
