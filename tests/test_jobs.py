"""Futures, turns, and jobs that are retried until they succeed."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from forkchat import jobs, log
from forkchat.errors import Unavailable
from forkchat.jobs import Job, retrying
from forkchat.net.loop import EventLoop
from forkchat.runtime import Future, Turns, spawn


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("forkchat")
    before, logger.propagate = logger.propagate, True
    log.set_level("debug")
    jobs._logged.clear()
    yield caplog
    logger.propagate = before


def test_error_that_nobody_looks_at_is_logged_with_its_trace(logged: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise KeyError("lost")

    spawn(fails())
    gc.collect()
    assert "future.error_unseen" in logged.text
    assert "KeyError: 'lost'" in logged.text
    assert "in fails" in logged.text


@pytest.mark.parametrize("look", [Future.exception, Future.result])
def test_error_that_is_looked_at_or_answered_is_not_logged(
    logged: pytest.LogCaptureFixture, look: object
) -> None:
    seen, refused = Future[None](), Future[None]()
    seen.set_exception(KeyError("seen"))
    refused.set_exception(Unavailable("away"))
    with pytest.raises(KeyError):
        raise seen.exception() or seen.result()  # type: ignore[misc]
    del seen, refused
    gc.collect()
    assert logged.text == ""


def test_callback_that_raises_keeps_no_other_from_running(logged: pytest.LogCaptureFixture) -> None:
    future = Future[int]()
    called: list[Future[int]] = []

    def bad(_: object) -> None:
        raise ValueError("bad callback")

    future.add_done_callback(bad)
    future.add_done_callback(called.append)
    future.set_result(1)
    assert called == [future]
    assert "bad callback" in logged.text


@pytest.mark.parametrize(
    "error", [Unavailable("away"), KeyError("ours"), TypeError("a reply of another type")]
)
def test_job_is_retried_whatever_it_raises(
    loop: EventLoop, logged: pytest.LogCaptureFixture, error: Exception
) -> None:
    runs: list[int | None] = []

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise error
        loop.stop()

    job = Job(loop, "test", work)
    job.want()
    loop.run()
    assert runs == [0, 1, 2]
    assert logged.text.count(str(error)) >= 1
    assert len(logged.records) == 1  # logged once, though the job failed twice


def test_job_runs_again_if_wanted_while_it_runs_and_never_twice_at_a_time(loop: EventLoop) -> None:
    begun: list[Future[None]] = []

    async def work() -> None:
        begun.append(Future())
        await begun[-1]

    job = Job(loop, "test", work)
    for _ in range(3):
        job.want()
    assert len(begun) == 1
    begun[0].set_result(None)
    assert len(begun) == 2  # one run for both requests during the first run
    begun[1].set_result(None)
    assert len(begun) == 2
    job.want()
    assert len(begun) == 3


def test_job_is_wanted_while_a_retry_waits(loop: EventLoop) -> None:
    """A job that waits for its retry needs no further run."""
    runs: list[int | None] = []

    async def work() -> None:
        runs.append(None)
        if len(runs) == 1:
            raise Unavailable("away")
        loop.call_later(0.05, loop.stop)

    job = Job(loop, "test", work)
    job.want()
    job.want()
    loop.run()
    assert len(runs) == 2


def test_retrying_answers_with_the_first_result(loop: EventLoop) -> None:
    outcomes: list[object] = [KeyError(), Unavailable("away"), 7]

    async def attempt() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    done = spawn(retrying(loop, attempt, "test"))
    done.add_done_callback(lambda _: loop.stop())
    loop.run()
    assert done.result() == 7


def test_turns_of_a_key_come_one_after_the_other(loop: EventLoop) -> None:
    turns, order = Turns(loop), []
    gates = {name: Future[None]() for name in "abc"}

    async def take(name: str, key: str) -> None:
        async with turns.of(key):
            order.append(name)
            await gates[name]
            if name == "a":
                raise KeyError(name)

    first, second, other = (spawn(take(name, key)) for name, key in (("a", "k"), ("b", "k"), ("c", "l")))
    assert order == ["a", "c"]
    gates["a"].set_result(None)  # `a` raises, and `b` has its turn all the same
    _turn(loop)
    assert isinstance(first.exception(), KeyError)
    assert order == ["a", "c", "b"]
    gates["b"].set_result(None)
    gates["c"].set_result(None)
    assert second.done() and other.done()
    assert not turns._last


def test_a_thousand_turns_that_fail_at_once(loop: EventLoop) -> None:
    """All turns of a key may fail, as logins of one user do while Redis is away."""
    turns, gate = Turns(loop), Future[None]()

    async def first() -> None:
        async with turns.of("k"):
            await gate

    async def fails() -> None:
        async with turns.of("k"):
            raise Unavailable("away")

    tasks = [spawn(first()), *(spawn(fails()) for _ in range(1000))]
    gate.set_result(None)
    for _ in tasks:
        _turn(loop)
    assert {type(task.exception()) for task in tasks} == {type(None), Unavailable}
    assert not turns._last


def _turn(loop: EventLoop) -> None:
    loop.post(loop.stop)
    loop.run()
