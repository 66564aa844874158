"""The PROXY protocol's header, versions 1 and 2 (HAProxy's proxy-protocol.txt): for whom a proxy speaks."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

_V1, _V2 = b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"
#: A line of version 1 has so many bytes at most (the specification's figure).
_MAX_V1 = 107
#: What of a header of version 2 follows its first 16 bytes: addresses, and fields that are skipped.
_MAX_V2 = 4096
_V1_FAMILIES: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}
_LOCAL, _PROXY = 0x20, 0x21
#: Protocol byte of version 2: length of the address block, and its layout where it names a client.
_V2_FAMILIES: dict[int, tuple[int, type[IPv4Address] | type[IPv6Address] | None]] = {
    0x00: (0, None),  # not known
    0x11: (12, IPv4Address),
    0x21: (36, IPv6Address),
    0x31: (216, None),  # a Unix socket
}


class BadProxyHeader(Exception):
    """The connection must be closed: nobody can say whose it is. Its text says why."""


class Client(NamedTuple):
    host: str
    port: int


class Opening(NamedTuple):
    """What a connection began with: its client, None if no header named one, and the bytes after that."""

    client: Client | None
    rest: bytes


class ProxyHeader:
    """The first bytes of one connection.

    `is_due`: it comes from a proxy, and a header MUST be there. Else there must be none: it would be
    forged, or its proxy is not known to be one.
    """

    __slots__ = ("_buffer", "_is_due")

    def __init__(self, is_due: bool):
        self._is_due = is_due
        self._buffer = b""

    def feed(self, data: bytes) -> Opening | None:
        """The opening once it is complete, None before. Raises BadProxyHeader."""
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
        if command == _LOCAL:  # the proxy itself, as in its health checks
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
    """An IPv4 client of a proxy that listens on IPv6 is the same client."""
    return str(getattr(host, "ipv4_mapped", None) or host)
