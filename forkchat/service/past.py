"""Detection of acknowledged messages that MySQL has lost by a restored backup or a promoted replica."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from forkchat import log
from forkchat.jobs import Job
from forkchat.runtime import sleep
from forkchat.service.context import Context
from forkchat.wire.chat import ChatMessage

#: Checks after which a missing message counts as lost.
#: Seconds between these checks. A node that lags shows the message by the last one.
_LOOKS, _PAUSE = 4, 1.0
#: Suspects that are checked at most. If more are lost, these prove it.
_MAX_SUSPECTS = 200


class _Suspect:
    __slots__ = ("looks", "ts")

    def __init__(self, ts: int):
        self.ts = ts
        self.looks = 0  # checks that have not found the message


class Past:
    """The checks of suspected messages. The epoch is renewed once a message is proven to be lost.

    `renew` is given the epoch during which the message was checked, because another worker may have renewed
    it meanwhile.

    A message is lost if another message has its number. It is also lost if the conversation ends before it,
    and still does after `_LOOKS` checks. A single read that finds less than before proves nothing, because it
    may have come from a node that lags.
    """

    def __init__(self, context: Context, renew: Callable[[str], Awaitable[object]]):
        self._context = context
        self._renew = renew
        self._suspects: dict[tuple[str, int], _Suspect] = {}  # by conversation and number
        self._looking = Job(context.loop, "past.look", self._look)

    def suspect(self, conv: str, seq: int, ts: int) -> None:
        """Check the message with that number and time, which was stored or delivered here and may be lost."""
        if len(self._suspects) < _MAX_SUSPECTS:
            self._suspects.setdefault((conv, seq), _Suspect(ts))
            self._looking.want()

    def forget(self) -> None:
        """Drop all suspects, because a new epoch has begun."""
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
                if found.last >= seq:  # the message is there, or was deleted as too old
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
