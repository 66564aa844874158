"""Accounts that have logged in on this machine, and the tokens that log them in again.

A token is in the keyring, else in a file with mode 0600. Passwords are never stored.
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
from client.local.servers import canonical, spellings

_SERVICE = "chatcli {}"


@dataclass(frozen=True)
class Account:
    """One account. `token` is "" if it is in the keyring or there is none. `is_tls`: it was used over TLS."""

    id: int
    name: str
    token: str = ""
    is_in_keyring: bool = False
    is_tls: bool = False

    @property
    def has_token(self) -> bool:
        return bool(self.token) or self.is_in_keyring


class Accounts:
    """The accounts of one server, the last used at the end. `is_tls`: they are used over TLS now.

    A damaged file is renamed as soon as it is read. `damaged` is its new path, and no account is known then.
    A file that cannot be read stays as it is, and every method raises OSError.
    Changes hold a lock, because the screen calls from threads and an older change must not undo a later one.
    """

    def __init__(self, path: Path, server: str):
        self._path = path
        self._server = canonical(server)
        self._spellings = spellings(server)
        self._changing = RLock()
        self.is_tls = False
        self.damaged: Path | None = None

    def need_tls(self) -> bool:
        """Return True if any account was used over TLS.

        Tokens and passwords go to this server only over TLS then.
        """
        return any(account.is_tls for account in self._load())

    def known(self) -> list[Account]:
        """Return all accounts, the last used first."""
        return self._load()[::-1]

    def named(self, who: int | str) -> Account | None:
        """Return the account with that id or name, or None."""
        return next((account for account in self._load() if who in (account.id, account.name)), None)

    def token(self, account: Account) -> str:
        """Return the account's token, or "" if there is none or it cannot be read.

        The call may ask the user to unlock the keyring, and blocks until that is done.
        """
        if not account.is_in_keyring:
            return account.token
        keyring = _usable_keyring()
        if keyring is None:
            return ""
        for server in self._spellings:
            with suppress(Exception):  # without a token the user types the password
                if token := keyring.get_password(_SERVICE.format(server), account.name):
                    return str(token)
        return ""

    def save(self, account: Account) -> None:
        """Store the account as the last used. May block like `token`. Raises OSError if the write fails."""
        with self._changing:
            before = self.named(account.name)
            account = replace(account, is_tls=self.is_tls or bool(before and before.is_tls))
            keyring = _usable_keyring()
            if keyring is not None and account.token:
                with suppress(Exception):  # on failure the file stores it
                    keyring.set_password(_SERVICE.format(self._server), account.name, account.token)
                    account = replace(account, token="", is_in_keyring=True)
            # A name is one person. Other accounts with this id or name belong to another database: drop them.
            others = [o for o in self._load() if o.id != account.id and o.name != account.name]
            self._store([*others, account])

    def renew(self, user: int, token: str) -> None:
        """Replace the account's stored token, if there is one. "" deletes it.

        May block and raises OSError like `save`.
        """
        with self._changing:
            account = self.named(user)
            if account and account.has_token:
                self._forget_token(account)
                if token:
                    self.save(Account(user, account.name, token))

    def _forget_token(self, account: Account) -> None:
        known = self._load()
        if account.is_in_keyring and (keyring := _usable_keyring()) is not None:
            for server in self._spellings:
                with suppress(Exception):
                    keyring.delete_password(_SERVICE.format(server), account.name)
        without = replace(account, token="", is_in_keyring=False)
        self._store([without if other.id == account.id else other for other in known])

    def _load(self) -> list[Account]:
        return self._servers().get(self._server, [])

    def _servers(self) -> dict[str, list[Account]]:
        try:
            servers: dict[str, list[Account]] = {}
            for server, known in json.loads(self._path.read_bytes()).items():
                for fields in known:
                    _add(servers.setdefault(canonical(server), []), _account(**fields))
            return servers
        except (FileNotFoundError, NotADirectoryError):
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


def _add(known: list[Account], account: Account) -> None:
    """Add an account to a server's list, in place of an earlier entry with its id.

    Keep the earlier token if the account has none. The file may have one server in several spellings.
    """
    for other in [other for other in known if other.id == account.id]:
        known.remove(other)
        account = replace(account, is_tls=account.is_tls or other.is_tls)
        if not account.token and not account.is_in_keyring:
            account = replace(account, token=other.token, is_in_keyring=other.is_in_keyring)
    known.append(account)


def _account(**fields: Any) -> Account:
    """Return the account of these fields of the file. Raises TypeError if any is missing or wrong."""
    account = Account(**fields)
    if [type(value) for value in astuple(account)] != [int, str, str, bool, bool]:
        raise TypeError
    return account


def _usable_keyring() -> ModuleType | None:
    """Return the module `keyring`, or None if it is not installed (it is an extra) or has no backend."""
    try:
        import keyring  # imported only here, because it is slow and only logins need it

        return keyring if keyring.core.recommended(keyring.get_keyring()) else None
    except Exception:  # any error that a backend raises
        return None
