"""A bounded queue of events for the tasks that iterate over a client; each event goes to one task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from client.aio.given import Given
from client.protocol.events import Event, Message

#: Queued messages at which delivery stops (high-water mark), and at which it resumes.
#: Queued other events above which the oldest is dropped, because it reports the past.
_FULL, _ROOM, _OTHERS = 200, 100, 1000


class Waiting:
    """The queue of a client's events, with back-pressure for messages.

    `on_room(bool)` is called when the room for messages runs out, and when there is room again. There is no
    room until a task iterates, so that the server keeps messages that nobody asks for. A task that asks for
    the next event is done with its previous one.
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
        """Drop the queued messages, because the database or the user has changed.

        Messages of another database were lost with it, or come again under new numbers. Messages of another
        user come again in that user's next session.
        """
        self._events = deque(event for event in self._events if not isinstance(event, Message))
        self._messages = 0

    def __len__(self) -> int:
        return len(self._events)

    async def take(self) -> Event:
        """Return the next event. Raises StopAsyncIteration after `close`.

        Messages that are still queued after `close` come again in the next session.
        """
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
