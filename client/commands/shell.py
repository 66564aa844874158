"""What commands act on: the client, the names, and the view that they were typed in."""

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
    """What was typed cannot be done; the text says what can."""


class Told(Exception):
    """It failed for its cause, of which the user knows already from an event."""


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Whoever is told that there is none, or that they are not in it, is told which."""
    try:
        yield
    except (NotFound, NotMember) as error:
        raise type(error)(f"{_(clean_line(error.errmsg))}: {what}") from None


class Shell:
    """`commands` are those that can be typed there, by name; `given` are the passwords that need not be asked
    for, by what they are called in the environment. `is_logging_in`: a login that the user has asked for is
    under way, and its command will say how it went. `epoch`: of the server's database in which the line that
    is being done was entered, or the script began; "": not known. `cid`: of the message that the line says;
    "": a new one.
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
        self._unreadable: set[int] = set()  # whose tokens the keyring does not give

    def is_logged_in(self, who: str = "") -> bool:
        """As `who`; "": as anyone."""
        session = self.client.session
        return session.is_ready and session.me > 0 and (not who or parse_who(who) in self.directory.me)

    async def log_in(self, who: str, password: str) -> None:
        self._login = {"who": parse_who(who), "password": password}
        await self._log_in()

    def has_token(self, who: str) -> bool:
        """The token of the last time is kept here, as far as we know."""
        account = self._accounts.named(parse_who(who))
        return account is not None and account.has_token and account.id not in self._unreadable

    async def log_in_again(self, who: str) -> bool:
        """With the token of the last time; whether it can be read.

        Raises TokenExpired when it is refused; it is kept no more then.
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
        """Who is logged in does so again, here, by the token of this session."""
        await self._keep(self._accounts.save, Account(*self.directory.me, self.client.session.token))

    async def renew_token(self, user: int, token: str) -> None:
        """In place of the one that is kept here; "" for none."""
        await self._keep(self._accounts.renew, user, token)

    async def _keep(self, change: Callable[..., None], *what: Any) -> None:
        try:
            await asyncio.to_thread(change, *what)
        except OSError as error:
            self.view.complain(_("the login is not kept: {reason}").format(reason=error.strerror))

    def resume(self, token: str) -> None:
        """Log in with a token, now or when there is a connection; events tell how it went."""
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
        """Send a message and, as long as the view has patience, wait until it is stored. A script's next line
        goes there, too; on the screen one stays where one is, unless that is nowhere.
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
        """Send a message without waiting; returns its `cid`. Raises UsageError for one that says nothing."""
        if not text.strip():
            raise UsageError(_("there is no text to send"))
        return self.client.post(conv, text, self.directory.known(conv), self.cid)

    async def user(self, who: str) -> int:
        """The id of whom `who` names: an id, a name, or `@` and a name that looks like an id."""
        named = parse_who(who)
        if isinstance(named, int):
            self._check_epoch()
            if self.directory.user(named) == who and self.client.session.is_ready:
                await self._look_up(who, id=named)
            return named
        known = self.directory.users_named(named)
        return known[0] if len(known) == 1 else await self._look_up(who, name=named)

    def group(self, group: str) -> int:
        """The id of a group: `9`, `g9`, `#` and the name of one of ours, "" for that which the user is in."""
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
        """The key of a conversation: a key, `#` and a group's name, or whom it is with."""
        is_key = _is_key(name)
        if is_key or parse_id(name):
            self._check_epoch()  # first: the server may have forgotten us, too
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
        """Raises Stranded for an id, or the key of a conversation, that was entered in another epoch."""
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
