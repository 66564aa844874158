"""The listening sockets. The master binds them, and the workers accept from them."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

from forkchat.errors import StartError

#: Connections that may wait to be accepted. The kernel cuts this to net.core.somaxconn.
_BACKLOG = 4096
_HINTS = {
    errno.EADDRINUSE: "; `ss -ltnp` says by what, and -p takes another port",
    errno.EACCES: "; ports below 1024 are root's: take a higher one with -p, or start it as root",
}


class Listeners:
    """Sockets on every address that `host` stands for, bound at once and listening after `open`.

    Before `open`, the kernel refuses connections, so that clients and nginx go to another host. The sockets
    do not block.
    """

    def __init__(self, host: str, port: int):
        """Bind the sockets. Port 0 takes any free port, the same for all addresses.

        Raises StartError, naming the address.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            raise StartError(
                f"cannot listen on {host}: {getattr(error, 'strerror', error)}; name an address of this "
                "machine, without brackets or a port"
            ) from error
        self.sockets: list[socket.socket] = []
        self._claims: list[socket.socket] = []
        absent: OSError | None = None
        families = {family for family, *_ in found}
        for family, _, _, _, address in found:
            is_with_ipv4 = family == socket.AF_INET6 and len(families) > 1
            try:
                self._bind(family, (address[0], port, *address[2:]), is_with_ipv4)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise _refusal(str(address[0]), port, error) from error
                absent = error  # such as ::1 for `localhost` on a machine without IPv6
            else:
                port = self.sockets[0].getsockname()[1]
        if not self.sockets and absent:
            raise StartError(f"cannot listen on {host}: {absent.strerror}")
        self.port = port

    def open(self) -> None:
        """Let clients connect. Raises StartError if another program listens there by now."""
        for sock in self.sockets:
            try:
                sock.listen(_BACKLOG)
            except OSError as error:
                address, port = sock.getsockname()[:2]
                raise _refusal(address, port, error) from error
        for claim in self._claims:
            claim.close()

    def close(self) -> None:
        """Refuse clients from now on, in the workers too, because they share the sockets."""
        for sock in self.sockets:
            with suppress(OSError):  # the socket never listened
                sock.shutdown(socket.SHUT_RDWR)

    def _bind(self, family: int, address: tuple[object, ...], is_with_ipv4: bool) -> None:
        sock = socket.socket(family, socket.SOCK_STREAM)
        claim = socket.socket(socket.AF_UNIX)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_with_ipv4:  # else :: would also take 0.0.0.0, which `*` binds too
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            # With SO_REUSEADDR an address can be bound twice until one of the two sockets listens. A host's
            # identity (host.py) needs it to be bound once. An abstract name, like an address, exists once per
            # network stack.
            claim.bind(f"\0forkchat {address[0]} {sock.getsockname()[1]}")
        except OSError as error:
            sock.close()
            claim.close()
            # The error of socket.bind may repeat its number in the text, or have no number.
            raise OSError(error.errno, os.strerror(error.errno or 0)) from error
        sock.setblocking(False)
        self.sockets.append(sock)
        self._claims.append(claim)


def _refusal(address: str, port: int, error: OSError) -> StartError:
    hint = _HINTS.get(error.errno or 0, "")
    return StartError(f"cannot listen on port {port} of {address}: {os.strerror(error.errno or 0)}{hint}")
