"""Mistakes of ours: their traces are written down."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

from client.i18n import _
from client.local.files import make_private_folder


class Failures:
    """Each is told of once: what fails in every drawing would fill the disk, and be drawn to be told of."""

    def __init__(self, file: Path):
        self._file = file
        self._known: set[tuple[type, str, int | None]] = set()

    def note(self, error: BaseException) -> str:
        """Write its trace down; says where, or "" if that was done before."""
        place = traceback.extract_tb(error.__traceback__)[-1:]
        key = (type(error), *((place[0].filename, place[0].lineno) if place else ("", 0)))
        if key in self._known:
            return ""
        self._known.add(key)
        with suppress(OSError):
            make_private_folder(self._file.parent)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write("".join(traceback.format_exception(error)))
        return _("something went wrong in chatcli itself; it is written down in {file}").format(
            file=self._file
        )
