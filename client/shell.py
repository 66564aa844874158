"""What commands act on: the client, the names, and the conversation that one is in."""

from __future__ import annotations

import re

from client import parse
from client.directory import Directory
from client.events import Message
from client.lines import Lines
from client.screen import Screen
from client.text import clean_line, rows, shown_name
from client.transport import Client
from forkchat.errors import AlreadyOnline, NotFound, NotLoggedIn, Refused
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, pair_key

_ID = re.compile(r"[1-9][0-9]*")
_GROUP = re.compile(r"g?([1-9][0-9]*)")
_CONVERSATION = re.compile(r"g[1-9][0-9]*|d[1-9][0-9]*-[1-9][0-9]*")


class Quit(Exception):
    """The user wants to leave."""


class UsageError(Exception):
    """What was typed cannot be done; the text says what can."""


class Told(Exception):
    """It failed for its cause, of which the user knows already from an event."""


class Shell:
    """`current`: the conversation that a line without a command goes to, "" for none."""

    def __init__(self, client: Client, screen: Screen, directory: Directory, lines: Lines):
        self.client = client
        self.screen = screen
        self.directory = directory
        self.current = ""
        self._lines = lines
        self._login: tuple[str | int, str] | None = None

    @property
    def prompt(self) -> str:
        return (self.title(self.current) if self.current else "") + "> "

    def title(self, conv: str) -> str:
        return self.directory.title(conv, self.client.session.me)

    def tell(self, text: str) -> None:
        for row in rows("-- " + clean_line(text), self.screen.width):
            self.screen.write(row)

    def complain(self, text: str) -> None:
        for row in rows("-- " + clean_line(text), self.screen.width):
            self.screen.complain(row)

    def show(self, message: Message) -> None:
        for row in rows(self._lines.message(message), self.screen.width):
            self.screen.write(row)

    async def log_in(self, who: str | int, password: str, takeover: bool = False) -> None:
        self._login = (who, password)
        try:
            await self.client.login(who, password, takeover=takeover)
        except AlreadyOnline as error:
            hint = "; /takeover ends the session there and logs in here"
            raise AlreadyOnline(clean_line(error.errmsg) + hint) from None

    async def take_over(self) -> None:
        if self._login is None:
            raise UsageError("/takeover comes after a /login that was refused")
        await self.log_in(*self._login, takeover=True)

    async def say(self, conv: str, text: str) -> None:
        """Send a message and, for a moment, wait until it is stored."""
        self.current = conv
        cid = self.client.post(conv, text)
        try:
            await self.client.acknowledged(cid, self.screen.patience)
        except TimeoutError:
            for note in self._lines.unsent(cid, conv, text, "no acknowledgement"):
                self.tell(note)
        except Refused as error:
            raise Told from error

    async def user(self, who: str) -> int:
        """The id of whom `who` names: an id, a name, or `@` and a name that looks like an id."""
        if _ID.fullmatch(who):
            user = int(who)
            if self.directory.user(user) == who and self.client.session.is_ready:
                await self._look_up(id=user)
            return user
        name = who.removeprefix("@")
        known = self.directory.users_named(name)
        return known[0] if len(known) == 1 else await self._look_up(name=name)

    def group(self, group: str) -> int:
        """The id of a group: `9`, `g9`, or `#` and the name of one of ours."""
        if match := _GROUP.fullmatch(group):
            return int(match[1])
        found = self.directory.groups_named(group.removeprefix("#"))
        if not found:
            raise NotFound(f"you are in no group called {shown_name(group.removeprefix('#'))}")
        if len(found) > 1:
            raise UsageError(f"several groups have that name: {', '.join(f'g{id_}' for id_ in found)}")
        return found[0]

    async def conversation(self, name: str) -> str:
        """The key of a conversation: a key, `#` and a group's name, or whom it is with."""
        if not self.client.session.me:
            raise NotLoggedIn("log in first: /login NAME")
        if _CONVERSATION.fullmatch(name):
            return name
        if name.startswith("#"):
            return group_key(self.group(name))
        return pair_key(self.client.session.me, await self.user(name))

    async def _look_up(self, **fields: str | int) -> int:
        found = await self.client.request(m.LOOKUP, **fields)
        user, name = parse.integer(found, "id"), parse.text(found, "name")
        self.directory.add_user(user, name)
        return user
