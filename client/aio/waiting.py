"""Events that wait for those who iterate over a client: bounded, each for one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from client.aio.given import Given
from client.protocol.events import Event, Message

#: Messages that wait when no more are handed on, and when it goes on; other events that wait, above which the
#: oldest is dropped: it says what has passed.
_FULL, _ROOM, _OTHERS = 200, 100, 1000


class Waiting:
    """`on_room(bool)` is called when there is no room for more messages, and when there is again. There is
    none until somebody iterates: what nobody asks for the server keeps. A task that asks for the next event
    is done with the one before.
    """

    def __init__(self, given: Given, on_room: Callable[[bool], None]):
        self._given = given
        self._on_room = on_room
        self._events: deque[Event] = deque()
        self._taken: WeakKeyDictionary[asyncio.Task[object], Message] = WeakKeyDictionary()
        self._messages = 0
        self._has_room = False
        self._news = asyncio.Event()
        self._is_closed = False

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._news.set()
        if isinstance(event, Message):
            self._messages += 1
            if self._has_room and self._messages >= _FULL:
                self._has_room = False
                self._on_room(False)
        elif len(self._events) - self._messages > _OTHERS:
            self._events.remove(next(old for old in self._events if not isinstance(old, Message)))

    def forget(self) -> None:
        """The server's database is another one, or the user is. What waits was lost with it, or comes again:
        under a new number, or in the next session of the user before."""
        self._events = deque(event for event in self._events if not isinstance(event, Message))
        self._messages = 0

    def __len__(self) -> int:
        return len(self._events)

    async def take(self) -> Event:
        """Raises StopAsyncIteration when closed; what still waits then comes again."""
        task = asyncio.current_task()
        assert task
        if before := self._taken.pop(task, None):
            self._given.done(before)
        if not self._has_room and self._messages <= _ROOM:
            self._has_room = True
            self._on_room(True)
        while not self._events and not self._is_closed:
            self._news.clear()
            await self._news.wait()
        if self._is_closed:
            raise StopAsyncIteration
        event = self._events.popleft()
        if isinstance(event, Message):
            self._messages -= 1
            self._given.give(event)
            self._taken[task] = event
        return event

    def close(self) -> None:
        self._is_closed = True
        self._news.set()
