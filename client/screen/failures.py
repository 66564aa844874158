"""Errors in the client itself: their traces are written to a file."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path

from client.i18n import _
from client.local.files import make_private_folder


class Failures:
    """The file of traces. Each error is reported only once.

    An error in every drawing would fill the disk, and each report would cause the next drawing.
    """

    def __init__(self, file: Path):
        self._file = file
        self._known: set[tuple[type, str, int | None]] = set()

    def note(self, error: BaseException) -> str:
        """Write the error's trace to the file; return a text that says so, "" if it was written before."""
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
