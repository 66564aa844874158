"""A chat message on its way out: encoded once per form and worker, however many get it."""

from __future__ import annotations

from enum import Enum

from forkchat.wire.chat import classic_line, classic_padded
from forkchat.wire.msgid import Numbering


class Form(Enum):
    """How a peer wants its frames."""

    MODERN = "modern"
    LINE = "line"  # classic, LF
    PADDED = "padded"  # classic, NUL or nothing


class Outgoing:
    """`frame` is the modern form; `seq` and `ts` are 0 for an ephemeral message. `version` is the
    conversation's members_ver when it was stored. `is_fill`: it was read from the store, since it had not
    come by itself.
    """

    __slots__ = ("_forms", "conv", "frame", "is_fill", "sender", "seq", "ts", "version")

    def __init__(
        self,
        conv: str,
        seq: int,
        sender: int,
        frame: bytes,
        version: int = 0,
        ts: int = 0,
        is_fill: bool = False,
    ):
        self.conv = conv
        self.seq = seq
        self.sender = sender
        self.frame = frame
        self.version = version
        self.ts = ts
        self.is_fill = is_fill
        self._forms: dict[Form, list[bytes]] | None = None  # made for the first classic peer

    def classic(self, form: Form, numbering: Numbering) -> list[bytes]:
        """The frames of a classic form: several when a padded text is long."""
        self._forms = self._forms or {}
        frames = self._forms.get(form)
        if frames is None:
            if form is Form.LINE:
                frames = [classic_line(self.frame, numbering)]
            else:
                frames = classic_padded(self.frame, numbering)
            self._forms[form] = frames
        return frames
