"""The server with log-ins and joins that stop where a test wants: `python -m tests.pausing DIRECTORY FLAGS…`.

While DIRECTORY has a file `at` with a number n, the next LOGIN or ADD_GROUP of a worker stops after its n-th
await. It writes the file `stopped` and goes on once there is a file `go`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

from forkchat import cli
from forkchat.runtime import Future, Loop, sleep
from forkchat.service.groups import Groups
from forkchat.service.login import Login
from tests.server import until

Handler = Callable[..., Coroutine[Any, Any, Any]]


class Pauses:
    """The files of the directory, as the test sees them too."""

    def __init__(self, directory: Path):
        self.at = directory / "at"
        self.stopped = directory / "stopped"
        self.go = directory / "go"

    def ask(self, number: int) -> None:
        """Have the next one stop after so many awaits."""
        for file in (self.stopped, self.go):
            file.unlink(missing_ok=True)
        self.at.write_text(str(number))

    def wait_stopped(self, is_over: Callable[[], bool]) -> bool:
        """Wait until it has stopped; False if it is over without."""
        until(lambda: self.stopped.exists() or is_over(), "it stops, or is over")
        return self.stopped.exists()

    def take(self) -> int:
        """The number that is asked for, once; 0 if none is."""
        with suppress(FileNotFoundError, ValueError):
            number = int(self.at.read_text())
            self.at.unlink()
            return number
        return 0


class _Steps:
    """Awaits a coroutine, and pauses after its n-th await."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, loop: Loop, pauses: Pauses):
        self._coroutine = coroutine
        self._number = number
        self._loop = loop
        self._pauses = pauses

    def __await__(self) -> Generator[Future[Any], None, Any]:
        count = 0
        while True:
            try:
                awaited = self._coroutine.send(None)
            except StopIteration as stop:
                return stop.value
            yield awaited
            count += 1
            if count == self._number:
                yield from self._pause().__await__()

    async def _pause(self) -> None:
        self._pauses.stopped.touch()
        while not self._pauses.go.exists():
            await sleep(self._loop, 0.005)


def _pausing(handler: Handler, pauses: Pauses) -> Handler:
    async def paused(self: Any, peer: Any, request: Any) -> Any:
        coroutine = handler(self, peer, request)
        if number := pauses.take():
            return await _Steps(coroutine, number, self._context.loop, pauses)
        return await coroutine

    return paused


if __name__ == "__main__":
    directory = Path(sys.argv.pop(1))
    Login.login = _pausing(Login.login, Pauses(directory))  # type: ignore[method-assign]
    Groups.join = _pausing(Groups.join, Pauses(directory))  # type: ignore[method-assign]
    sys.exit(cli.main())
