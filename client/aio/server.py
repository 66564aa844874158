"""The server's address, and the way to connect to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from ssl import SSLContext

from client.aio.race import connect

#: Default ports, without and with TLS.
PORT, TLS_PORT = 6000, 8443
#: Seconds to make a connection, which includes looking up the name and trying all its addresses.
CONNECT_TIME = 20.0


@dataclass(frozen=True)
class Server:
    """The address of a server. `tls` is None for a plain connection.

    `is_plain_meant`: the user knows that the connection is plain, and wants that.
    """

    host: str
    port: int
    tls: SSLContext | None = None
    is_plain_meant: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def exposes(self, address: str) -> bool:
        """Return True if others on the network can read what is sent to this address of the server."""
        found = ip_address(address)
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return self.tls is None and not (mapped or found).is_loopback

    async def open(self, protocol: asyncio.Protocol) -> None:
        """Connect `protocol` to the server.

        Raises CertificateError (of `client.aio.tls`), Unreachable (of `client.aio.race`), or another OSError.
        """
        try:
            async with asyncio.timeout(CONNECT_TIME):
                await connect(protocol, self.host, self.port, self.tls)
        except TimeoutError:
            raise ConnectionError("no answer") from None


def address(text: str, default_port: int = PORT) -> tuple[str, int]:
    """Parse `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare IPv6 address. Raises ValueError if invalid."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")) or text.endswith("]"):
        host, port = text, str(default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"no such port: {port}")
    host = (
        host.removeprefix("[").removesuffix("]").removesuffix(".") or "localhost"
    )  # without a final dot, as in certificates
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"no such host: {host}") from None
    return host, int(port)
