"""The server with threads that die: `python -m tests.dying DIRECTORY FLAGS…`.

While DIRECTORY has a file named like a thread of a worker, the next such thread dies. It gets a MemoryError
at a place where it expects no exception.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from forkchat import cli
from forkchat.net.loop import EventLoop
from forkchat.store.writer import _Batches


def _deadly(owner: type, name: str, directory: Path) -> None:
    function = getattr(owner, name)

    def deadly(*args: Any) -> Any:
        with suppress(FileNotFoundError):
            (directory / threading.current_thread().name).unlink()
            raise MemoryError("injected")
        return function(*args)

    setattr(owner, name, deadly)


if __name__ == "__main__":
    directory = Path(sys.argv.pop(1))
    _deadly(_Batches, "_select", directory)  # for the writer
    _deadly(EventLoop, "post", directory)  # for all other threads
    sys.exit(cli.main())
