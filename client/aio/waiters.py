"""Who waits for what: futures by key."""

from __future__ import annotations

import asyncio
from typing import Any

from client.protocol.events import (
    Answer,
    Disconnected,
    Event,
    Greeted,
    LoggedIn,
    LoginFailed,
    SendFailed,
    Sent,
)


class Waiters:
    """The keys: an answer's `rid`, a message's `cid`, and `login`, `greeted`, `closed`, `idle`."""

    def __init__(self) -> None:
        self._futures: dict[str, asyncio.Future[Any]] = {}

    def expect(self, key: str) -> asyncio.Future[Any]:
        future = self._futures[key] = asyncio.get_running_loop().create_future()
        return future

    async def result(self, key: str, future: asyncio.Future[Any], timeout: float | None) -> Any:
        """Raises what the key was resolved with, or TimeoutError."""
        try:
            return await asyncio.wait_for(future, timeout)
        finally:
            self._futures.pop(key, None)

    def resolve(self, key: str, result: object = None, error: Exception | None = None) -> None:
        future = self._futures.pop(key, None)
        if future is None or future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def wake(self, event: Event) -> None:
        match event:
            case Answer():
                self.resolve(event.rid, event.fields, event.refused)
            case Sent():
                self.resolve(event.cid, event)
            case SendFailed():
                self.resolve(event.cid, None, event.refused)
            case LoggedIn():
                self.resolve("login", event)
            case LoginFailed():
                self.resolve("login", None, event.refused)
            case Greeted():
                self.resolve("greeted")
            case Disconnected():
                self.resolve("greeted", None, event.failure)
                self.resolve("closed")
