"""Happy eyeballs (RFC 8305): try all addresses of a name, and take the first that answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from itertools import zip_longest
from ssl import SSLContext
from typing import Any

from client.aio.tls import CertificateError, explained

#: Seconds in which an address must answer, TLS included.
ADDRESS_TIME = 10.0
#: Seconds without an answer before the next address is tried as well.
_DELAY = 0.25

#: The family and the socket address, as `getaddrinfo` returns them.
Address = tuple[int, tuple[Any, ...]]


class Unreachable(ConnectionError):
    """No address of `host` can be used. `errors` holds the reasons by address."""

    def __init__(self, host: str, errors: dict[str, OSError]):
        super().__init__()
        self.host = host
        self.errors = errors

    @property
    def is_refused(self) -> bool:
        """Nothing listens at any of the addresses."""
        return all(isinstance(error, ConnectionRefusedError) for error in self.errors.values())

    def told(self, translate: Callable[[str], str]) -> str:
        """Return each reason with the addresses to which it applies.

        The addresses are omitted if `host` is itself the only one.
        """
        reasons: dict[str, list[str]] = {}
        for address, error in self.errors.items():
            reasons.setdefault(translate(_reason(error)), []).append(address)
        if [self.host] == list(self.errors):
            return next(iter(reasons))
        return "; ".join(f"{reason} ({', '.join(addresses)})" for reason, addresses in reasons.items())

    def __str__(self) -> str:
        return self.told(str)


def _reason(error: OSError) -> str:
    if error.errno:
        return os.strerror(error.errno)  # asyncio's text repeats the address
    return "no answer" if isinstance(error, TimeoutError) else str(error)


class _Early(asyncio.Protocol):
    """A protocol that records what happens on a connection until the race is decided."""

    def __init__(self) -> None:
        self.happened: list[Callable[[asyncio.Protocol], None]] = []

    def data_received(self, data: bytes) -> None:
        self.happened.append(lambda protocol: protocol.data_received(data))

    def connection_lost(self, error: Exception | None) -> None:
        self.happened.append(lambda protocol: protocol.connection_lost(error))


#: A connection, and the protocol that has recorded what happened on it.
Made = tuple[asyncio.Transport, _Early]


async def connect(protocol: asyncio.Protocol, host: str, port: int, tls: SSLContext | None) -> None:
    """Connect the protocol to `host`. With `tls`, the certificate must have the name `host`.

    Raises CertificateError (of `client.aio.tls`) if no address can be used and one has a bad certificate.
    Raises Unreachable if no address can be used for other reasons. Raises `socket.gaierror` if the name does
    not exist.
    """
    transport, early = await _race(host, port, tls)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    for happen in early.happened:
        happen(protocol)


async def _race(host: str, port: int, tls: SSLContext | None) -> Made:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    waiting = _mixed([(family, address) for family, _, _, _, address in found])
    running: dict[asyncio.Task[Made], str] = {}
    errors: dict[str, OSError] = {}
    try:
        while waiting or running:
            if waiting:
                address = waiting.pop(0)
                running[loop.create_task(_connect(address, host, tls))] = address[1][0]
            pause = _DELAY if waiting else None
            done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                name = running.pop(task)
                try:
                    return task.result()
                except OSError as error:
                    errors[name] = explained(error, host) if tls else error
    finally:
        for task in running:
            if not task.cancel() and not task.exception():
                task.result()[0].abort()  # it connected just after the winner
    raise next(
        (error for error in errors.values() if isinstance(error, CertificateError)), Unreachable(host, errors)
    )


def _mixed(addresses: list[Address]) -> list[Address]:
    """Return the addresses, alternating between families, because a whole family may be dead.

    Each family keeps the system's order.
    """
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address]


async def _connect(address: Address, host: str, tls: SSLContext | None) -> Made:
    loop = asyncio.get_running_loop()
    family, where = address
    async with asyncio.timeout(ADDRESS_TIME):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        name = host if tls else None
        return await loop.create_connection(_Early, sock=sock, ssl=tls, server_hostname=name)
