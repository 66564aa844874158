"""The file that holds the master's process id while it runs."""

from __future__ import annotations

import os
from pathlib import Path

from forkchat.errors import StartError


class PidFile:
    def __init__(self, path: str):
        """Write it, in one step, over what an earlier master may have left. Raises StartError."""
        self._path = Path(path).absolute()
        try:
            scratch = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            scratch.write_text(f"{os.getpid()}\n")
            scratch.rename(self._path)
        except OSError as error:
            raise StartError(f"cannot write the pid file {path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove it, unless another master has written its own there since."""
        try:
            if self._path.read_text().strip() == str(os.getpid()):
                self._path.unlink()
        except OSError:
            return
