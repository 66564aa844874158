"""Ignored users, and conversations that are muted or closed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from client.local.files import write_private
from client.protocol.events import Message

#: The end of a period, in seconds since 1970. 0 means no end.
Until = float


class Quiet:
    """The users and conversations that one user does not want to hear of.

    Users are stored by name, because ids mean other users in another database of the server.
    Conversations are stored by key, because they are forgotten with the database.
    `closed` has the number of the last message that each conversation had when it was closed.

    A damaged file is renamed, and `damaged` is its new path. A change that cannot be stored raises OSError,
    and holds until the end of this run.
    """

    def __init__(self, path: Path | None):
        self.damaged: Path | None = None
        self.closed: dict[str, int] = {}
        self._ignored: dict[str, Until] = {}
        self._muted: dict[str, Until] = {}
        self._path = path
        if path:
            self._load(path)

    @property
    def ignored(self) -> Mapping[str, Until]:
        """The ignored users by name, with the ends of their periods. Periods that are over are left out."""
        return _lasting(self._ignored)

    @property
    def muted(self) -> Mapping[str, Until]:
        return _lasting(self._muted)

    def is_ignored(self, name: str) -> bool:
        """Return True if that user is ignored. May be called on any thread."""
        until = self._ignored.get(name)
        return until is not None and _lasts(until)

    def is_muted(self, conv: str) -> bool:
        return conv in self._muted and _lasts(self._muted[conv])

    def hides(self, message: Message) -> bool:
        """Return True for another user's message if its sender is ignored. May be called on any thread."""
        return not message.is_own and self.is_ignored(message.name)

    def ignore(self, name: str, until: Until) -> None:
        self._ignored[name] = until
        self._save()

    def unignore(self, name: str) -> None:
        del self._ignored[name]
        self._save()

    def mute(self, conv: str, until: Until) -> None:
        self._muted[conv] = until
        self._save()

    def unmute(self, conv: str) -> None:
        del self._muted[conv]
        self._save()

    def close(self, conv: str, last: int) -> None:
        self.closed[conv] = last
        self._save()

    def reopen(self, conv: str) -> None:
        if conv in self.closed:
            del self.closed[conv]
            self._save()

    def forget_conversations(self) -> None:
        """Forget closed and muted conversations, because their keys mean others now."""
        if self.closed or self._muted:
            self.closed, self._muted = {}, {}
            self._save()

    def _load(self, path: Path) -> None:
        try:
            found = json.loads(path.read_bytes())
            self._ignored = _numbers(found["ignored"])
            self._muted = _numbers(found["muted"])
            self.closed = {conv: int(last) for conv, last in _numbers(found["closed"]).items()}
        except OSError:
            return  # nothing is stored yet
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            damaged = path.with_suffix(".damaged")
            with suppress(OSError):
                path.rename(damaged)
                self.damaged = damaged

    def _save(self) -> None:
        self._ignored, self._muted = _lasting(self._ignored), _lasting(self._muted)
        if self._path:
            found = {"ignored": self._ignored, "muted": self._muted, "closed": self.closed}
            write_private(self._path, json.dumps(found, indent=1))


def _lasts(until: Until) -> bool:
    return not until or until > time.time()


def _lasting(found: dict[str, Until]) -> dict[str, Until]:
    return {key: until for key, until in found.items() if _lasts(until)}


def _numbers(found: dict[str, object]) -> dict[str, float]:
    """Return the fields, all of them numbers. Raises TypeError if any is not."""
    numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
    if len(numbers) < len(found):
        raise TypeError
    return numbers
