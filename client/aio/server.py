"""Which server, and how it is reached."""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext

PORT, TLS_PORT = 6000, 8443


@dataclass(frozen=True)
class Server:
    host: str
    port: int
    tls: SSLContext | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
