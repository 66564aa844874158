"""What was typed and is not safe with the server yet: unsent messages, and drafts.

A file of JSON lines, one for each thing that happens, written before the message is sent. It is read and
repaired by eye if it must be. What is sent or entered is no draft any more. The lines:

    {"epoch": EPOCH}                              of the server's database, in which the keys after it are;
                                                  "" before the lines of another journal
    {"send": CID, "conv": KEY, "text": TEXT, "to": NAME}    to be sent, in the order of the file
    {"failed": CID, "reason": TEXT}               refused for good; kept until the user lets it go
    {"done": CID}                                 stored by the server, or let go
    {"draft": KEY, "text": TEXT, "to": NAME}      typed there and not sent; "" for none
    {"entered": KEY, "text": LINE, "conv": KEY, "epoch": EPOCH}    a command, or a message behind one, that is
                                                  to be done; where and in which epoch it was entered
    {"over": KEY}                                 it was done, could not be, or is a draft now
    {"stray": NAME, "text": TEXT}                 a draft of an earlier epoch; "" when it is found or let go
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from client.local.files import make_private_folder, write_private
from client.protocol.outbox import Pending

#: Bytes after which the file is written anew, with what is still to be kept. A draft is in it once for each
#: key.
_COMPACT = 1_000_000


class Draft(NamedTuple):
    """`name`: of the person or group that it is for, "" if it is not known."""

    text: str
    name: str


class Line(NamedTuple):
    """What was entered: `conv` is where, in that `epoch` of the server's database ("": not known)."""

    text: str
    conv: str
    epoch: str


