"""An outgoing chat message, encoded once per form, dialect and worker, however many recipients it has."""

from __future__ import annotations

from enum import Enum

from forkchat.wire.chat import classic_line, classic_padded
from forkchat.wire.dialect import Dialect


class Form(Enum):
    """The framing that a peer expects."""

    MODERN = "modern"
    LINE = "line"  # classic, LF
    PADDED = "padded"  # classic, NUL or nothing


class Outgoing:
    """A chat message in its modern form (`frame`).

    `seq` and `ts` are 0 for an ephemeral message. `version` is the conversation's members_ver when the
    message was stored. `is_fill` means that it was read from the store, because it had not arrived otherwise.
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
        self._forms: dict[tuple[Form, Dialect], list[bytes]] | None = None  # made for the first classic peer

    def classic(self, form: Form, dialect: Dialect) -> list[bytes]:
        """Return the frames of a classic form. A long padded text needs several."""
        self._forms = self._forms or {}
        frames = self._forms.get((form, dialect))
        if frames is None:
            if form is Form.LINE:
                frames = [classic_line(self.frame, dialect)]
            else:
                frames = classic_padded(self.frame, dialect)
            self._forms[form, dialect] = frames
        return frames
