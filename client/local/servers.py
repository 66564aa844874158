"""The spellings that name one server, and the folder of its files."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from client.local.files import make_private_folder, write_private
from client.local.journal import joined

_LOOPBACK = ("127.0.0.1", "::1")


def canonical(server: str) -> str:
    """Return the spelling of `HOST:PORT` under which accounts and files are stored.

    Names are compared in lower case, without a final dot, and encoded with IDNA. Addresses are compared by
    value. `localhost`, 127.0.0.1 and ::1 are one host. No name is resolved, because its address may change.
    """
    host, _, port = server.rpartition(":")
    host = host.strip("[]").lower().removesuffix(".")
    try:
        address = ip_address(host)
    except ValueError:
        with suppress(UnicodeError):
            host = host.encode("idna").decode()
    else:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        host = str(mapped or address)
    if host in _LOOPBACK:
        host = "localhost"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def spellings(server: str) -> list[str]:
    """Return the canonical spelling, then others under which earlier versions stored data."""
    found, port = canonical(server), server.rpartition(":")[2]
    loopback = [f"127.0.0.1:{port}", f"[::1]:{port}"] if found == f"localhost:{port}" else []
    return list(dict.fromkeys([found, server, *loopback]))


def folder(data: Path, server: str) -> Path:
    """Return the folder for the files of the server's users.

    Move users' folders there from other spellings, except those that a chatcli has open.
    """
    found = data / _name(canonical(server))
    for old in sorted(data.glob("*_*")):
        is_same = canonical(_spelling(old.name)) == canonical(server) or old.name == _name(server)
        if is_same and old != found and old.is_dir():
            for user in sorted(old.iterdir()):
                with suppress(OSError):  # it stays where it is, until the next start tries again
                    _move(user, found / user.name)
            with suppress(OSError):
                old.rmdir()
    return found


def is_open(user: Path) -> bool:
    """Return True if another chatcli on this machine has this user's folder open."""
    try:
        with _held(user):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # the folder does not exist


def _name(server: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", server)


def _spelling(name: str) -> str:
    """Return the server that a folder's name stands for."""
    host, _, port = name.rpartition("_")
    is_v6 = host.startswith("_") and host.endswith("_")
    return f"[{host[1:-1].replace('_', ':')}]:{port}" if is_v6 else f"{host}:{port}"


def _move(old: Path, new: Path) -> None:
    """Move a user's folder. If the new one exists, move only the journal, and join it with the one there.

    Raises OSError if that fails.
    """
    with _held(old):
        if not new.exists():
            make_private_folder(new.parent)
            old.rename(new)
            return
        unsent = old / "typed.jsonl"
        if unsent.exists():
            with _held(new):
                journal = new / "typed.jsonl"
                texts = [path.read_text("utf-8", "replace") for path in (unsent, journal) if path.exists()]
                write_private(journal, joined(texts))
                unsent.unlink()


@contextmanager
def _held(user: Path) -> Iterator[None]:
    """Keep every chatcli from opening the user's files. Raises BlockingIOError if one has opened them."""
    lock = os.open(user / "typed.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
