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
from client.local.servers import canonical, spellings

_SERVICE = "chatcli {}"


@dataclass(frozen=True)
class Account:
    """`token`: "" when it is in the keyring, or there is none. `is_tls`: it was used over TLS."""

    id: int
    name: str
    token: str = ""
    is_in_keyring: bool = False
    is_tls: bool = False

    @property
    def has_token(self) -> bool:
        return bool(self.token) or self.is_in_keyring


class Accounts:
    """Of one server, the one used last at the end. `is_tls`: they are used over TLS now.

    A damaged file is put aside as soon as it is read: `damaged` is where to, and nobody is known. One that
    cannot be read stays as it is, and every method raises OSError. The screen calls it from threads: what is
    changed later must not be overtaken.
    """

    def __init__(self, path: Path, server: str):
        self._path = path
        self._server = canonical(server)
        self._spellings = spellings(server)
        self._changing = RLock()
        self.is_tls = False
        self.damaged: Path | None = None

    def need_tls(self) -> bool:
        """One of them was used over TLS: tokens and passwords go to this server over nothing else."""
        return any(account.is_tls for account in self._load())

    def known(self) -> list[Account]:
        """All of them, the one used last first."""
        return self._load()[::-1]

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
        for server in self._spellings:
            with suppress(Exception):  # without a token one types the password
                if token := keyring.get_password(_SERVICE.format(server), account.name):
                    return str(token)
        return ""

    def save(self, account: Account) -> None:
        """It is the last one now. As `token`, and raises OSError when it cannot be written."""
        with self._changing:
            before = self.named(account.name)
            account = replace(account, is_tls=self.is_tls or bool(before and before.is_tls))
            keyring = _usable_keyring()
            if keyring is not None and account.token:
                with suppress(Exception):  # then the file has it
                    keyring.set_password(_SERVICE.format(self._server), account.name, account.token)
                    account = replace(account, token="", is_in_keyring=True)
            # One name is one person; what had that id or that name in another database of the server is gone.
            others = [o for o in self._load() if o.id != account.id and o.name != account.name]
            self._store([*others, account])

    def renew(self, user: int, token: str) -> None:
        """The token that is kept is of no use any more: keep this one instead; "": none. As `save`."""
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
    """Of one server, which may be in the file in several spellings: the last one holds, a token is kept."""
    for other in [other for other in known if other.id == account.id]:
        known.remove(other)
        account = replace(account, is_tls=account.is_tls or other.is_tls)
        if not account.token and not account.is_in_keyring:
            account = replace(account, token=other.token, is_in_keyring=other.is_in_keyring)
    known.append(account)


def _account(**fields: Any) -> Account:
    """Of the file. Raises TypeError."""
    account = Account(**fields)
    if [type(value) for value in astuple(account)] != [int, str, str, bool, bool]:
        raise TypeError
    return account


def _usable_keyring() -> ModuleType | None:
    """`keyring`; None where it is not installed (it is an extra), or has nothing to keep secrets in."""
    try:
        import keyring  # here alone: it takes a while, and only who logs in needs it

        return keyring if keyring.core.recommended(keyring.get_keyring()) else None
    except Exception:  # whatever backends there are
        return None
