"""Files that other users cannot read, and that are written as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs


def _place(find: Callable[[str], Path], program: str) -> Path:
    """Return the folder of the user's files. Without a home it is /dev/null, and nothing can be stored."""
    try:
        return find(program)
    except RuntimeError:
        return Path(os.devnull)


SETTINGS = _place(platformdirs.user_config_path, "forkchat") / "chatcli.toml"
DATA = _place(platformdirs.user_data_path, "chatcli")


def make_private_folder(path: Path) -> None:
    """Make a folder that other users cannot enter. Raises OSError if that fails."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Replace the file atomically. Raises OSError if that fails.

    A crash leaves the old file or the new one. A crash after the return leaves the new one.
    """
    make_private_folder(path.parent)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        _sync_folder(path.parent)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def _sync_folder(path: Path) -> None:
    """Sync a folder, because a power cut before that would bring a replaced file back."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
