"""The login at the start, by the token of the last one or by a command that the user types."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from client.commands.directory import parse_who
from client.commands.wording import no_server, put_aside
from client.i18n import _
from client.local.accounts import Account
from client.protocol.events import Event, LoggedIn, LoggedOut, LoginFailed
from client.screen.conversations import HOME
from client.text import clean_line, shown_name
from forkchat.errors import AlreadyOnline, Refused, TokenExpired

if TYPE_CHECKING:
    from client.screen.app import App


class Entrance:
    def __init__(self, app: App):
        self._app = app
        self._accounts = app.accounts

    async def begin(self, user: str, usual: str) -> None:
        """Log in `user`, or tell the user how to log in.

        If `user` is "", the account is `usual`, else the only account that has logged in here. Several users
        may share this machine. Without `user`, ask which account is meant if several are known. Also ask if
        another chatcli has the account open.
        """
        who, known = user or usual, self._accounts.known()
        account = self._accounts.named(parse_who(who)) if who else known[0] if len(known) == 1 else None
        if self._accounts.damaged:
            self._app.complain(put_aside(self._accounts.damaged))
        is_doubtful = self._app.desk.is_open_elsewhere(account.name) if account else bool(known and not who)
        if is_doubtful and not user:
            await self._ask(known)
            return
        token = await asyncio.to_thread(self._accounts.token, account) if account else ""
        if account:
            self._come_in(account.id, account.name)
            self._app.desk.note(HOME, _("welcome back, {name}").format(name=shown_name(account.name)))
        if token:
            self._app.shell.resume(token)
        else:
            await self._welcome(account.name if account else who)
        self._app.draw_soon()

    def on_event(self, event: Event) -> None:
        match event:
            case LoggedIn():
                self._come_in(event.id, event.name)
                self._app.start(self._app.shell.keep_login())
            case LoginFailed() if not self._app.shell.is_logging_in:
                self._failed(event.refused)
            case LoggedOut() if event.reason != "replaced":  # /takeover logs in again after that
                name = self._app.directory.me[1]
                asyncio.get_running_loop().call_soon(self._offer_login, name)  # after the note about it

    def _come_in(self, user: int, name: str) -> None:
        """Switch to this user and load what is kept here of them, unless they are the current user."""
        app = self._app
        is_other = app.directory.me != (user, name)
        if is_other:
            app.composer.put_away()
        app.desk.restore(user, name)
        if is_other:
            app.composer.come_in()
            app.composer.resume()

    async def _ask(self, known: list[Account]) -> None:
        """Ask which user is there, with the names of the accounts that have logged in here."""
        await self._look()
        app = self._app
        free = []
        for account in known:
            if app.desk.is_open_elsewhere(account.name):
                name = shown_name(account.name)
                app.tell(_("{name} has another chatcli open on this computer").format(name=name))
            else:
                free.append(shown_name(account.name))
        if free:
            text = _("who are you? {names}: put your name behind /login and press Enter")
            app.tell(text.format(names=", ".join(free)))
        app.tell(_("for a new account, put your name behind /register; chatcli -u NAME does not ask"))
        if not free:
            app.tell(_("or, if you have one on this server: /login NAME"))
        app.composer.offer(f"/login {free[0] if len(free) == 1 else ''}" if free else "/register ")
        app.draw_soon()

    async def _welcome(self, name: str) -> None:
        """Tell the user how to log in, because no token is kept."""
        await self._look()
        app = self._app
        if name:
            self._offer_login(name)
        else:
            app.tell(_("no account is known here yet: put your name behind /register and press Enter"))
            app.tell(_("or, if you have one on this server: /login NAME"))
            app.composer.offer("/register ")

    def _offer_login(self, name: str) -> None:
        """Offer a login to the account that was used last, and name the other known accounts."""
        text = _("/login {name} logs in; /register NAME makes an account")
        self._app.desk.note(HOME, text.format(name=shown_name(name)))
        if others := [shown_name(each.name) for each in self._accounts.known() if each.name != name]:
            self._app.desk.note(HOME, _("also known here: {names}").format(names=", ".join(others)))
        self._app.composer.offer(f"/login {shown_name(name)}")

    async def _look(self) -> None:
        """Connect, and tell the user whether there is a server, before anything is asked."""
        app = self._app
        try:
            await app.client.connect()
            where = {"host": app.server.host, "port": app.server.port}
            app.tell(_("connected to {host}, port {port}").format(**where))
        except OSError as error:
            for text in no_server(app.server, error):
                app.complain(text)

    def _failed(self, refused: Refused) -> None:
        """Tell why an automatic login has failed, and what the user can do."""
        reason = _(clean_line(refused.errmsg))
        if isinstance(refused, AlreadyOnline):
            hint = _("/takeover ends the session there and logs in here")
            self._app.complain(f"{reason}; {hint}")
            return
        if isinstance(refused, TokenExpired):
            self._app.complain(_("the last login has expired; log in with the password"))
        else:  # a password, which is tried only after the token has expired
            self._app.complain(_("could not log in again: {reason}; try /login").format(reason=reason))
        user, name = self._app.directory.me
        self._app.start(self._app.shell.renew_token(user, ""))
        self._app.composer.offer(f"/login {shown_name(name)}")
