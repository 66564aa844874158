"""Which server, and how it is reached."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from ssl import SSLContext

from client.aio.tls import explained

PORT, TLS_PORT = 6000, 8443
#: Seconds for a connection to be made.
CONNECT_TIME = 10.0


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    tls: SSLContext | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def open(self, protocol: asyncio.BaseProtocol) -> None:
        """Connect. Raises CertificateError (of `client.aio.tls`), or another OSError."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIME):
                # The name that the certificate must have is `host`.
                await loop.create_connection(lambda: protocol, self.host, self.port, ssl=self.tls)
        except OSError as error:
            if self.tls:
                raise explained(error, self.host) from None
            if isinstance(error, TimeoutError):
                raise ConnectionError(f"{self.host} does not answer") from None
            raise


def address(text: str, default_port: int = PORT) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare IPv6 address. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")) or text.endswith("]"):
        host, port = text, str(default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"no such port: {port}")
    host = host.removeprefix("[").removesuffix("]") or "localhost"
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"no such host: {host}") from None
    return host, int(port)
