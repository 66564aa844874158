"""The file that holds the master's process id while it runs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from forkchat.errors import StartError


class PidFile:
    def __init__(self, path: str):
        """Write it, in one step, over what an earlier master may have left. Raises StartError."""
        try:
            self._path = Path(path).absolute()
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
        except OSError:
            return
