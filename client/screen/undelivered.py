"""Refused messages and drafts of an earlier epoch: sent again, moved to their conversations, or discarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.i18n import _
from client.protocol import parse
from client.protocol.outbox import Pending
from client.screen.conversations import HOME
from client.text import clean_line, shown_name
from forkchat.errors import BadRequest, NotFound, Refused
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, pair_key, parse_key

if TYPE_CHECKING:
    from client.screen.desk import Desk


class Undelivered:
    def __init__(self, desk: Desk):
        self._desk = desk

    def retry(self, conv: str) -> int:
        """Send the refused messages of a conversation again; return how many.

        A message of another epoch goes to the user or group of that name now, if there is only one.
        """
        found = 0
        for pending in self._refused(conv):
            if to := conv or self._called(pending):
                self._desk.client.post(to, pending.text, self._desk.directory.known(to))
                self._desk.done(pending.cid)
                found += 1
        return found

    def discard(self, conv: str) -> int:
        """Discard the refused messages of a conversation; return how many texts were discarded.

        On the home page this includes the drafts that have no conversation in this epoch.
        """
        found = self._refused(conv)
        strays = [] if conv else list(self._desk.journal.strays)
        for pending in found:
            self._desk.done(pending.cid)
        for name in strays:
            self._found(name)
        return len(found) + len(strays)

    def _refused(self, conv: str) -> list[Pending]:
        journal = self._desk.journal
        return [pending for pending, _ in journal.failed.values() if journal.place(pending) == conv]

    def _called(self, pending: Pending) -> str:
        """Return the conversation with the user or group of that name, "" if none or several have it."""
        directory = self._desk.directory
        if parse_key(pending.conv).group:
            convs = [group_key(group) for group in directory.groups_named(pending.name)]
        else:
            me = directory.me[0]
            convs = [pair_key(me, user) for user in directory.users_named(pending.name) if user != me]
        return convs[0] if len(convs) == 1 else ""

    async def find_strays(self) -> None:
        """Move the drafts of an earlier epoch to their conversations in this one."""
        for name, text in list(self._desk.journal.strays.items()):
            try:
                conv = await self._whose(name)
            except (Refused, OSError):
                return  # the next login does it again
            if self._desk.journal.strays.get(name) != text:
                continue  # it was moved meanwhile, or another user is here
            if conv:
                self._desk.on_stray(conv, text)
                self._found(name)
            else:
                begun = _("begun to {name}, who is not on this server now: {text}")
                self._desk.note(HOME, begun.format(name=shown_name(name), text=clean_line(text)), "error")
        self._desk.on_change()

    async def _whose(self, name: str) -> str:
        """Return the conversation of a stray draft, "" if there is none."""
        if name[0] == "#":
            groups = self._desk.directory.groups_named(name[1:])
            return group_key(groups[0]) if len(groups) == 1 else ""
        try:
            user = parse.identifier(await self._desk.client.request(m.LOOKUP, name=name), "id")
        except (NotFound, BadRequest):
            return ""
        self._desk.directory.add_user(user, name)
        me = self._desk.directory.me[0]
        return pair_key(me, user) if user != me else ""

    def _found(self, name: str) -> None:
        self._desk.change_journal(lambda journal: journal.found(name))
