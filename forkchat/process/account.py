"""The user as which workers and private services run: root starts the server, and nothing else is root's."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from pathlib import Path
from typing import NamedTuple

from forkchat.errors import StartError

#: The user where root starts forkchat and [server] user is empty; bin/setup makes it.
DEFAULT = "forkchat"
#: The user of earlier versions' private services.
_EARLIER = "mysql"
_PR_SET_NO_NEW_PRIVS = 38


class Account(NamedTuple):
    uid: int
    gid: int

    @classmethod
    def choose(cls, name: str) -> Account:
        """The account of [server] user `name`; "" is ourselves, or for root DEFAULT. Raises StartError."""
        if os.getuid() == 0:
            return cls._for_root(name or DEFAULT)
        own = cls(os.getuid(), os.getgid())
        found = _find(name) if name else own
        if found is None or found.uid != own.uid:
            raise StartError(
                f"[server] user is {name}, and root alone can become that: start forkchat as root or as "
                f"{name}, or leave the key empty"
            )
        return own

    @classmethod
    def _for_root(cls, name: str) -> Account:
        found = _find(name)
        if found is None:
            raise StartError(
                f"there is no user `{name}` for workers and private services to run as: run bin/setup as "
                f"root, or `useradd --system --no-create-home --home-dir /nonexistent --shell "
                f"/usr/sbin/nologin {name}`, or name another with [server] user"
            )
        if found.uid == 0:
            raise StartError(f"[server] user is {name}, which is root: name a user without privileges")
        return found

    def become(self) -> None:
        """Give up root for good, in a child. MUST come before `die_with`, which a change of user cancels."""
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # no program gives it back


def _find(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def adopt(directory: Path, account: Account) -> None:
    """Take over a directory of a private service from the user as which earlier versions ran it.

    Only what is that user's own changes hands, and no link is followed. May be interrupted, and done again.
    """
    earlier = _find(_EARLIER)
    if os.getuid() != 0 or earlier is None or earlier.uid == account.uid or not directory.is_dir():
        return
    if directory.lstat().st_uid != earlier.uid:
        return
    for _, folders, files, at in os.fwalk(directory, topdown=False):
        for name in (*folders, *files):
            if os.stat(name, dir_fd=at, follow_symlinks=False).st_uid == earlier.uid:
                os.chown(name, *account, dir_fd=at, follow_symlinks=False)
    os.chown(directory, *account, follow_symlinks=False)


def let_write(path: str, account: Account) -> None:
    """Make a log file, or take one of root's, that workers may open too. Raises OSError.

    A link, and a file in a directory that others may change, stay as they are.
    """
    if os.getuid() != 0:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
    folder = os.stat(os.path.dirname(os.path.abspath(path)))
    if folder.st_uid == account.uid:
        _make_as(path, account)
        return
    if folder.st_uid != 0 or (folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX):
        return
    try:
        fd = os.open(path, flags | os.O_CREAT, 0o640)
    except OSError:
        return  # a link, or what the log itself will complain of
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            os.fchown(fd, *account)
    finally:
        os.close(fd)


def _make_as(path: str, account: Account) -> None:
    """Make the file as `account`, in its own directory, if there is none."""
    os.seteuid(account.uid)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
    except OSError:
        return  # it is there, or what the log itself will complain of
    finally:
        os.seteuid(0)


def may_write(path: str) -> bool:
    """Whether this process may append to the file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError:
        return False
    return True
