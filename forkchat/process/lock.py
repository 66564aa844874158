"""Locks of the data directory: one master at a time, and none beside services that are left over."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from forkchat import log
from forkchat.errors import StartError

_LEFT_OVER_WAIT = 30.0
_TRY_AGAIN = 0.05


class InUse(StartError):
    """A live master has the data directory."""


class MasterLock:
    """`<data>/lock`, held by a live master; it contains the master's process id."""

    def __init__(self, data_dir: Path):
        """Raises InUse, naming the process, if another master has the directory."""
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _try_lock(self._fd):
            pid = os.read(self._fd, 32).decode().strip()
            os.close(self._fd)
            raise InUse(f"{data_dir} is in use by the forkchat with process id {pid or 'unknown'}")
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def close(self) -> None:
        """In a forked child: let go; the lock itself stays the master's."""
        os.close(self._fd)


class ServicesLock:
    """`<data>/services.lock`, held as long as any process lives that was started with its descriptor."""

    def __init__(self, data_dir: Path):
        """Wait for services left over from a master that was killed. Raises StartError after a while."""
        self._fd = os.open(data_dir / "services.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LEFT_OVER_WAIT
        if not _try_lock(self._fd):
            log.warning("services.left_over", hint="waiting for the services of an earlier forkchat to end")
            while not _try_lock(self._fd):
                if time.monotonic() > deadline:
                    raise StartError(
                        f"services of an earlier forkchat still use {data_dir} (fuser -v {data_dir}/*.lock)"
                    )
                time.sleep(_TRY_AGAIN)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """In a forked child: let go; the lock itself stays the services'."""
        os.close(self._fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
