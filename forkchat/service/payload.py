"""The messages that workers publish to each other. A message consists of parts, and a part of two lines.

The first line holds words. The second line holds a frame for modern clients, or nothing.

| kind | words | meaning |
|---|---|---|
| `B` | worker | first part of a batch: this worker has delivered the other parts to its own users |
| `M` | conv seq sender version ts | a stored message, with its frame |
| `L` | conv seq | look: messages up to `seq` are stored |
| `E` | conv sender version | an ephemeral message, with the frame for everyone but its sender |
| `T` | conv sender version | the sender types, with the frame for everyone else |
| `F` | user | an event, with the frame for everyone but `user` (0: for all) |
| `V` | conv | the group's members have changed |
| `K` | token | kick: the session was taken over; close it |
| `P` | token | probe: another client tried to log in; check whether the session is alive |

The channel `all` carries `reconcile` and `epoch` instead.
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
    """Return for each part its words, the kind first, and its frame with the LF."""
    lines = data.split(b"\n")
    return [(lines[at].split(b" "), lines[at + 1] + b"\n") for at in range(0, len(lines) - 1, 2)]
