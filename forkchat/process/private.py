"""Our files in directories that others may write too: exact modes, and no link is followed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from forkchat.errors import StartError
from forkchat.process.account import Account


def open_file(path: Path, flags: int) -> int:
    """Open a regular file, or make it with mode 0600.

    Raises StartError if it is a link or no regular file, and OSError if it cannot be opened.
    """
    flags |= os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a FIFO would block
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _no_file(path) from error
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(fd)
        raise _no_file(path)
    return fd


def make_dir(path: Path, owner: Account, mode: int, *, is_ours: bool = False) -> None:
    """Make a directory of `owner`, or correct the mode and the owner of one that is ours.

    A directory is ours if this process or `owner` owns it, or if `is_ours`. Raises StartError if another user
    owns it, because in /tmp anyone may have made it. Raises OSError if the directory cannot be made or
    changed.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise StartError(f"{path} must be a directory, and is none: move it away") from error
    try:
        found, name = os.fstat(fd), f"/proc/self/fd/{fd}"  # fchmod refuses an O_PATH descriptor
        if not is_ours and found.st_uid not in (os.getuid(), owner.uid):
            raise StartError(f"{path} must belong to user {owner.uid}, and belongs to user {found.st_uid}")
        if (found.st_uid, found.st_gid) != owner:
            os.chown(name, *owner)
        if stat.S_IMODE(found.st_mode) != mode:
            os.chmod(name, mode)
    finally:
        os.close(fd)


def make_data_dir(path: Path, account: Account) -> None:
    """Make a data directory with its parents. As root, let `account` pass through it.

    Raises StartError if root would work where other users could exchange files. Raises OSError if the
    directory cannot be made.
    """
    is_root = os.getuid() == 0
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o755 if is_root else 0o700)
            parent.chmod(0o755 if is_root else 0o700)
    path.mkdir(mode=0o700, exist_ok=True)
    if not is_root:
        return
    for directory in (path, *path.parents):
        found = directory.stat()
        owners = (0, account.uid) if directory == path else (0,)
        is_shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in owners or is_shared:
            raise StartError(
                f"as root, forkchat uses no data directory that others may change, and {directory} belongs "
                f"to user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):o}: start it as that user, "
                "or use another --data-dir"
            )
    path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o711)


def _no_file(path: Path) -> StartError:
    return StartError(f"{path} must be a regular file that has no other name, and is none: move it away")
