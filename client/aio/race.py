"""Happy eyeballs (RFC 8305): all addresses of a name are tried, and the first one that answers is taken."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from itertools import zip_longest
from ssl import SSLContext
from typing import Any

from client.aio.tls import CertificateError, explained

#: Seconds that an address has to answer, TLS included.
ADDRESS_TIME = 10.0
#: Seconds after which the next address is tried as well.
_DELAY = 0.25

#: Family and address, as `getaddrinfo` has them.
Address = tuple[int, tuple[Any, ...]]


class Unreachable(ConnectionError):
    """No address of `host` can be used: `errors` says why, by address."""

    def __init__(self, host: str, errors: dict[str, OSError]):
        super().__init__()
        self.host = host
        self.errors = errors

    @property
    def is_refused(self) -> bool:
        """Nothing listens there."""
        return all(isinstance(error, ConnectionRefusedError) for error in self.errors.values())

    def told(self, translate: Callable[[str], str]) -> str:
        """Each reason, and the addresses that it holds for, unless `host` is the only one."""
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
        return os.strerror(error.errno)  # asyncio's words say the address again
    return "no answer" if isinstance(error, TimeoutError) else str(error)


class _Early(asyncio.Protocol):
    """A connection's protocol until it is known which one is taken. It keeps what happens meanwhile."""

    def __init__(self) -> None:
        self.happened: list[Callable[[asyncio.Protocol], None]] = []

    def data_received(self, data: bytes) -> None:
        self.happened.append(lambda protocol: protocol.data_received(data))

    def connection_lost(self, error: Exception | None) -> None:
        self.happened.append(lambda protocol: protocol.connection_lost(error))


#: A connection, and what has happened on it.
Made = tuple[asyncio.Transport, _Early]


async def connect(protocol: asyncio.Protocol, host: str, port: int, tls: SSLContext | None) -> None:
    """Give the protocol a connection. With `tls`, `host` is the name that the certificate must have.

    Raises CertificateError (of `client.aio.tls`) if an address has a bad one, else Unreachable; or
    `socket.gaierror` if there is no such name.
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
                task.result()[0].abort()  # it was second by a hair
    raise next(
        (error for error in errors.values() if isinstance(error, CertificateError)), Unreachable(host, errors)
    )


def _mixed(addresses: list[Address]) -> list[Address]:
    """One of each family in turn, in the system's order: one family may be dead as a whole."""
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
