"""The PROXY header: versions 1 and 2, whole, in pieces, broken, endless, forged, and missing."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkchat.wire.proxy import BadProxyHeader, Opening, ProxyHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HELLO = b'{"msgid":100}\n'


def v2(command: int, family: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, size) + payload


def v2_addresses(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    addresses = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    return addresses + struct.pack("!HH", source_port, destination_port)


IPV4 = v2_addresses("192.0.2.1", "198.51.100.1", 56324, 443)
IPV6 = v2_addresses("2001:db8::1", "2001:db8::2", 56324, 443)
EXTRA = b"\x05\x00\x04abcd"  # a field after the addresses (PP2_TYPE_UNIQUE_ID)

GOOD = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", ("192.0.2.1", 56324)),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", ("2001:db8::1", 56324)),
    "v1 mapped": (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ("192.0.2.1", 1)),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN, with more": (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    "v2 IPv4": (v2(0x21, 0x11, IPV4), ("192.0.2.1", 56324)),
    "v2 IPv6": (v2(0x21, 0x21, IPV6), ("2001:db8::1", 56324)),
    "v2 with extra fields": (v2(0x21, 0x11, IPV4 + EXTRA), ("192.0.2.1", 56324)),
    "v2 unspecified": (v2(0x21, 0x00, b""), None),
    "v2 Unix socket": (v2(0x21, 0x31, bytes(216)), None),
    "v2 LOCAL": (v2(0x20, 0x00, b""), None),
    "v2 LOCAL, with addresses": (v2(0x20, 0x11, IPV4), None),
}
BAD = {
    "nothing of it": HELLO,
    "v1 no family": b"PROXY \r\n",
    "v1 no words": b"PROXY  \r\n",
    "v1 other family": b"PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
    "v1 no ports": b"PROXY TCP4 192.0.2.1 198.51.100.1\r\n",
    "v1 a word more": b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
    "v1 two blanks": b"PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
    "v1 families mixed": b"PROXY TCP4 2001:db8::1 198.51.100.1 1 2\r\n",
    "v1 a name": b"PROXY TCP4 localhost 198.51.100.1 1 2\r\n",
    "v1 not ASCII": "PROXY TCP4 192.0.2.1 198.51.100.１ 1 2\r\n".encode(),
    "v1 port too large": b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
    "v1 port signed": b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
    "v1 port empty": b"PROXY TCP4 192.0.2.1 198.51.100.1 1 \r\n",
    "v1 endless": b"PROXY TCP4 " + b"1" * 200,
    "v1 too long": b"PROXY UNKNOWN " + b"1" * 100 + b"\r\n",
    "v2 version 1": v2(0x11, 0x11, IPV4),
    "v2 other command": v2(0x22, 0x11, IPV4),
    "v2 datagrams": v2(0x21, 0x12, IPV4),
    "v2 other family": v2(0x21, 0x41, IPV4),
    "v2 too short for its family": v2(0x21, 0x21, IPV4),
    "v2 endless": v2(0x21, 0x11, IPV4, length=65535),
    "v2 signature broken": SIGNATURE[:-1] + b"X" + v2(0x21, 0x11, IPV4)[12:],
}


def feed_in(pieces: list[bytes], is_due: bool) -> Opening:
    """Return the opening. Its rest includes the bytes that came after it was complete."""
    header, opening, rest = ProxyHeader(is_due), None, b""
    for piece in pieces:
        if opening is None:
            opening = header.feed(piece)
        else:
            rest += piece
    assert opening is not None
    return opening._replace(rest=opening.rest + rest)


def one_by_one(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_header_names_the_client(name: str) -> None:
    header, client = GOOD[name]
    for pieces in ([header + HELLO], one_by_one(header + HELLO), [header, HELLO]):
        assert feed_in(pieces, is_due=True) == (client, HELLO)


@pytest.mark.parametrize("name", GOOD)
def test_a_header_that_is_not_complete_is_waited_for(name: str) -> None:
    header, _ = GOOD[name]
    decoder = ProxyHeader(is_due=True)
    assert [decoder.feed(byte) for byte in one_by_one(header[:-1])] == [None] * (len(header) - 1)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_header_is_refused(name: str) -> None:
    for pieces in ([BAD[name]], one_by_one(BAD[name])):
        with pytest.raises(BadProxyHeader):
            feed_in(pieces, is_due=True)


@pytest.mark.parametrize("name", GOOD)
def test_a_header_from_elsewhere_is_refused(name: str) -> None:
    header, _ = GOOD[name]
    for pieces in ([header], one_by_one(header)):
        with pytest.raises(BadProxyHeader, match="does not name its address"):
            feed_in(pieces, is_due=False)


@pytest.mark.parametrize(
    "data", [HELLO, b"\r\n" + HELLO, b"P" + HELLO, b"PROXYTCP4\n", b"\0", b"\r\n\r\n\0{}"]
)
def test_a_direct_connection_is_left_as_it_is(data: bytes) -> None:
    for pieces in ([data], one_by_one(data)):
        assert feed_in(pieces, is_due=False) == (None, data)


@given(st.binary(max_size=300), st.booleans())
def test_pieces_make_no_difference(data: bytes, is_due: bool) -> None:
    def outcome(pieces: list[bytes]) -> object:
        header, rest = ProxyHeader(is_due), b""
        try:
            for at, piece in enumerate(pieces):
                opening = header.feed(piece)
                if opening is not None:
                    rest = b"".join(pieces[at + 1 :])
                    return opening.client, opening.rest + rest
        except BadProxyHeader:
            return "refused"
        return None

    assert outcome([data]) == outcome(one_by_one(data))
