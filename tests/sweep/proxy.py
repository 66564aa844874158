"""The common part of the proxies for MySQL and Redis: connections that can be cut or muted."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from tests.sweep.strikes import Seen


class Link(ABC):
    """A client's connection to the proxy, and the proxy's connection to the server's Unix socket."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ):
        self._reader = reader
        self._writer = writer
        self._upstream_reader = upstream_reader
        self._upstream = upstream

    @abstractmethod
    async def forward(self) -> None:
        """Forward the client's data, one command at a time, until the connection ends."""

    @abstractmethod
    async def back(self) -> None:
        """Forward the server's data."""

    async def run(self) -> None:
        back = asyncio.create_task(self.back())
        try:
            await self.forward()
        finally:
            back.cancel()

    def cut(self) -> None:
        self._writer.transport.abort()
        self._upstream.transport.abort()

    async def swallow(self) -> None:
        """Answer nothing more until the client gives up."""
        with suppress(OSError):
            while await self._reader.read(65536):
                pass
        self.cut()


LinkT = TypeVar("LinkT", bound=Link)


class Proxy(ABC, Generic[LinkT]):
    def __init__(self, upstream: str, seen: Seen):
        self._upstream = upstream
        self.seen = seen
        self._server: asyncio.Server | None = None
        self._links: set[LinkT] = set()

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    def link(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream_reader: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> LinkT: ...

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut_links()

    def cut_links(self, which: Callable[[LinkT], bool] = lambda link: True) -> None:
        for link in list(self._links):
            if which(link):
                link.cut()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            upstream = await asyncio.open_unix_connection(self._upstream, limit=1 << 24)
            link = self.link(reader, writer, *upstream)
            self._links.add(link)
            try:
                await link.run()
            finally:
                self._links.discard(link)
                link.cut()
