"""Requests to the server: how far the conversations go, whom they are with, and missing messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from client.protocol import parse
from client.protocol.events import Standing
from client.screen.conversations import Conversation
from forkchat.errors import Forbidden, NotFound, NotMember, Refused
from forkchat.wire import msgid as m
from forkchat.wire.conversation import parse_key

if TYPE_CHECKING:
    from client.screen.desk import Desk

#: Messages of one fetch while the user scrolls up.
#: Seconds of pause after a failed fetch.
_PAGE, _FETCH_PAUSE = 100, 2.0


class Fetching:
    def __init__(self, desk: Desk):
        self._desk = desk

    async def catch_up(self) -> None:
        """Ask how far every conversation goes, then for the names of unknown users."""
        after: dict[str, str] = {}
        more, known = True, set[str]()
        try:
            while more:
                fields = await self._desk.client.request(m.SYNC, **after)
                standings = parse.standings(fields, self._desk.directory.me[0])
                for standing in standings:
                    self._stand(standing)
                convs = {standing.conv for standing in standings}
                more = parse.flag(fields, "more") and not convs <= known
                known |= convs
                after = {"after": standings[-1].conv} if standings else {}
            await self._name_the_unknown()
        except (Refused, OSError):
            pass  # the next login does it again

    def fetch(self, chat: Conversation, gap: tuple[int, int]) -> None:
        """Fetch the latest messages of a gap, unless a fetch is under way or the session is not ready."""
        if self._desk.client.session.is_ready and not chat.is_fetching:
            chat.is_fetching = True
            self._desk.start(self._fetch(chat, gap))

    async def _fetch(self, chat: Conversation, gap: tuple[int, int]) -> None:
        after, before = gap
        try:
            fields = await self._desk.client.request(m.FETCH, conv=chat.conv, before=before, limit=_PAGE)
            me = self._desk.directory.me[0]
            page, first, _last, _more = parse.page(fields, chat.conv, 0, me)
        except (NotMember, NotFound, Forbidden):
            chat.void.add(gap)
        except (Refused, OSError):
            await asyncio.sleep(_FETCH_PAUSE)  # the drawing after that asks again
        else:
            if not any(after < message.seq < before for message in page):
                chat.void.add(gap)
            self._desk.keep_messages([message for message in page if message.seq])
            chat.stand.first = max(chat.stand.first, first)
            self._desk.history.save(chat.stand)
        finally:
            chat.is_fetching = False
            self._desk.on_change()

    async def _name_the_unknown(self) -> None:
        """Look up the users that we have a conversation with and know only by their ids."""
        for conv in self._desk.conversations.listed():
            if conv and not (key := parse_key(conv)).group:
                other = key.other(self._desk.directory.me[0])
                if self._desk.directory.user(other) == str(other):
                    found = await self._desk.client.request(m.LOOKUP, id=other)
                    self._desk.directory.add_user(other, parse.text(found, "name"))
        self._desk.save()
        self._desk.on_change()

    def _stand(self, standing: Standing) -> None:
        stand = self._desk.conversations[standing.conv].stand
        stand.last = max(stand.last, standing.last)
        stand.read = max(stand.read, standing.read)
        stand.first = max(stand.first, standing.first)
        self._desk.history.save(stand)
