"""The commands that establish who the user is: accounts, logins, passwords."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from client.commands.passwords import NoPassword, Password, Passwords
from client.commands.shell import Shell, UsageError
from client.i18n import _
from client.text import shown_name

#: Environment variables in which scripts pass passwords.
PASSWORD, NEW_PASSWORD = "FORKCHAT_PASSWORD", "FORKCHAT_NEW_PASSWORD"


def register(shell: Shell, name: str) -> Coroutine[Any, Any, dict[str, Any]]:
    if name.startswith("/"):
        raise UsageError(_("a name cannot begin with /, as a command does"))
    prompt = _("password for {name}: ").format(name=shown_name(name))
    return _register(shell, name, Passwords(shell, Password(PASSWORD, prompt, is_new=True)))


async def _register(shell: Shell, name: str, passwords: Passwords) -> dict[str, Any]:
    (password,) = await passwords.get()
    user = await shell.client.register(name, password)
    shell.view.tell(_("registered as {name}; your id is {id}").format(name=shown_name(name), id=user))
    await shell.log_in(str(user), password)
    return {"id": user, "name": name}


def login(shell: Shell, who: str) -> Coroutine[Any, Any, dict[str, Any]]:
    """Log in with the given password, else the stored token, else a password that the user types.

    While a user is logged in, ask instead of using the token, because a queued /logout would end it.
    """
    if shell.has_token(who) and not shell.client.session.me and not shell.given.get(PASSWORD):
        return _login_again(shell, who)
    return _login(shell, who, Passwords(shell, Password(PASSWORD, _("password: "))))


async def _login_again(shell: Shell, who: str) -> dict[str, Any]:
    if not await shell.log_in_again(who):
        raise NoPassword(_("the last login cannot be read; log in with the password"))
    return _me(shell)


async def _login(shell: Shell, who: str, passwords: Passwords) -> dict[str, Any]:
    try:
        (password,) = await passwords.get()
    except NoPassword:
        if not shell.is_logged_in(who) and not await shell.log_in_again(who):
            raise
    else:
        if not shell.is_logged_in(who):
            await shell.log_in(who, password)
    return _me(shell)


async def takeover(shell: Shell) -> dict[str, Any]:
    await shell.take_over()
    return _me(shell)


def _me(shell: Shell) -> dict[str, Any]:
    me = shell.client.session.me
    return {"id": me, "name": shell.directory.user(me)}


async def logout(shell: Shell) -> None:
    await shell.log_out()
    shell.view.open("")


def passwd(shell: Shell) -> Coroutine[Any, Any, None]:
    old = Password(PASSWORD, _("old password: "))
    return _passwd(shell, Passwords(shell, old, Password(NEW_PASSWORD, _("new password: "), is_new=True)))


async def _passwd(shell: Shell, passwords: Passwords) -> None:
    old, new = await passwords.get()
    await shell.change_password(old, new)
    shell.view.tell(_("the password is changed; sessions elsewhere must log in again"))
