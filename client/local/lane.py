"""The history on a thread of its own, so that its file never blocks the screen.

A lane belongs to the event loop that made it. Its methods are called and return their results there.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar

from client.local.history import MAX_UNWRITTEN, Busy, Changes, History, Stand
from client.protocol.events import Message

T = TypeVar("T")

#: Seconds for which changes are gathered, to be written together. Seconds between retries of a locked file.
_GATHER, _RETRY = 0.05, 0.1
#: Messages that a search covers per step. Between steps other reads run, and the search can be cancelled.
_SLICE = 2000
#: Seconds of waiting for the file before the history counts as slow.
_SLOW = 1.0


class HistoryLane:
    """The history of one user, on a thread.

    Reads run in order. They do not wait for unwritten changes, except after `forget`. Changes are written as
    soon as possible. `unwritten` returns the messages that are not written yet.

    `path`: the file, or None to store nothing. `on_problem`: as in `History`.
    """

    def __init__(self, path: Path | None, me: int, on_problem: Callable[[str], None]):
        self._keeps = path is not None
        self._me = me
        self._on_problem = on_problem
        self._jobs: queue.SimpleQueue[Callable[[History], None] | None] = queue.SimpleQueue()
        self._lock = Lock()  # guards the changes, which are handed over to the thread
        self._changes = Changes()
        self._unwritten: dict[tuple[str, int], Message] = {}
        self._writing = Changes()  # the changes that the thread is writing
        self._write_at = inf
        self._busy_since: float | None = None
        self._ends_at: float | None = None
        if path:
            self._path = path
            self._loop = asyncio.get_running_loop()
            self._thread = Thread(target=self._work, name="history", daemon=True)
            self._thread.start()

    @property
    def is_slow(self) -> bool:
        """True if a read or write has been waiting for the locked file for more than `_SLOW` seconds."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > _SLOW

    def add(self, messages: list[Message]) -> None:
        if self._keeps:
            self._unwritten |= {(message.conv, message.seq): message for message in messages}
            while len(self._unwritten) > MAX_UNWRITTEN:
                del self._unwritten[next(iter(self._unwritten))]
            self._change(lambda changes: changes.add(messages))

    def save(self, stand: Stand) -> None:
        self._change(lambda changes: changes.save(stand))

    def set_fact(self, name: str, value: str) -> None:
        self._change(lambda changes: changes.facts.update({name: value}))

    def add_input(self, text: str) -> None:
        self._change(lambda changes: changes.add_input(text))

    def forget(self) -> None:
        """Delete the messages and the states of the conversations."""
        self._unwritten.clear()
        self._change(Changes.forget)

    def unwritten(self, conv: str) -> list[Message]:
        """Return a conversation's messages that are not written yet, ascending."""
        found = [message for message in self._unwritten.values() if message.conv == conv]
        return sorted(found, key=lambda message: message.seq)

    async def read(self, job: Callable[[History], T]) -> T:
        """Call `job` on the thread, and return its result. Call it again if the file was locked."""
        found: asyncio.Future[T] = self._loop.create_future()

        def work(history: History) -> None:
            if found.cancelled():
                return
            try:
                result = self._patiently(lambda: job(history))
            except Exception as error:
                self._call(_settle, found, None, error)
            else:
                self._call(_settle, found, result, None)

        self._jobs.put(work)
        return await found

    async def find(
        self, conv: str, text: str, below: int, on_progress: Callable[[int], object]
    ) -> Message | None:
        """Return the latest message before `below` that contains the text, ignoring case, or None.

        `on_progress` gets the number of the message that the search has reached.
        """
        part = text.casefold()
        while True:
            job = partial(History.find, conv=conv, text=text, below=below, limit=_SLICE)
            found, low = await self.read(job)
            for message in reversed(self.unwritten(conv)):
                if low < message.seq < below and part in message.text.casefold():
                    return message
            if found or not low:
                return found
            below = low
            on_progress(below)

    def close(self, seconds: float) -> None:
        """Tell the thread to write the remaining changes and end, in at most `seconds`."""
        if self._keeps:
            self._ends_at = time.monotonic() + seconds
            self._jobs.put(None)

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._keeps:
            self._thread.join()

    def _change(self, change: Callable[[Changes], object]) -> None:
        if self._keeps:
            with self._lock:
                is_first = not self._changes
                change(self._changes)
            if is_first:
                self._jobs.put(None)

    def _written(self, changes: Changes) -> None:
        for key, message in changes.messages.items():
            if self._unwritten.get(key) is message:
                del self._unwritten[key]

    # --- on the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            history = self._patiently(self._open)
            while self._ends_at is None:
                self._turn(history)
            while self._writing or self._changes:
                self._patiently(lambda: self._write(history))
            history.close()
        except Busy:
            pass  # the time for closing is over
        except Exception as error:
            self._call(_raise, error)

    def _open(self) -> History:
        return History(self._path, self._me, lambda text: self._call(self._on_problem, text))

    def _turn(self, history: History) -> None:
        """Write if it is time to, else wait for a job and run it."""
        now = time.monotonic()
        if now >= self._write_at:
            try:
                self._write(history)
                self._write_at = now if self._changes else inf
            except Busy:
                self._busy_since = self._busy_since or now
                self._write_at = now + _RETRY
            return
        with suppress(queue.Empty):
            job = self._jobs.get(timeout=None if self._write_at == inf else self._write_at - now)
            if job:
                while self._writing.forgets or self._changes.forgets:  # no job may read forgotten data
                    self._patiently(lambda: self._write(history))
                job(history)
            else:
                self._write_at = min(self._write_at, now + _GATHER)

    def _write(self, history: History) -> None:
        if not self._writing:
            with self._lock:
                self._writing, self._changes = self._changes, Changes()
        history.write(self._writing)
        self._busy_since = None
        # Remove the messages one turn of the loop later. A reader whose result lacks them must resume first,
        # because it looks for them among `unwritten`.
        self._call(self._loop.call_soon, self._written, self._writing)
        self._writing = Changes()

    def _patiently(self, job: Callable[[], T]) -> T:
        """Return the result of `job`. Retry while the file is locked. Raises Busy when closing times out."""
        while True:
            try:
                result = job()
            except Busy:
                now = time.monotonic()
                if self._ends_at is not None and now > self._ends_at:
                    raise
                self._busy_since = self._busy_since or now
                time.sleep(_RETRY)
            else:
                self._busy_since = None
                return result

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call `callback` in the loop, unless the loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)


def _settle(future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
    if future.done():  # cancelled
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _raise(error: Exception) -> None:
    """Raise an error in the loop, for its exception handler."""
    raise error
