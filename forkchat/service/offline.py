"""The login answer of a classic client, with its offline messages in it and after it."""

from __future__ import annotations

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

#: Messages read at once; and those that the answer itself may hold, whatever its form.
_PAGE = 200
#: Seconds between looks at whether the client has taken what it was sent.
_PACE = 0.02


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
        peer, numbering = session.peer, session.peer.classic.numbering
        described = [await self._described(group, session.user) for group in groups]
        waiting = [standing for standing in standings if standing.recv < standing.last]
        outs = []
        for standing in sorted(waiting, key=lambda s: s.conv):
            outs += await self._missed(session, standing)
        outs.sort(key=lambda entry: entry[0])
        texts = [classic_dict(out.frame, numbering) for _, out in outs[:_PAGE]]
        limit = PADDED_ROOM if peer.form is Form.PADDED else None
        json, taken, is_short = peer.classic.logged_in(
            session.user, session.name, friends, described, texts, limit
        )
        if is_short:
            log.warning(
                "classic.login_shortened", user=session.user, friends=len(friends), groups=len(groups)
            )
        peer.write_json(json)
        for _, out in outs[:taken]:
            session.mark(out.conv, out.seq)
        for _, out in outs[taken:]:
            while peer.is_over and not peer.is_closed:
                await sleep(self._context.loop, _PACE)
            session.write_classic(out)
        for standing in waiting:
            session.mark(standing.conv, standing.last)

    async def _described(self, group: Group, user: int) -> dict[str, Any]:
        return {
            "id": group.id,
            "groupname": group.name,
            "groupdesc": group.description,
            "users": await self._groups.members(group.id, user),
        }

    async def _missed(self, session: Session, standing: Standing) -> list[tuple[int, Outgoing]]:
        """(time, message) of what the user has not had of a conversation, without their own."""
        found: list[tuple[int, Outgoing]] = []
        after = max(standing.recv, standing.first - 1)
        while after < standing.last:
            gap = await self._context.store.messages.between(standing.conv, after, standing.last, _PAGE)
            if not gap.rows:
                break
            for row in gap.rows:
                message = ChatMessage(*row)
                if message.sender != session.user:
                    out = Outgoing(message.conv, message.seq, message.sender, modern_frame(message))
                    found.append((message.ts, out))
            after = gap.rows[-1][1]
        return found