class Journal:
    """`unsent` and `failed` (with the reasons) by cid, `drafts` by conversation, `strays` by name: drafts of
    before this `epoch` of the server's database ("": not known). `damaged`: where lines were put that could
    not be read. `is_behind`: the file lacks something that is here.

    What was written is there after this process was killed; all but drafts, for which there is `sync`, is on
    the disk, too.

    Every method that changes something has done so when it raises OSError: then the file alone is behind, and
    the next change, or `close`, writes all of it.
    """

    def __init__(self, path: Path | None):
        """None: in memory alone. Raises BlockingIOError when another client has it, or another OSError."""
        self.unsent: dict[str, Pending] = {}
        self.failed: dict[str, tuple[Pending, str]] = {}
        self.drafts: dict[str, Draft] = {}
        self.strays: dict[str, str] = {}
        self.entered: dict[str, Line] = {}
        self.epoch = ""
        self.damaged: Path | None = None
        self._path = path
        self._bad: list[bytes] = []  # lines that could not be read
        self._size = 0
        self.is_behind = False
        self._is_synced = True
        if path:
            make_private_folder(path.parent)
            # A file of its own: the journal is replaced when it has grown.
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(path)

    @property
    def unkept(self) -> int:
        """How many messages and drafts are in memory alone; what is typed on the home page is neither."""
        if self._path and not self.is_behind:
            return 0
        typed = len(self.unsent) + len(self.failed) + len(self.strays) + len(self.entered)
        return typed + sum(map(bool, self.drafts))

    def tidy(self) -> None:
        """Write the file anew, with what is to be kept; what could not be read goes into another one."""
        if self._path:
            self.is_behind = True
            self._put_aside(self._path.with_suffix(".damaged"))
            self._compact(self._path)
            self.is_behind = False

    def close(self) -> None:
        try:
            self.sync()
        finally:
            if self._path:
                os.close(self._lock)

    def begin(self, epoch: str) -> None:
        """The server's database is in this epoch."""
        if epoch != self.epoch:
            self._begin(epoch)
            self._append({"epoch": epoch})

    def send(self, pending: Pending) -> None:
        """It is to be sent; or, if it was so already, to another conversation."""
        self._send(pending)
        self._append(_send(pending))

    def fail(self, cid: str, reason: str) -> None:
        pending = self.unsent.pop(cid, None)
        if pending:
            self.failed[cid] = pending, reason
            self._append({"failed": cid, "reason": reason})

    def done(self, cid: str) -> None:
        if self.unsent.pop(cid, None) or self.failed.pop(cid, None):
            self._append({"done": cid})

    def draft(self, conv: str, text: str, name: str) -> None:
        if text != self.text(conv):
            self._set_draft(conv, Draft(text, name))
            self._append({"draft": conv, "text": text, "to": name}, is_urgent=False)

    def sync(self) -> None:
        """Have what was typed on the disk."""
        if self.is_behind:
            self.tidy()
        elif self._path and not self._is_synced:
            _append(self._path, b"")
            self._is_synced = True

    def enter(self, key: str, line: Line) -> None:
        """It waits to be done."""
        self._enter(key, line)
        self._append(_entered(key, line))

    def over(self, key: str) -> None:
        if self.entered.pop(key, None) is not None:
            self._append({"over": key})

    def place(self, typed: Pending | Line) -> str:
        """The conversation of what was typed; "" if its key is of another epoch."""
        return typed.conv if typed.epoch in ("", self.epoch) else ""

    def text(self, conv: str) -> str:
        """The draft's of a conversation."""
        draft = self.drafts.get(conv)
        return draft.text if draft else ""

    def found(self, name: str) -> None:
        """The stray draft for that name is kept as another one, or let go."""
        if self.strays.pop(name, None):
            self._append({"stray": name, "text": ""})

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

    def _begin(self, epoch: str) -> None:
        if not self.epoch:
            for pending in (*self.unsent.values(), *(pending for pending, _ in self.failed.values())):
                pending.epoch = pending.epoch or epoch
            for key, line in self.entered.items():
                self.entered[key] = line._replace(epoch=line.epoch or epoch)
        else:
            for conv in [conv for conv in self.drafts if conv]:
                text, name = self.drafts.pop(conv)
                name = f"#{name}" if conv[0] == "g" and name else name or conv
                self.strays[name] = "\n".join(filter(None, [self.strays.get(name), text]))
        self.epoch = epoch

    def _take(self, entry: dict[str, str]) -> None:
        if not all(isinstance(part, str) for part in entry.values()):
            raise TypeError
        if "send" in entry:
            conv, text, name = entry["conv"], entry["text"], entry.get("to", "")
            self._send(Pending(entry["send"], conv, text, name, self.epoch))
        elif "entered" in entry:
            line = Line(entry["text"], entry.get("conv", ""), entry.get("epoch", self.epoch))
            self._enter(entry["entered"], line)
        elif "epoch" in entry:
            self._begin(entry["epoch"])
        elif "over" in entry:
            self.entered.pop(entry["over"], None)
        elif "stray" in entry:
            self.strays.pop(entry["stray"], None)
            if entry["text"]:
                self.strays[entry["stray"]] = entry["text"]
        elif "failed" in entry:
            self.failed[entry["failed"]] = self.unsent.pop(entry["failed"]), entry["reason"]
        elif "draft" in entry:
            self._set_draft(entry["draft"], Draft(entry["text"], entry.get("to", "")))
        else:
            self.unsent.pop(entry["done"], None)
            self.failed.pop(entry["done"], None)

    def _send(self, pending: Pending) -> None:
        self.unsent[pending.cid] = pending
        self._end_draft(pending.conv, pending.text)

    def _enter(self, key: str, line: Line) -> None:
        self.entered[key] = line
        self._end_draft(line.conv, line.text)

    def _end_draft(self, conv: str, text: str) -> None:
        if conv in self.drafts and self.drafts[conv].text == text:
            del self.drafts[conv]

    def _set_draft(self, conv: str, draft: Draft) -> None:
        if draft.text:
            self.drafts[conv] = draft
        else:
            self.drafts.pop(conv, None)

    def _append(self, entry: dict[str, Any], is_urgent: bool = True) -> None:
        if self._path is None:
            return
        line = _line(entry).encode()
        self._size += len(line)
        if self.is_behind or self._size > _COMPACT:
            self.tidy()
            return
        try:
            _append(self._path, line, is_urgent)
            self._is_synced = is_urgent
        except OSError:
            self.is_behind = True
            raise

    def _put_aside(self, path: Path) -> None:
        if self._bad:
            _append(path, b"".join(line + b"\n" for line in self._bad))
            self.damaged = path
            self._bad.clear()

    def _compact(self, path: Path) -> None:
        entries: list[dict[str, str]] = []
        kept = [*(pending for pending, _ in self.failed.values()), *self.unsent.values()]
        for epoch in [*dict.fromkeys(pending.epoch for pending in kept if pending.epoch != self.epoch)]:
            entries.append({"epoch": epoch})
            entries += [_send(pending) for pending in kept if pending.epoch == epoch]
        entries += [{"epoch": self.epoch}] if self.epoch else []
        entries += [_send(pending) for pending in kept if pending.epoch == self.epoch]
        entries += [{"failed": cid, "reason": reason} for cid, (_, reason) in self.failed.items()]
        entries += [_entered(key, line) for key, line in self.entered.items()]
        entries += [{"stray": name, "text": text} for name, text in self.strays.items()]
        entries += [{"draft": conv, "text": text, "to": name} for conv, (text, name) in self.drafts.items()]
        write_private(path, "".join(map(_line, entries)))
        self._size = 0


def joined(journals: list[str]) -> str:
    """The journals of one user as one, in that order. Drafts of earlier ones are strays, which go back to
    their conversations, and replace nothing there.
    """
    whole = ("".join(f"{line}\n" for line in text.split("\n") if line) for text in journals)
    return _line({"epoch": ""}).join(whole)


def _send(pending: Pending) -> dict[str, str]:
    return {"send": pending.cid, "conv": pending.conv, "text": pending.text, "to": pending.name}


def _entered(key: str, line: Line) -> dict[str, str]:
    return {"entered": key, **line._asdict()}


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _append(path: Path, data: bytes, is_synced: bool = True) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
        file.write(data)
        file.flush()
        if is_synced:
            os.fsync(file.fileno())
