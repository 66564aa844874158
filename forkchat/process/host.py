"""What this host is called among the others that share its Redis and MySQL."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path


def identity(address: str, port: int) -> str:
    """As `chat-1@0.0.0.0:6000~3f9c1b`: hostname, listening address, and a mark of this network stack.

    No two hosts that live have the same one, though machines may be clones of each other: an address
    and a port can be bound once, and the mark is made from the kernel's boot and the network namespace.
    So whoever had this identity before us is dead.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    stack = f"{boot}{os.stat('/proc/self/ns/net').st_ino}"
    mark = hashlib.sha256(stack.encode()).hexdigest()[:6]
    return f"{socket.gethostname()}@{address}:{port}~{mark}"
