"""The listening sockets, bound by the master and accepted from by the workers."""

from __future__ import annotations

import errno
import os
import socket

from forkchat.errors import StartError

#: Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
_BACKLOG = 4096


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` stands for; port 0 takes any free one, the same for all.

    The sockets do not block. Raises StartError, naming the address.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartError(f"cannot listen on {host}: {getattr(error, 'strerror', error)}") from error
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    for family, _, _, _, address in found:
        try:
            listeners.append(_listen(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise StartError(f"cannot listen on port {port} of {address[0]}: {error.strerror}") from error
            absent = error  # as ::1, which `localhost` is too, on a machine without IPv6
        else:
            port = listeners[0].getsockname()[1]
    if not listeners and absent:
        raise StartError(f"cannot listen on {host}: {absent.strerror}")
    return listeners


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        # socket.bind's own text repeats the number, or comes without one
        raise OSError(error.errno, os.strerror(error.errno or 0)) from error
    sock.setblocking(False)
    return sock
