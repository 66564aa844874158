"""The server with threads that die: `python -m tests.dying DIRECTORY FLAGS…`.

While DIRECTORY has a file named like a thread of a worker, the next such thread to come by a place where it
expects nothing meets a MemoryError.
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
    _deadly(_Batches, "_select", directory)  # the writer's
    _deadly(EventLoop, "post", directory)  # the others'
    sys.exit(cli.main())
