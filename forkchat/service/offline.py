"""The login answer of a classic client, with its offline messages in it and after it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from forkchat import log
from forkchat.runtime import sleep
from forkchat.service.context import Context
from forkchat.service.groups import Groups
from forkchat.service.outgoing import Form, Outgoing
from forkchat.service.session import Session
from forkchat.wire.chat import ChatMessage, classic_dict, modern_frame
from forkchat.wire.classic import PADDED_ROOM

if TYPE_CHECKING:
    from forkchat.store import Group, Standing

#: Messages of one conversation that are read at once, at most.
#: Messages of all conversations that are read at once, but at least one of each conversation.
#: Messages that the answer itself may hold, in any form.
_PAGE, _PAGES, _IN_ANSWER = 50, 500, 200
#: Members of all groups that an answer names at most. The first groups have precedence.
#: The same for a padded answer, because it has 1024 bytes for everything and a member takes 60 of them.
_MEMBERS, _PADDED_MEMBERS = 2000, 20
#: Bytes that are written in one turn.
#: Seconds between checks whether the client has taken them.
_TURN, _PACE = 65536, 0.02


#: A heap of pages: the time of the first message, its conversation, the page, the last number to read.
_Pages = list[tuple[int, str, deque[ChatMessage], int]]


async def _chain(first: list[Outgoing], more: AsyncIterator[Outgoing]) -> AsyncIterator[Outgoing]:
    for out in first:
        yield out
    async for out in more:
        yield out


class Offline:
    def __init__(self, context: Context, groups: Groups):
        self._context = context
        self._groups = groups

    async def answer(
        self,
        session: Session,
        friends: list[dict[str, Any]],
        groups: list[Group],
        standings: list[Standing],
    ) -> None:
        """Write the login answer, then the offline messages that it has no room for."""
        peer, dialect = session.peer, session.peer.classic.dialect
        described = await self._described(session, groups)
        waiting = [standing for standing in standings if standing.recv < standing.last]
        backlog = self._missed(session.user, waiting)
        first = []
        async for out in backlog:
            first.append(out)
            if len(first) == _IN_ANSWER:
                break
        texts = [classic_dict(out.frame, dialect) for out in first]
        limit = PADDED_ROOM if peer.form is Form.PADDED else None
        json, taken, is_short = peer.classic.logged_in(
            session.user, session.name, friends, described, texts, limit
        )
        if is_short:
            log.warning(
                "classic.login_shortened", user=session.user, friends=len(friends), groups=len(groups)
            )
        peer.write_json(json)
        for out in first[:taken]:
            session.mark(out.conv, out.seq)
        await self._write(session, _chain(first[taken:], backlog))
        for standing in waiting:
            session.mark(standing.conv, standing.last)

    async def _described(self, session: Session, groups: list[Group]) -> list[dict[str, Any]]:
        """Return the groups, each with as many members as there may be room for."""
        described = []
        left = _PADDED_MEMBERS if session.peer.form is Form.PADDED else _MEMBERS
        for group in groups:
            users = await self._groups.members(group.id, session.user, 0, left) if left else []
            left -= len(users)
            described.append(
                {
                    "id": group.id,
                    "groupname": group.name,
                    "groupdesc": group.description,
                    "users": users,
                }
            )
        return described

    async def _write(self, session: Session, outs: AsyncIterator[Outgoing]) -> None:
        """Write messages at the client's pace, which is known at the end of each turn."""
        peer, loop = session.peer, self._context.loop
        before = peer.queued
        async for out in outs:
            if peer.queued - before > _TURN:
                await sleep(loop, 0)
                while peer.is_over and not peer.is_closed:
                    await sleep(loop, _PACE)
                before = peer.queued
            if peer.is_closed:
                return  # the remaining messages need not be read
            session.write_classic(out)

    async def _missed(self, user: int, standings: list[Standing]) -> AsyncIterator[Outgoing]:
        """Yield the messages that the user has missed, without their own, oldest first.

        At most one page of each conversation is in memory.
        """
        pages: _Pages = []
        size = max(1, min(_PAGE, _PAGES // max(1, len(standings))))
        for standing in standings:
            after = max(standing.recv, standing.first - 1)
            await self._read(pages, standing.conv, after, standing.last, size)
        while pages:
            _, conv, page, last = heappop(pages)
            message = page.popleft()
            if message.sender != user:
                yield Outgoing(conv, message.seq, message.sender, modern_frame(*message))
            if page:
                heappush(pages, (page[0].ts, conv, page, last))
            else:
                await self._read(pages, conv, message.seq, last, size)

    async def _read(self, pages: _Pages, conv: str, after: int, last: int, size: int) -> None:
        """Add the next page of a conversation to the heap, if there is one."""
        if after < last:
            gap = await self._context.store.messages.between(conv, after, last, size)
            if page := deque(ChatMessage(*row) for row in gap.rows):
                heappush(pages, (page[0].ts, conv, page, last))
