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
    """`unsent` and `failed` (with the reasons) by cid, `drafts` by conversation.

    Every method that changes something has done so when it raises OSError: then the file alone is behind, and
    the next change writes all of it.
    """

    def __init__(self, path: Path | None):
        """None: in memory alone. Raises BlockingIOError when another client has it, or another OSError."""
        self.unsent: dict[str, Pending] = {}
        self.failed: dict[str, tuple[Pending, str]] = {}
        self.drafts: dict[str, str] = {}
        self.damaged: Path | None = None  # where lines were put that could not be read
        self._path = path
        self._lines = 0
        self._is_behind = False
        if path:
            make_private_folder(path.parent)
            # A file of its own: the journal is replaced when it has grown.
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(path)

    def close(self) -> None:
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
        bad = []
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                bad.append(line)
        if bad:
            self.damaged = path.with_suffix(".damaged")
            with open(os.open(self.damaged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                file.write(b"".join(line + b"\n" for line in bad))
        if lines:
            self._compact()

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
            self.unsent.pop(entry["done"], None)
            self.failed.pop(entry["done"], None)

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
            self._compact()
            return
        try:
            with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._is_behind = True
            raise

    def _compact(self) -> None:
        assert self._path
        kept = [*(pending for pending, _ in self.failed.values()), *self.unsent.values()]
        entries = [{"send": pending.cid, "conv": pending.conv, "text": pending.text} for pending in kept]
        entries += [{"failed": cid, "reason": reason} for cid, (_, reason) in self.failed.items()]
        entries += [{"draft": conv, "text": text} for conv, text in self.drafts.items()]
        self._is_behind = True
        write_private(self._path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
        self._is_behind = False
        self._lines = len(entries)
