"""The journal of typed text that the server has not stored yet: unsent messages, commands, drafts.

It is a file of JSON lines, one for each event. A line is written before its message is sent. A person can
read and repair the file. Text that is sent or entered is no longer a draft. The lines:

    {"epoch": EPOCH}                              the epoch of the server's database, for the keys after it;
                                                  "" before the lines of another journal
    {"send": CID, "conv": KEY, "text": TEXT, "to": NAME}    a message to send, in the order of the file
    {"failed": CID, "reason": TEXT}               refused for good; kept until the user discards it
    {"done": CID}                                 stored by the server, or discarded
    {"draft": KEY, "text": TEXT, "to": NAME}      typed in a conversation and not sent; "" for none
    {"entered": KEY, "text": LINE, "conv": KEY, "epoch": EPOCH}    a command, or a message queued after one,
                                                  that waits; the conversation and epoch it was entered in
    {"over": KEY}                                 the entered line was done, failed, or is a draft now
    {"stray": NAME, "text": TEXT}                 a draft of an earlier epoch; "" once placed or discarded
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from client.local.files import make_private_folder, write_private
from client.protocol.outbox import Pending

#: Bytes appended before the file is rewritten with only what is still needed. It grows because each
#: keystroke appends the whole draft.
_COMPACT = 1_000_000


class Draft(NamedTuple):
    """A draft. `name`: the person or group that it is for, "" if it is not known."""

    text: str
    name: str


class Line(NamedTuple):
    """A line that the user entered.

    `conv`: the conversation where it was entered.
    `epoch`: the epoch of the server's database that `conv` belongs to, "" if it is not known.
    """

    text: str
    conv: str
    epoch: str


class Journal:
    """The typed text of one user.

    `unsent`, `failed`: messages by `cid`, the failed ones with the reasons.
    `drafts`: drafts by conversation.
    `strays`: drafts of earlier epochs, by name.
    `entered`: lines that wait to be done, by key.
    `epoch`: the epoch of the server's database, "" if it is not known.
    `damaged`: the file that got the lines that could not be read.
    `is_behind`: the file lacks changes that are in memory.

    Written lines survive a kill of this process. They are also synced to disk, except drafts, for which the
    caller uses `sync`.

    A method that raises OSError has made its change in memory. The next change, or `close`, then rewrites the
    file with all changes.
    """

    def __init__(self, path: Path | None):
        """Read the journal, or keep it only in memory if `path` is None.

        Raises BlockingIOError if another client has it open, another OSError if it cannot be read.
        """
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
            # The lock has a file of its own, because the journal is replaced when it has grown.
            self._lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._load(path)

    @property
    def unkept(self) -> int:
        """The number of messages, lines and drafts that are only in memory. Home page drafts do not count."""
        if self._path and not self.is_behind:
            return 0
        typed = len(self.unsent) + len(self.failed) + len(self.strays) + len(self.entered)
        return typed + sum(map(bool, self.drafts))

    def tidy(self) -> None:
        """Rewrite the file with only what is still needed. Move lines that could not be read elsewhere."""
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
        """Record the epoch of the server's database. Drafts of an earlier epoch become strays."""
        if epoch != self.epoch:
            self._begin(epoch)
            self._append({"epoch": epoch})

    def send(self, pending: Pending) -> None:
        """Record a message to send, or the new conversation of an unsent one."""
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
        """Sync all typed text to disk."""
        if self.is_behind:
            self.tidy()
        elif self._path and not self._is_synced:
            _append(self._path, b"")
            self._is_synced = True

    def enter(self, key: str, line: Line) -> None:
        """Record a line that waits to be done."""
        self._enter(key, line)
        self._append(_entered(key, line))

    def over(self, key: str) -> None:
        if self.entered.pop(key, None) is not None:
            self._append({"over": key})

    def place(self, typed: Pending | Line) -> str:
        """Return the conversation of typed text, or "" if its key belongs to another epoch."""
        return typed.conv if typed.epoch in ("", self.epoch) else ""

    def text(self, conv: str) -> str:
        """Return the text of a conversation's draft, or "" if there is none."""
        draft = self.drafts.get(conv)
        return draft.text if draft else ""

    def found(self, name: str) -> None:
        """Delete a stray draft, because it is kept as another draft now, or discarded."""
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
    """Join the journals of one user, in that order.

    Drafts of the earlier ones become strays. Strays go back to their conversations and replace nothing there.
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
