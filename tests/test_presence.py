"""Claims in a real Redis: announcements are right although an answer of Redis was lost."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
import redis

from forkchat.bus import Bus, keys
from forkchat.bus.presence import Claim
from forkchat.errors import Unavailable
from forkchat.net.lane import ThreadLane
from forkchat.net.loop import EventLoop
from forkchat.process.embedded import run_dir
from forkchat.runtime import spawn
from tests.server import Server


class Worker:
    """A worker's bus on a loop of its own, driven call by call."""

    def __init__(self, socket: str):
        self._loop = EventLoop()
        self._bus = Bus(
            self._loop, ThreadLane(self._loop, "redis"), f"unix://{quote(socket)}?db=7", "h:1:0:1"
        )
        self.presence = self._bus.presence
        self.redis = redis.Redis(unix_socket_path=socket, db=7)
        self._users = count(1)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        future = spawn(work)
        future.add_done_callback(lambda _: self._loop.stop())
        if not future.done():
            self._loop.run()
        return future.result()

    def begin(self) -> None:
        """Start as a worker whose lease is the first that Redis knows."""
        self.redis.flushdb()
        self.do(self._bus.start())
        self.register()

    def register(self) -> None:
        """Register the lease, and clear up the leases that it replaces."""
        self.do(self._bus.lease.begin())

    def close(self) -> None:
        self._bus.close()
        self.redis.close()
        self._loop.close()

    def user(self) -> int:
        """Return a new user as a snapshot may have them: announced to their friends, without a session."""
        user = next(self._users)
        self.redis.set(keys.told(user), "")
        return user

    def has_known(self, seconds: int) -> None:
        """Make Redis believe that this run has had its data for `seconds`."""
        now = self.redis.time()[0]
        self.redis.set(keys.BORN, f"{self._bus.lease.run} {now - seconds}")

    def claim(self, user: int, is_new: bool) -> Claim:
        claim: Claim = self.do(self.presence.claim(user, f"token{user}", is_new))
        return claim


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Server("-w", "1") as server:
        worker = Worker(str(run_dir(server.data_dir) / "redis.sock"))
        try:
            worker.begin()
            yield worker
        finally:
            worker.close()


@pytest.fixture(params=["young", "old"])
def is_young(worker: Worker, request: pytest.FixtureRequest) -> bool:
    """True if Redis has just come back. All users are then told again which friends are online."""
    worker.has_known(0 if request.param == "young" else 60)
    return bool(request.param == "young")


@pytest.mark.parametrize("is_new", [True, False], ids=["login", "registered again"])
def test_who_claims_again_is_answered_the_same(worker: Worker, is_young: bool, is_new: bool) -> None:
    """A repeated claim gets the same answer, because the first was lost and nobody was told."""
    user = worker.user()
    answers = [worker.claim(user, is_new).was_here for _ in range(3)]
    assert answers == [is_young and not is_new] * 3


def test_who_was_announced_needs_no_announcement(worker: Worker) -> None:
    user = worker.user()
    assert not worker.claim(user, is_new=True).was_here
    worker.do(worker.presence.announce(user, True, [], b""))
    assert worker.claim(user, is_new=False).was_here
    worker.do(worker.presence.release(user, f"token{user}"))
    assert worker.claim(user, is_new=True).was_here  # gone only for a moment


def test_a_clock_that_was_set_back_makes_no_run_young(worker: Worker) -> None:
    worker.has_known(-3600)
    assert not worker.claim(worker.user(), is_new=False).was_here


def test_lease_is_ended_by_the_worker_that_clears_it_up(worker: Worker) -> None:
    """A lease ends only with its clean-up, so it survives a clean-up that fails.

    Other workers would take a lease that ended earlier for one that has been dead for long.
    """
    client, dead = worker.redis, "h:1:0:0"
    client.sadd(keys.LEASES, dead)
    client.set(keys.lease(dead), "")
    client.lpush(keys.reap(dead), "makes Redis refuse the clearing")
    with pytest.raises(Unavailable):
        worker.register()
    assert client.exists(keys.lease(dead))
    client.delete(keys.reap(dead))
    worker.register()
    assert not client.exists(keys.lease(dead))
