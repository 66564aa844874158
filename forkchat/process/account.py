"""The user that workers and private services run as. It is never root, even if root starts the server."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from pathlib import Path
from typing import NamedTuple

from forkchat.errors import StartError

#: Name of the user if root starts forkchat and [server] user is empty. bin/setup creates this user.
DEFAULT = "forkchat"
#: User of the private services in earlier versions.
_EARLIER = "mysql"
_PR_SET_NO_NEW_PRIVS = 38


class Account(NamedTuple):
    uid: int
    gid: int

    @classmethod
    def choose(cls, name: str) -> Account:
        """Return the account for [server] user `name`. Raises StartError if it cannot be used.

        An empty name stands for the current user, or for DEFAULT if that is root.
        """
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
        """Give up root for good, in a child.

        MUST be called before `die_with`, because a change of user cancels its effect.
        """
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
            ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # no executed program can regain root


def _find(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def adopt(directory: Path, account: Account) -> None:
    """Take over a private service's directory from the user that earlier versions ran it as.

    Only that user's own files change owner, and no link is followed. An interrupted run may be repeated.
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
    """Make a log file that workers may open too, or give them a file that root owns. Raises OSError.

    Links stay unchanged, and so do files in a directory that others may change.
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
        return  # a link, or an error that the log itself will report
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            os.fchown(fd, *account)
    finally:
        os.close(fd)


def _make_as(path: str, account: Account) -> None:
    """Make the file as `account`, in the account's own directory, if it does not exist."""
    os.seteuid(account.uid)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
    except OSError:
        return  # it exists, or the log itself will report the error
    finally:
        os.seteuid(0)


def may_write(path: str) -> bool:
    """Return True if this process may append to the file."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError:
        return False
    return True
