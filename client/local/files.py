"""Files that nobody else may read, and that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs


def _place(find: Callable[[str], Path], program: str) -> Path:
    """Where the user's files are. Without a home it is where nothing is, and nothing can be kept."""
    try:
        return find(program)
    except RuntimeError:
        return Path(os.devnull)


SETTINGS = _place(platformdirs.user_config_path, "forkchat") / "chatcli.toml"
DATA = _place(platformdirs.user_data_path, "chatcli")


def make_private_folder(path: Path) -> None:
    """Raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Replace the file: after a crash it is the old one or the new one, when this has returned the new one.

    Raises OSError.
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
    """A name is kept in its folder: until that is on disk too, a power cut brings the old file back."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
