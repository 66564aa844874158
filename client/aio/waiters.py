"""Futures by key, for tasks that wait for a session's events."""

from __future__ import annotations

import asyncio
from typing import Any

from client.protocol.events import (
    Answer,
    Disconnected,
    Event,
    Greeted,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    SendFailed,
    Sent,
)
from forkchat.errors import NotLoggedIn


def message_key(cid: str) -> str:
    """Return a key that differs from all other keys, for any `cid` that the user has chosen."""
    return f"message {cid}"


class Waiters:
    """Futures by key. Several tasks may wait for the same key.

    The keys are an answer's `rid`, a `message_key`, `login`, `greeted`, `closed` and `idle`.
    """

    def __init__(self) -> None:
        self._futures: dict[str, list[asyncio.Future[Any]]] = {}

    def expect(self, key: str) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._futures.setdefault(key, []).append(future)
        return future

    async def result(self, key: str, future: asyncio.Future[Any], timeout: float | None) -> Any:
        """Wait for a future. Raises the error that its key was resolved with, or TimeoutError."""
        try:
            async with asyncio.timeout(timeout):  # wait_for of Python 3.11 may swallow a cancellation
                return await future
        finally:
            waiting = self._futures.get(key, [])
            if future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._futures[key]

    def resolve(self, key: str, result: object = None, error: Exception | None = None) -> None:
        for future in self._futures.pop(key, []):
            if future.done():
                continue
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)

    def give_up(self, error: Exception) -> None:
        """Fail all futures with `error`, because no results will come."""
        for key in list(self._futures):
            self.resolve(key, None, error)

    def wake(self, event: Event) -> None:
        match event:
            case Answer():
                self.resolve(event.rid, event.fields, event.refused)
            case Sent():
                self.resolve(message_key(event.cid), event)
            case SendFailed():
                self.resolve(message_key(event.cid), None, event.refused)
            case LoggedIn():
                self.resolve("login", event)
            case LoginFailed():
                self.resolve("login", None, event.refused)
            case LoggedOut():
                self.resolve("login", None, NotLoggedIn(f"the server has ended it: {event.reason}"))
            case Greeted():
                self.resolve("greeted")
            case Disconnected():
                self.resolve("greeted", None, event.failure)
                self.resolve("closed")
