"""What workers publish to each other: parts of two lines, words and a frame for modern clients, or nothing.

| kind | words | meaning |
|---|---|---|
| `B` | worker | a batch's first part: that worker has delivered the others to its own users |
| `M` | conv seq sender version ts | a stored message: the frame |
| `L` | conv seq | look: messages up to `seq` are stored |
| `E` | conv sender version | an ephemeral message: the frame, not for its sender |
| `T` | conv sender version | the sender types: the frame, not for them |
| `F` | user | an event: the frame, not for `user` (0: for all) |
| `V` | conv | the group's members have changed |
| `K` | token | the session was taken over: close it |
| `P` | token | someone else tried to log in: see whether the session lives |

On the channel `all`: `reconcile`, `epoch`.
"""

from __future__ import annotations

ALL = "all"
RECONCILE = b"reconcile"
EPOCH = b"epoch"


def message(conv: str, seq: int, sender: int, version: int, ts: int, frame: bytes) -> bytes:
    return b"M %b %d %d %d %d\n%b" % (conv.encode(), seq, sender, version, ts, frame)


def batch(worker: str) -> bytes:
    return b"B %b\n\n" % worker.encode()


def look(conv: str, seq: int) -> bytes:
    return b"L %b %d\n\n" % (conv.encode(), seq)


def ephemeral(conv: str, sender: int, version: int, frame: bytes) -> bytes:
    return b"E %b %d %d\n%b" % (conv.encode(), sender, version, frame)


def typing(conv: str, sender: int, version: int, frame: bytes) -> bytes:
    return b"T %b %d %d\n%b" % (conv.encode(), sender, version, frame)


def event(frame: bytes, but: int = 0) -> bytes:
    return b"F %d\n%b" % (but, frame)


def members_changed(conv: str) -> bytes:
    return b"V %b\n\n" % conv.encode()


def kick(claim: str) -> bytes:
    return b"K %b\n\n" % claim.encode()


def probe(claim: str) -> bytes:
    return b"P %b\n\n" % claim.encode()


def parts(data: bytes) -> list[tuple[list[bytes], bytes]]:
    """Of each part the words, the kind first, and the frame with its LF."""
    lines = data.split(b"\n")
    return [(lines[at].split(b" "), lines[at + 1] + b"\n") for at in range(0, len(lines) - 1, 2)]
