"""What was typed and is not safe with the server yet: unsent messages, and drafts.

A file of JSON lines, one for each thing that happens, written before the message is sent. It is read and
repaired by eye if it must be. The lines:

    {"send": CID, "conv": KEY, "text": TEXT}      to be sent, in the order of the file
    {"failed": CID, "reason": TEXT}               refused for good; kept until the user lets it go
    {"done": CID}                                 stored by the server, or let go
    {"draft": KEY, "text": TEXT}                  typed there and not sent; "" for none
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from client.local.files import make_private_folder, write_private
from client.protocol.outbox import Pending

#: Lines after which the file is written anew, with what is still to be kept.
_COMPACT = 1000


class Journal:
    """`unsent` and `failed` (with the reasons) by cid, `drafts` by conversation. `damaged`: where lines were
    put that could not be read.

    Every method that changes something has done so when it raises OSError: then the file alone is behind, and
    the next change, or `close`, writes all of it.
    """

    def __init__(self, path: Path | None):
        """None: in memory alone. Raises BlockingIOError when another client has it, or another OSError."""
        self.unsent: dict[str, Pending] = {}
        self.failed: dict[str, tuple[Pending, str]] = {}
        self.drafts: dict[str, str] = {}
        self.damaged: Path | None = None
        self._path = path
        self._bad: list[bytes] = []  # lines that could not be read
        self._lines = 0
        self._is_behind = False
        if path:
            make_private_folder(path.parent)
            # A file of its own: the journal is replaced when it has grown.
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(path)

    @property
    def unkept(self) -> int:
        """How many messages and drafts are in memory alone; what is typed on the home page is neither."""
        if self._path and not self._is_behind:
            return 0
        return len(self.unsent) + len(self.failed) + sum(map(bool, self.drafts))

    def tidy(self) -> None:
        """Write the file anew, with what is to be kept; what could not be read goes into another one."""
        if self._path:
            self._is_behind = True
            self._put_aside(self._path.with_suffix(".damaged"))
            self._compact(self._path)
            self._is_behind = False

    def close(self) -> None:
        try:
            if self._is_behind:
                self.tidy()
        finally:
            if self._path:
                os.close(self._lock)

    def send(self, pending: Pending) -> None:
        self.unsent[pending.cid] = pending
        self._append({"send": pending.cid, "conv": pending.conv, "text": pending.text})

    def fail(self, cid: str, reason: str) -> None:
        pending = self.unsent.pop(cid, None)
        if pending:
            self.failed[cid] = pending, reason
            self._append({"failed": cid, "reason": reason})

    def done(self, cid: str) -> None:
        if self.unsent.pop(cid, None) or self.failed.pop(cid, None):
            self._append({"done": cid})

    def draft(self, conv: str, text: str) -> None:
        if text != self.drafts.get(conv, ""):
            self._set_draft(conv, text)
            self._append({"draft": conv, "text": text})

    def _load(self, path: Path) -> None:
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                self._bad.append(line)

    def _take(self, entry: dict[str, str]) -> None:
        if "send" in entry:
            cid, conv, text = entry["send"], entry["conv"], entry["text"]
            if not all(isinstance(part, str) for part in (cid, conv, text)):
                raise TypeError
            self.unsent[cid] = Pending(cid, conv, text)
        elif "failed" in entry:
            self.failed[entry["failed"]] = self.unsent.pop(entry["failed"]), str(entry["reason"])
        elif "draft" in entry:
            self._set_draft(str(entry["draft"]), str(entry["text"]))
        else:
            cid = entry["done"]
            if not isinstance(cid, str):
                raise TypeError
            self.unsent.pop(cid, None)
            self.failed.pop(cid, None)

    def _set_draft(self, conv: str, text: str) -> None:
        if text:
            self.drafts[conv] = text
        else:
            self.drafts.pop(conv, None)

    def _append(self, entry: dict[str, Any]) -> None:
        self._lines += 1
        if self._path is None:
            return
        if self._is_behind or self._lines > _COMPACT:
            self.tidy()
            return
        try:
            _append(self._path, _line(entry).encode())
        except OSError:
            self._is_behind = True
            raise

    def _put_aside(self, path: Path) -> None:
        if self._bad:
            _append(path, b"".join(line + b"\n" for line in self._bad))
            self.damaged = path
            self._bad.clear()

    def _compact(self, path: Path) -> None:
        kept = [*(pending for pending, _ in self.failed.values()), *self.unsent.values()]
        entries = [{"send": pending.cid, "conv": pending.conv, "text": pending.text} for pending in kept]
        entries += [{"failed": cid, "reason": reason} for cid, (_, reason) in self.failed.items()]
        entries += [{"draft": conv, "text": text} for conv, text in self.drafts.items()]
        write_private(path, "".join(map(_line, entries)))
        self._lines = len(entries)


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _append(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
