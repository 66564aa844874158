"""Who has logged in from here, and the tokens that log them in again: in the keyring, else in a 0600 file.

A password is never kept.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any

from client.local.files import write_private

_SERVICE = "chatcli {}"


@dataclass(frozen=True)
class Account:
    """`token`: "" when it is in the keyring, or there is none."""

    id: int
    name: str
    token: str = ""
    is_in_keyring: bool = False


class Accounts:
    """Of one server, the one used last at the end.

    A damaged file is put aside as soon as it is read: `damaged` is where to, and nobody is known. The screen
    calls it from threads: what is changed later must not be overtaken.
    """

    def __init__(self, path: Path, server: str):
        self._path = path
        self._server = server
        self._changing = RLock()
        self.damaged: Path | None = None

    def last(self) -> Account | None:
        known = self._load()
        return known[-1] if known else None

    def named(self, who: int | str) -> Account | None:
        """By its id or its name."""
        return next((account for account in self._load() if who in (account.id, account.name)), None)

    def token(self, account: Account) -> str:
        """May ask the user to unlock the keyring, and take as long."""
        if not account.is_in_keyring:
            return account.token
        keyring = _usable_keyring()
        if keyring is None:
            return ""
        with suppress(Exception):  # as above: without a token one types the password
            return keyring.get_password(_SERVICE.format(self._server), account.name) or ""
        return ""

    def save(self, account: Account) -> None:
        """It is the last one now. As `token`, and raises OSError."""
        with self._changing:
            keyring = _usable_keyring()
            if keyring is not None and account.token:
                with suppress(Exception):  # then the file has it
                    keyring.set_password(_SERVICE.format(self._server), account.name, account.token)
                    account = replace(account, token="", is_in_keyring=True)
            others = [other for other in self._load() if other.id != account.id]
            self._store([*others, account])

    def renew(self, user: int, token: str) -> None:
        """The token that is kept is of no use any more: keep this one instead; "": none. As `save`."""
        with self._changing:
            account = self.named(user)
            if account and (account.token or account.is_in_keyring):
                self._forget_token(account)
                if token:
                    self.save(Account(user, account.name, token))

    def _forget_token(self, account: Account) -> None:
        known = self._load()
        if account.is_in_keyring and (keyring := _usable_keyring()) is not None:
            with suppress(Exception):
                keyring.delete_password(_SERVICE.format(self._server), account.name)
        without = replace(account, token="", is_in_keyring=False)
        self._store([without if other.id == account.id else other for other in known])

    def _load(self) -> list[Account]:
        return self._servers().get(self._server, [])

    def _servers(self) -> dict[str, list[Account]]:
        try:
            found = json.loads(self._path.read_bytes())
            return {server: [_account(**fields) for fields in known] for server, known in found.items()}
        except OSError:
            return {}
        except (ValueError, TypeError, AttributeError, RecursionError):
            damaged = self._path.with_suffix(".damaged")
            with suppress(OSError):
                self._path.rename(damaged)
                self.damaged = damaged
            return {}

    def _store(self, accounts: list[Account]) -> None:
        servers = self._servers() | {self._server: accounts}
        plain = {server: [asdict(account) for account in known] for server, known in servers.items()}
        write_private(self._path, json.dumps(plain, indent=1))


def _account(**fields: Any) -> Account:
    """Of the file. Raises TypeError."""
    account = Account(**fields)
    if [type(value) for value in astuple(account)] != [int, str, str, bool]:
        raise TypeError
    return account


def _usable_keyring() -> ModuleType | None:
    """`keyring`; None where it is not installed (it is an extra), or has nothing to keep secrets in."""
    try:
        import keyring  # here alone: it takes a while, and only who logs in needs it

        return keyring if keyring.core.recommended(keyring.get_keyring()) else None
    except Exception:  # whatever backends there are
        return None
