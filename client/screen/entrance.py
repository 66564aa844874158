"""Coming in: by the token of the last time, or by what the user is told to type."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from client.commands.directory import parse_who
from client.commands.wording import no_server, put_aside
from client.i18n import _
from client.local.accounts import Account, Accounts
from client.protocol.events import Event, LoggedIn, LoginFailed
from client.screen.conversations import HOME
from client.text import clean_line, shown_name
from forkchat.errors import AlreadyOnline, Refused, TokenExpired

if TYPE_CHECKING:
    from client.screen.app import App


class Entrance:
    def __init__(self, app: App, accounts: Accounts):
        self._app = app
        self._accounts = accounts

    async def begin(self, user: str) -> None:
        """`user`: who is to log in; "" for whoever did last."""
        account = self._accounts.named(parse_who(user)) if user else self._accounts.last()
        if self._accounts.damaged:
            self._app.complain(put_aside(self._accounts.damaged))
        token = await asyncio.to_thread(self._accounts.token, account) if account else ""
        if account:
            self._come_in(account.id, account.name)
            self._app.desk.note(HOME, _("welcome back, {name}").format(name=shown_name(account.name)))
        if token:
            self._app.shell.resume(token)
        else:
            await self._welcome(account.name if account else user)
        self._app.draw_soon()

    def on_event(self, event: Event) -> None:
        match event:
            case LoggedIn():
                self._come_in(event.id, event.name)
                self._app.start(self._keep(event.id, event.name))
            case LoginFailed():
                self._failed(event.refused)

    def _come_in(self, user: int, name: str) -> None:
        """What is kept here of this user is brought, unless they are here already."""
        app = self._app
        is_other = app.directory.me[0] != user
        if is_other:
            app.composer.put_away()
        app.desk.restore(user, name)
        if is_other:
            app.composer.bring_inputs()

    async def _welcome(self, name: str) -> None:
        """Nobody can log in by themselves: say how, once we know whether there is a server."""
        app = self._app
        try:
            await app.client.connect()
            where = {"host": app.server.host, "port": app.server.port}
            app.tell(_("connected to {host}, port {port}").format(**where))
        except OSError as error:
            for text in no_server(app.server, error):
                app.complain(text)
        if name:
            text = _("/login {name} logs in; /register NAME makes an account")
            app.tell(text.format(name=shown_name(name)))
            app.composer.offer(f"/login {shown_name(name)}")
        else:
            app.tell(_("no account is known here yet: put your name behind /register and press Enter"))
            app.tell(_("or, if you have one on this server: /login NAME"))
            app.composer.offer("/register ")

    def _failed(self, refused: Refused) -> None:
        """Of a token: a password's login says it itself."""
        if not self._app.shell.is_resuming:
            return
        reason = _(clean_line(refused.errmsg))
        if isinstance(refused, TokenExpired):
            self._app.start(self._app.shell.renew_token(self._app.directory.me[0], ""))
            self._app.complain(_("the last login has expired; log in with the password"))
            self._app.composer.offer(f"/login {shown_name(self._app.directory.me[1])}")
        elif isinstance(refused, AlreadyOnline):
            hint = _("/takeover ends the session there and logs in here")
            self._app.complain(f"{reason}; {hint}")
        else:
            self._app.complain(_("could not log in again: {reason}; try /login").format(reason=reason))

    async def _keep(self, user: int, name: str) -> None:
        account = Account(user, name, self._app.client.session.token)
        try:
            await asyncio.to_thread(self._accounts.save, account)
        except OSError as error:
            self._app.complain(_("the login is not kept: {reason}").format(reason=error.strerror))
