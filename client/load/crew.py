"""Companies in processes of their own, so that the generator is not the bottleneck."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from client.load.speaker import Company, Play, Role, Tally


class Crew:
    """A context manager with one process for each list of roles. It is entered once all are connected."""

    def __init__(self, companies: Sequence[Sequence[Role]]):
        self._processes = []
        self._pipes: list[Connection] = []
        for roles in companies:
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=_work, args=(roles, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes if process.pid]

    def __enter__(self) -> Crew:
        try:
            for pipe in self._pipes:
                _result(pipe)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def play(self, play: Play, meanwhile: Callable[[], object] = lambda: None) -> list[Tally]:
        """Let all processes play, and return the tally of each.

        `play.rate` is the total of all processes. `meanwhile` is called as they begin.
        """
        share = Play(**{**vars(play), "rate": play.rate / len(self._pipes)})
        for pipe in self._pipes:
            pipe.send(share)
        meanwhile()
        return [_result(pipe) for pipe in self._pipes]

    def _end(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()


def _result(pipe: Connection) -> Tally:
    """Return the next tally of a process. Raises ConnectionError if the process could not go on."""
    try:
        result = pipe.recv()
    except EOFError:
        raise ConnectionError("a process of the load generator has ended") from None
    if isinstance(result, str):
        raise ConnectionError(result)
    assert isinstance(result, Tally)
    return result


def _work(roles: Sequence[Role], pipe: Connection) -> None:
    try:
        company = Company(roles)
        pipe.send(Tally())
        while True:
            pipe.send(company.play(pipe.recv()))
    except EOFError:
        return
    except OSError as error:
        pipe.send(str(error))
    except Exception:
        pipe.send(traceback.format_exc())
