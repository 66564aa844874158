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
        """Write the file in one step, over one that an earlier master may have left.

        Only a regular file that is empty or holds a process id is replaced. Raises StartError.
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
        """Remove the file, unless another master has written its own file there since."""
        try:
            if self._path.read_text().strip() == str(os.getpid()):
                self._path.unlink()
        except (OSError, ValueError):
            return


def _expect_pid_file(path: Path) -> None:
    """Check that the path is free, or is a pid file. Raises OSError if it cannot be read.

    Raises StartError if it is something else, such as a device or a configuration file.
    """
    if not os.path.lexists(path):
        return
    with open(open_file(path, os.O_RDONLY), "rb") as file:
        if not re.fullmatch(rb"\s*\d*\s*", file.read(64)):
            raise StartError(f"{path} is no pid file: move it away, or name another file with --pid")
