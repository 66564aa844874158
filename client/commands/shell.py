"""The state that commands act on: the client, the known names, and the view they were typed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from client.aio.client import Client
from client.commands.directory import Directory, parse_id, parse_who
from client.commands.view import View
from client.i18n import _
from client.local.accounts import Account, Accounts
from client.local.settings import Settings
from client.protocol import parse
from client.protocol.events import Stranded
from client.text import clean_line, shown_name
from forkchat.errors import AlreadyOnline, BadRequest, NotFound, NotLoggedIn, NotMember, Refused, TokenExpired
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, pair_key, parse_key

if TYPE_CHECKING:
    from client.commands.table import Command


class Quit(Exception):
    """The user wants to leave."""


class UsageError(Exception):
    """The typed command cannot be done. The text tells the user what is possible."""


class Told(Exception):
    """A command failed, and an event has already told the user its cause (`__cause__`)."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Append `what` to the text of NotFound and NotMember, so that the user knows which name failed."""
    try:
        yield
    except (NotFound, NotMember) as error:
        raise type(error)(f"{_(clean_line(error.errmsg))}: {what}") from None


class Shell:
    """The context in which the commands of one view run.

    `commands`: the commands of the view, by name.
    `given`: the passwords that the user need not type, by environment variable.
    `is_logging_in`: a login that the user asked for is under way. Its command will report the result.
    `epoch`: the epoch of the server's database in which the current line was entered or the script began.
    It is "" if it is not known.
    `cid`: the `cid` of the message that the current line sends, or "" for a new one.
    """

    def __init__(
        self,
        client: Client,
        view: View,
        directory: Directory,
        settings: Settings,
        accounts: Accounts,
        given: Mapping[str, str],
        commands: Mapping[str, Command],
    ):
        self.client = client
        self.commands = commands
        self.view = view
        self.directory = directory
        self.settings = settings
        self.given = given
        self._accounts = accounts
        self._login: dict[str, Any] = {}
        self.is_logging_in = False
        self.cid = self.epoch = ""
        self._unreadable: set[int] = set()  # ids of accounts whose tokens cannot be read

    def is_logged_in(self, who: str = "") -> bool:
        """Return True if `who` is logged in. "" stands for any user."""
        session = self.client.session
        return session.is_ready and session.me > 0 and (not who or parse_who(who) in self.directory.me)

    async def log_in(self, who: str, password: str) -> None:
        self._login = {"who": parse_who(who), "password": password}
        await self._log_in()

    def has_token(self, who: str) -> bool:
        """Return True if a token for `who` is stored and has not turned out to be unreadable."""
        account = self._accounts.named(parse_who(who))
        return account is not None and account.has_token and account.id not in self._unreadable

    async def log_in_again(self, who: str) -> bool:
        """Log in with the stored token. Return False if there is none or it cannot be read.

        Raises TokenExpired if the server refuses the token, which is then deleted.
        """
        account = self._accounts.named(parse_who(who))
        token = await asyncio.to_thread(self._accounts.token, account) if account else ""
        if not account or not token:
            self._unreadable |= {account.id} if account else set()
            return False
        self._login = {"token": token}
        try:
            await self._log_in()
        except TokenExpired:
            await self.renew_token(account.id, "")
            raise TokenExpired(_("the last login has expired; log in with the password")) from None
        if self.client.session.token != token:
            await self.renew_token(account.id, self.client.session.token)
        return True

    async def log_out(self) -> None:
        await self.client.request(m.LOGINOUT)
        self._login = {}
        await self.renew_token(self.directory.me[0], "")

    async def change_password(self, old: str, new: str) -> None:
        await self.client.request(m.ACCOUNT, op="password", old=old, new=new)
        me = self.directory.me[0]
        self._login = {"who": me, "password": new}
        await self.renew_token(me, self.client.session.token)

    async def keep_login(self) -> None:
        """Store this session's token, so that the user can log in again on this machine."""
        await self._keep(self._accounts.save, Account(*self.directory.me, self.client.session.token))

    async def renew_token(self, user: int, token: str) -> None:
        """Replace the stored token of `user`, if there is one. "" deletes it."""
        await self._keep(self._accounts.renew, user, token)

    async def _keep(self, change: Callable[..., None], *what: Any) -> None:
        try:
            await asyncio.to_thread(change, *what)
        except OSError as error:
            self.view.complain(_("the login is not kept: {reason}").format(reason=error.strerror))

    def resume(self, token: str) -> None:
        """Log in with a token, now or once there is a connection. Events report the result."""
        self._login = {"token": token}
        self.client.session.login(token=token)
        self.client.begin()

    async def _log_in(self, takeover: bool = False) -> None:
        self.is_logging_in = True
        try:
            await self.client.login(**self._login, takeover=takeover)
        except AlreadyOnline as error:
            hint = _("/takeover ends the session there and logs in here")
            raise AlreadyOnline(f"{_(clean_line(error.errmsg))}; {hint}") from None
        finally:
            self.is_logging_in = False

    async def take_over(self) -> None:
        if not self._login:
            raise UsageError(_("/takeover comes after a /login that was refused"))
        await self._log_in(takeover=True)

    async def say(self, conv: str, text: str) -> dict[str, object] | None:
        """Send a message, and wait at most the view's `patience` seconds until it is stored.

        Return its conv, seq and ts, or None without patience. A script switches to `conv`, so that its next
        line goes there too. The screen switches only if no conversation is open. Raises Told if the server
        refuses the message.
        """
        if self.view.patience or not self.view.conv:
            self.view.open(conv)
        cid = self.post(conv, text)
        if not self.view.patience:
            if conv != self.view.conv:
                self.view.tell(_("to {name}: {text}").format(name=self.directory.title(conv), text=text))
            return None
        try:
            sent = await self.client.acknowledged(cid, self.view.patience)
        except Refused as error:
            raise Told from error
        return {"conv": sent.conv, "seq": sent.seq, "ts": sent.ts}

    def post(self, conv: str, text: str) -> str:
        """Send a message without waiting, and return its `cid`. Raises UsageError if the text is blank."""
        if not text.strip():
            raise UsageError(_("there is no text to send"))
        return self.client.post(conv, text, self.directory.known(conv), self.cid)

    async def user(self, who: str) -> int:
        """Return a user's id. `who` is an id, a name, or `@` and a name that looks like an id."""
        named = parse_who(who)
        if isinstance(named, int):
            self._check_epoch()
            if self.directory.user(named) == who and self.client.session.is_ready:
                await self._look_up(who, id=named)
            return named
        known = self.directory.users_named(named)
        return known[0] if len(known) == 1 else await self._look_up(who, name=named)

    def group(self, group: str) -> int:
        """Return a group's id. `group` is `9`, `g9`, or `#` and the name of one of the user's groups.

        "" stands for the group that the user is in.
        """
        if not group:
            if self.view.conv[:1] != "g":
                raise UsageError(_("which group? name one, or go to one first"))
            return parse_key(self.view.conv).group
        if number := parse_id(group.removeprefix("g")):
            self._check_epoch()
            return number
        name = group.removeprefix("#")
        found = self.directory.groups_named(name)
        if not found:
            raise NotFound(_("you are in no group called {name}").format(name=shown_name(name)))
        if len(found) > 1:
            ids = ", ".join(f"g{id_}" for id_ in found)
            raise UsageError(_("several groups have that name: {ids}").format(ids=ids))
        return found[0]

    async def conversation(self, name: str) -> str:
        """Return a conversation's key. `name` is a key, `#` and a group's name, or a user."""
        is_key = _is_key(name)
        if is_key or parse_id(name):
            self._check_epoch()  # first, because a new database may not know this user either
        if not self.client.session.me:
            raise NotLoggedIn(_("log in first: /login NAME"))
        if is_key:
            return name
        if name.startswith("#"):
            return group_key(self.group(name))
        user = await self.user(name)
        if user == self.client.session.me:
            raise BadRequest(_("this is yourself"))
        return pair_key(self.client.session.me, user)

    def _check_epoch(self) -> None:
        """Raise Stranded if the ids and keys of the current line were entered in another epoch."""
        if self.epoch not in ("", self.client.session.epoch):
            raise Stranded

    async def _look_up(self, who: str, **fields: str | int) -> int:
        with naming(who):
            found = await self.client.request(m.LOOKUP, **fields)
        user, name = parse.identifier(found, "id"), parse.text(found, "name")
        self.directory.add_user(user, name)
        return user


def _is_key(name: str) -> bool:
    with suppress(BadRequest):
        parse_key(name)
        return True
    return False
