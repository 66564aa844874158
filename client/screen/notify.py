"""Notices for a user who looks elsewhere: the bell, and escape sequences for desktop notices."""

from __future__ import annotations

import os
import time

from client.local.settings import Settings
from client.text import clean_line

#: Seconds between two notices, at least.
#: Characters of a title or text in a notice, at most.
_PAUSE, _MAX_TEXT = 2.0, 120


class Notifier:
    def __init__(self, settings: Settings):
        self._settings = settings
        self._at = float("-inf")

    def notice(self, title: str, text: str) -> str:
        """Return what to write to the terminal, "" if the last notice was less than `_PAUSE` seconds ago."""
        now = time.monotonic()
        if now - self._at < _PAUSE:
            return ""
        self._at = now
        return ("\a" if self._settings.is_on("bell") else "") + self._desktop(title, text)

    def _desktop(self, title: str, text: str) -> str:
        kind = self._settings.text("notify")
        # Semicolons separate the fields, so the texts of other users must not contain any.
        title, text = (clean_line(part)[:_MAX_TEXT].replace(";", ",") for part in (title, text))
        sequence = {
            "osc9": f"\x1b]9;{title}: {text}\x07",
            "osc777": f"\x1b]777;notify;{title};{text}\x07",
            "off": "",
        }[kind]
        if sequence and "TMUX" in os.environ:  # tmux passes it on if allow-passthrough is on
            return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
        return sequence
