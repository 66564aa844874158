"""The locks of a data directory: one master at a time, and no start while earlier services still run."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from forkchat import log
from forkchat.errors import StartError
from forkchat.process.private import open_file

#: Seconds that the leftover services of a killed master have to end.
_LEFT_OVER_TIME = 30.0
#: Seconds between attempts to get the lock.
_TRY_AGAIN = 0.05


class InUse(StartError):
    """A live master has the data directory."""


class DataLock:
    """Two files that are locked with flock. A lock ends when its last descriptor is closed.

    The live master holds `lock`, which contains its process id. `services.lock` is held as long as any
    process lives that was started with the descriptor `services_fd`.
    """

    def __init__(self, data_dir: Path):
        """Lock both files. Raises InUse at once if a live master holds `lock`.

        If services are left over, wait for their end. Raises StartError if they do not end.
        """
        self._fd = open_file(data_dir / "lock", os.O_RDWR)
        if not _try_lock(self._fd):
            pid = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            raise InUse(f"{data_dir} is in use by the forkchat with process id {pid or 'unknown'}")
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())
        self.services_fd = open_file(data_dir / "services.lock", os.O_RDWR)
        _wait_for_services(self.services_fd, data_dir)

    def close(self) -> None:
        """Unlock the data directory. In a forked child, only close the descriptors.

        The locks then remain with the master and the services.
        """
        os.close(self._fd)
        os.close(self.services_fd)


def _wait_for_services(fd: int, data_dir: Path) -> None:
    if _try_lock(fd):
        return
    log.warning("services.left_over", data_dir=data_dir, hint="waiting for an earlier forkchat's to end")
    deadline = time.monotonic() + _LEFT_OVER_TIME
    while not _try_lock(fd):
        if time.monotonic() > deadline:
            raise StartError(
                "the services of an earlier forkchat do not end; "
                f"`fuser -v {data_dir}/services.lock` names them"
            )
        time.sleep(_TRY_AGAIN)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
