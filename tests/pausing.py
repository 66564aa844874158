"""A server whose requests stop or fail where a test wants: `python -m tests.pausing DIRECTORY FLAGS…`.

If DIRECTORY has a file `at` with a number n, the next request of `_HANDLERS` stops after its n-th await. It
then writes the file `stopped`, and continues when there is a file `go`. With `n ERROR` in the file, the await
raises that error instead.

If it has a file `fail` with a name of `_PARTS`, the next call of that function raises KeyError. A user after
the name restricts this to calls for that user.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forkchat import cli
from forkchat.errors import Unavailable
from forkchat.process.peer import Peer
from forkchat.runtime import Future, Loop, sleep
from forkchat.service.accounts import Accounts
from forkchat.service.chat import Chat
from forkchat.service.delivery import Delivery
from forkchat.service.friends import Friends
from forkchat.service.groups import Groups
from forkchat.service.login import Login
from forkchat.service.session import Session
from forkchat.service.stream import Stream
from forkchat.store.cursors import Cursors
from forkchat.store.writer import Writer
from tests.server import Server, make_data_dir, until
from tests.talk import UNLIMITED

Handler = Callable[..., Coroutine[Any, Any, Any]]
ERRORS = {"Unavailable": Unavailable("injected"), "KeyError": KeyError("injected")}
_HANDLERS = [
    *((Login, "login"), (Login, "log_out"), (Groups, "create"), (Groups, "join"), (Groups, "groups")),
    *((Accounts, "register"), (Accounts, "account"), (Friends, "add")),
]
_PARTS: list[tuple[type, str]] = [
    *((Session, "_write"), (Stream, "located"), (Delivery, "detach"), (Delivery, "look")),
    *((Chat, "_tell_others"), (Cursors, "acknowledge"), (Peer, "answer"), (Writer, "_tell")),
]


class Pauses:
    """The files of the directory, as used by the test and the server."""

    def __init__(self, directory: Path):
        self.at = directory / "at"
        self.stopped = directory / "stopped"
        self.go = directory / "go"
        self.fail = directory / "fail"

    def ask(self, number: int, error: str = "") -> None:
        """Make the next request stop after `number` awaits, or fail with this error."""
        for file in (self.stopped, self.go):
            file.unlink(missing_ok=True)
        self.at.write_text(f"{number} {error}")

    def wait_stopped(self, is_over: Callable[[], bool]) -> bool:
        """Wait until the request has stopped; return False if it ended without stopping."""
        until(lambda: self.stopped.exists() or is_over(), "it stops, or is over")
        return self.stopped.exists()

    def has_failed(self) -> bool:
        return not self.fail.exists()

    def must_fail(self, name: str) -> bool:
        """Return True once, if `name` is the function that is to fail."""
        with suppress(FileNotFoundError):
            if self.fail.read_text() == name:
                self.fail.unlink()
                return True
        return False

    def take(self) -> tuple[int, str]:
        """Take the number and the error from the file; return 0 and "" if there is none."""
        with suppress(FileNotFoundError, ValueError):
            number, error = self.at.read_text().split(" ")
            self.at.unlink()
            return int(number), error
        return 0, ""


class _Steps:
    """An awaitable that runs a coroutine, and pauses it after its n-th await, or makes that await raise."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], number: int, error: str, loop: Loop, pauses: Pauses
    ):
        self._coroutine = coroutine
        self._number = number
        self._error = ERRORS.get(error)
        self._loop = loop
        self._pauses = pauses

    def __await__(self) -> Generator[Future[Any], None, Any]:
        count = 0
        while True:
            try:
                if self._error and count == self._number:
                    self._pauses.stopped.touch()
                    awaited = self._coroutine.throw(self._error)
                    self._error = None
                else:
                    awaited = self._coroutine.send(None)
            except StopIteration as stop:
                return stop.value
            yield awaited
            count += 1
            if count == self._number and not self._error:
                yield from self._pause().__await__()

    async def _pause(self) -> None:
        self._pauses.stopped.touch()
        while not self._pauses.go.exists():
            await sleep(self._loop, 0.005)


@contextmanager
def pausing_server() -> Iterator[tuple[Server, Pauses]]:
    """Run such a server with two workers; yield it and its files."""
    directory = make_data_dir()
    directory.chmod(0o777)
    command = [sys.executable, "-m", "tests.pausing", str(directory)]
    try:
        with Server("-w", "2", config=UNLIMITED, command=command) as server:
            yield server, Pauses(directory)
    finally:
        shutil.rmtree(directory)


def _pausing(handler: Handler, pauses: Pauses) -> Handler:
    async def paused(self: Any, peer: Any, request: Any) -> Any:
        coroutine = handler(self, peer, request)
        number, error = pauses.take()
        if number:
            return await _Steps(coroutine, number, error, self._context.loop, pauses)
        return await coroutine

    return paused


def _failing(part: Callable[..., Any], name: str, pauses: Pauses) -> Callable[..., Any]:
    def failing(*args: Any, **kwargs: Any) -> Any:
        if pauses.must_fail(name) or pauses.must_fail(f"{name} {getattr(args[0], 'user', '')}"):
            raise KeyError("injected")
        return part(*args, **kwargs)

    return failing


if __name__ == "__main__":
    directory = Path(sys.argv.pop(1))
    for owner, name in _HANDLERS:
        setattr(owner, name, _pausing(getattr(owner, name), Pauses(directory)))
    for owner, name in _PARTS:
        part = f"{owner.__name__}.{name}"
        setattr(owner, name, _failing(getattr(owner, name), part, Pauses(directory)))
    sys.exit(cli.main())
