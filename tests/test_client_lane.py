"""Tests of the history on its thread, and of the window of messages near the screen."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from threading import Event

import pytest

from client.local.history import Changes, History, Stand
from client.local.lane import HistoryLane
from client.local.quiet import Quiet
from client.protocol.events import Message
from client.screen.window import END, Window
from tests.server import soon

#: Longest time in seconds that a call may hold up the event loop.
_LONGEST = 0.05


@asynccontextmanager
async def lane(path: Path, seconds: float = 5.0) -> AsyncIterator[HistoryLane]:
    problems: list[str] = []
    found = HistoryLane(path, 1, problems.append)
    try:
        yield found
    finally:
        found.close(seconds)
        found.join()
    assert not problems


@contextmanager
def locked(path: Path, mode: str = "NORMAL") -> Iterator[None]:
    """Lock the file as another program would. The mode EXCLUSIVE keeps readers out too."""
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA locking_mode = {mode}")
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of a history with 1,000 messages."""
    found = tmp_path / "history.sqlite"
    history, changes = History(found, 1, print), Changes()
    changes.add(message(seq) for seq in range(1, 1001))
    history.write(changes)
    history.close()
    return found


def message(seq: int, text: str = "") -> Message:
    return Message("g1", seq, 2, "bo", text or f"text {seq}", seq * 1000)


def kept(path: Path) -> list[Message]:
    history = History(path, 1, print)
    found = history.before("g1", END, 5000)
    history.close()
    return found


class TestLane:
    @pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
    def test_locked(self, path: Path, mode: str) -> None:
        """Messages that come while the file is locked are written when it is free.

        Until then they can be found.
        """

        async def run() -> None:
            with ExitStack() as lock:
                lock.enter_context(locked(path, mode))
                async with lane(path) as history:
                    began = time.monotonic()
                    history.add([message(1001, "a needle")])
                    history.save(Stand("g1", 1, 1001))
                    assert [each.seq for each in history.unwritten("g1")] == [1001]
                    assert time.monotonic() - began < _LONGEST
                    if mode == "NORMAL":  # this mode lets readers in
                        assert await history.find("g1", "NEEDLE", END, print) == message(1001, "a needle")
                        assert len(await history.read(lambda kept: kept.before("g1", END, 5))) == 5
                    await soon(lambda: history.is_slow, "it says so")
                    lock.close()
                    await soon(lambda: not history.unwritten("g1"), "it is written")
                    assert not history.is_slow
                    assert await history.read(History.stands) == [Stand("g1", 1, 1001)]

        asyncio.run(run())
        assert kept(path)[-1] == message(1001, "a needle")

    def test_locked_until_it_ends(self, path: Path) -> None:
        """Closing does not wait for ever for a locked file."""

        async def run() -> None:
            async with lane(path, 0.3) as history:
                history.add([message(1001)])
                began = time.monotonic()
            assert time.monotonic() - began < 2

        with locked(path):
            asyncio.run(run())
        assert len(kept(path)) == 1000

    def test_changes_at_the_end_are_written(self, path: Path) -> None:
        async def run() -> None:
            async with lane(path) as history:
                history.add([message(1001)])

        asyncio.run(run())
        assert kept(path)[-1] == message(1001)

    def test_a_search_lets_others_read(self, path: Path) -> None:
        """A search does not hold up other reads, and ends when it is cancelled."""
        history, changes = History(path, 1, print), Changes()
        for start in range(1001, 60_001, 10_000):
            changes.messages.clear()
            changes.add(message(seq) for seq in range(start, start + 10_000))
            history.write(changes)
        history.close()

        async def run() -> None:
            async with lane(path) as history:
                told: list[int] = []
                search = asyncio.create_task(history.find("g1", "nothing", END, told.append))
                await soon(lambda: told, "it has begun")
                await history.read(History.stands)
                assert not search.done()
                search.cancel()
                await asyncio.sleep(0)
                number = len(told)
                await history.read(History.stands)
                await history.read(History.stands)
                assert len(told) == number
                assert await history.find("g1", "text 5", END, print) is not None
                assert await history.find("g1", "nothing", END, told.append) is None

        asyncio.run(run())


