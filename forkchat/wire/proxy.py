"""The PROXY header, which names a proxy's client: versions 1 and 2 of HAProxy's proxy-protocol.txt."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

_V1, _V2 = b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"
#: Bytes of a version 1 line at most, as the specification says.
_MAX_V1 = 107
#: Bytes after the first 16 of a version 2 header at most: addresses, and fields that are skipped.
_MAX_V2 = 4096
_V1_FAMILIES: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}
_LOCAL, _PROXY = 0x20, 0x21
#: By protocol byte of version 2, the length of the address block, and its layout if it names a client.
_V2_FAMILIES: dict[int, tuple[int, type[IPv4Address] | type[IPv6Address] | None]] = {
    0x00: (0, None),  # unspecified
    0x11: (12, IPv4Address),
    0x21: (36, IPv6Address),
    0x31: (216, None),  # a Unix socket
}


class BadProxyHeader(Exception):
    """The connection must be closed, because its client is unknown. The error's text says why."""


class Client(NamedTuple):
    host: str
    port: int


class Opening(NamedTuple):
    """The start of a connection: its client, None if no header named it, and the bytes after the header."""

    client: Client | None
    rest: bytes


class ProxyHeader:
    """The parser of the first bytes of one connection.

    `is_due` means that the connection comes from a proxy, so a header MUST be there. Otherwise a header is an
    error, because it is forged or the configuration does not list its proxy.
    """

    __slots__ = ("_buffer", "_is_due")

    def __init__(self, is_due: bool):
        self._is_due = is_due
        self._buffer = b""

    def feed(self, data: bytes) -> Opening | None:
        """Return the opening once it is complete, None before.

        Raises BadProxyHeader if the header is wrong, missing or not allowed.
        """
        self._buffer += data
        signature = next((s for s in (_V1, _V2) if s.startswith(self._buffer[: len(s)])), None)
        if signature is None:
            if self._is_due:
                raise BadProxyHeader("no PROXY header, and listen.proxy_from names its address")
            return Opening(None, self._buffer)
        if len(self._buffer) < len(signature):
            return None
        if not self._is_due:
            raise BadProxyHeader("a PROXY header, and listen.proxy_from does not name its address")
        return self._version1() if signature is _V1 else self._version2()

    def _version1(self) -> Opening | None:
        line, end, rest = self._buffer.partition(b"\r\n")
        if len(line) + 2 > _MAX_V1:
            raise BadProxyHeader("a PROXY header without end")
        if not end:
            return None
        words = line.split(b" ")
        if words[1] == b"UNKNOWN":
            return Opening(None, rest)
        try:
            _, family, source, destination, *ports = words
            kind = _V1_FAMILIES[family]
            host, _ = (kind(address.decode("ascii")) for address in (source, destination))
            port, _ = map(_port, ports)
        except (KeyError, ValueError):
            raise BadProxyHeader("a PROXY header that cannot be read") from None
        return Opening(Client(_text(host), port), rest)

    def _version2(self) -> Opening | None:
        if len(self._buffer) < 16:
            return None
        command, family, length = struct.unpack_from("!BBH", self._buffer, len(_V2))
        if command not in (_LOCAL, _PROXY) or length > _MAX_V2:
            raise BadProxyHeader("a PROXY header that cannot be read")
        end = 16 + length
        if len(self._buffer) < end:
            return None
        rest = self._buffer[end:]
        if command == _LOCAL:  # the proxy speaks for itself, as in its health checks
            return Opening(None, rest)
        size, kind = _V2_FAMILIES.get(family, (_MAX_V2 + 1, None))
        if length < size:
            raise BadProxyHeader("a PROXY header that cannot be read")
        if kind is None:
            return Opening(None, rest)
        width = (size - 4) // 2
        (port,) = struct.unpack_from("!H", self._buffer, 16 + 2 * width)
        return Opening(Client(_text(kind(self._buffer[16 : 16 + width])), port), rest)


def _port(digits: bytes) -> int:
    if not digits.isdigit() or str(int(digits)).encode() != digits or int(digits) > 65535:
        raise ValueError
    return int(digits)


def _text(host: IPv4Address | IPv6Address) -> str:
    """Return an address as text. An IPv4 address mapped to IPv6 becomes IPv4: the client is the same."""
    return str(getattr(host, "ipv4_mapped", None) or host)
