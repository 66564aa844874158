"""The file that holds the master's process id while it runs."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from forkchat.errors import StartError
from forkchat.process.private import open_file


class PidFile:
    def __init__(self, path: str):
        """Write it, in one step, over what an earlier master may have left. Raises StartError.

        It replaces only a regular file that is empty or holds a process id.
        """
        try:
            self._path = Path(path).absolute()
            _expect_pid_file(self._path)
            scratch = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            try:
                scratch.unlink(missing_ok=True)
                fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                with open(fd, "w") as file:
                    file.write(f"{os.getpid()}\n")
                scratch.rename(self._path)
            except OSError:
                with suppress(OSError):
                    scratch.unlink()
                raise
        except OSError as error:
            raise StartError(f"cannot write the pid file {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove it, unless another master has written its own there since."""
        try:
            if self._path.read_text().strip() == str(os.getpid()):
                self._path.unlink()
        except (OSError, ValueError):
            return


def _expect_pid_file(path: Path) -> None:
    """Raises StartError if something else has the name, as a device or a configuration file, and OSError."""
    if not os.path.lexists(path):
        return
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        if not re.fullmatch(rb"\s*\d*\s*", file.read(64)):
            raise StartError(f"{path} is no pid file: move it away, or name another file with --pid")
