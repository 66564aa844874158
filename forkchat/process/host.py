"""The name of this host among the hosts that share its Redis and MySQL."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path


def identity(address: str, port: int) -> str:
    """Return the host's identity, such as `chat-1@0.0.0.0:6000~3f9c1b`.

    Its parts are the hostname, the listening address, and a mark of this network stack. No two live hosts
    have the same identity, though machines may be clones of each other. An address and a port can be bound
    only once. The mark is made from the kernel's boot id and the network namespace. So an earlier holder of
    this identity is dead.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    stack = f"{boot}{os.stat('/proc/self/ns/net').st_ino}"
    mark = hashlib.sha256(stack.encode()).hexdigest()[:6]
    return f"{socket.gethostname()}@{address}:{port}~{mark}"