class TestWindow:
    def test_what_is_missing_is_read(self, path: Path) -> None:
        async def run() -> None:
            changed: list[bool] = []
            async with lane(path) as history:
                tasks: list[asyncio.Task[None]] = []
                window = Window(
                    history,
                    Quiet(None),
                    lambda job: tasks.append(asyncio.create_task(job)),
                    lambda: changed.append(True),
                )

                async def near(seq: int) -> list[int]:
                    """Return the numbers of the messages near `seq`, as soon as they are read."""
                    await soon(lambda: (found := window.near("g1", seq, 100)).is_read and full(seq), "read")
                    found = window.near("g1", seq, 100)
                    return [each.seq for each in found.before + found.after]

                def full(seq: int) -> bool:
                    found = window.near("g1", seq, 100)
                    return (found.is_start or len(found.before) == 100) and (
                        found.is_end or len(found.after) == 100
                    )

                first = window.near("g1", END, 100)
                assert (first.before, first.is_read, window.has_end) == ([], False, False)
                assert await near(END) == list(range(901, 1001))
                assert window.has_end
                window.add([message(1001), message(1001), message(1003)])
                assert (await near(END))[-3:] == [1000, 1001, 1003]
                assert await near(400) == list(range(301, 501))
                assert not window.has_end
                window.add([message(1004)])  # far below the window
                assert await near(50) == list(range(1, 151))
                history.add([message(1002)])
                assert (await near(END))[-2:] == [1000, 1002]
                await asyncio.gather(*tasks)

        asyncio.run(run())

    def test_what_comes_while_the_file_is_locked_is_seen(self, path: Path) -> None:
        async def run() -> None:
            with ExitStack() as lock:
                lock.enter_context(locked(path, "EXCLUSIVE"))
                async with lane(path) as history:
                    window = Window(history, Quiet(None), asyncio.create_task, lambda: None)
                    history.add([message(1001)])
                    assert window.near("g1", END, 100).before == [message(1001)]
                    window.add([message(1002)])
                    history.add([message(1002)])
                    assert window.near("g2", END, 100).before == []
                    assert window.near("g1", END, 100).before == [message(1001), message(1002)]
                    lock.close()
                    await soon(lambda: len(window.near("g1", END, 100).before) == 100, "all is read")
                    assert [each.seq for each in window.near("g1", END, 3).before] == [1000, 1001, 1002]

        asyncio.run(run())

    def test_what_was_read_and_is_forgotten_meanwhile_is_not_seen(self, path: Path) -> None:
        async def run() -> None:
            async with lane(path) as history:
                window, is_read = Window(history, Quiet(None), asyncio.create_task, lambda: None), Event()
                reading = asyncio.create_task(window.load("g1", END))
                after = asyncio.create_task(history.read(lambda _: is_read.set()))
                await asyncio.sleep(0)
                is_read.wait()
                history.forget()
                window.clear()
                await asyncio.gather(reading, after)
                assert window.near("g1", END, 100).before == []
                await soon(lambda: window.has_end, "it is read anew")
                assert window.near("g1", END, 100).before == []

        asyncio.run(run())

    def test_what_is_written_between_reading_and_showing_is_seen(self, path: Path) -> None:
        """A message is seen although it was written between the read and its display.

        The loop has other things to do in between.
        """

        async def run() -> None:
            async with lane(path) as history:
                window = Window(history, Quiet(None), asyncio.create_task, lambda: None)
                reading = asyncio.create_task(window.load("g1", END))
                history.add([message(1001)])
                await asyncio.sleep(0)
                with closing(sqlite3.connect(path)) as other:
                    while other.execute("SELECT max(seq) FROM messages").fetchone() != (1001,):
                        time.sleep(0.001)
                await reading
                assert window.near("g1", END, 1).before == [message(1001)]

        asyncio.run(run())

    def test_it_does_not_grow(self) -> None:
        window = Window(HistoryLane(None, 1, print), Quiet(None), lambda job: job.close(), lambda: None)
        window.put("g1", [])
        for seq in range(1, 10_001):
            window.add([message(seq)])
        assert len(window.near("g1", END, 20_000).before) <= 2000
        assert not window.near("g1", END, 20_000).is_start
