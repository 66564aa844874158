"""A small part of the error sweep. `make sweep` fails every statement and command in every way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from forkchat.wire import msgid as m
from tests.server import Server, soon, until
from tests.sweep.scenario import SPECIALS, Scenario
from tests.sweep.strikes import Strike
from tests.sweep.sweep import missing, wave
from tests.sweep.world import World
from tests.talk import PASSWORD, Modern, new_name

#: How a statement or command begins, and its fault. These faults most easily leave work half done.
NASTY = [
    ("conversations.locate: SELECT conv", "4999"),
    ("conversations.of", "9001"),
    ("cursors.", "4999"),
    ("COMMIT (friends.add)", "4999-after"),
    ("append.insert_and_commit", "2013"),
    ("EVAL presence.RELEASE", "WEIRD"),
    ("EVAL presence.CLAIM", "null"),
    ("EXPIRE lease:*", "READONLY"),
    ("GET {u#}:session", "array"),
    ("EVAL rates.COUNT", "array"),
    ("SUBSCRIBE g#", "NOPERM"),
    ("PUBLISH g#", "cut-after"),
    ("PUBLISH u#", "array"),
]


def test_sweep() -> None:
    """The scenario sends every statement and command of the source. Everything recovers after some fail."""
    with Server("-w", "1") as owner:
        asyncio.run(_sweep(owner))


def _holder_is_replaced(world: World) -> None:
    """Lose the answer to a takeover.

    The claiming host does not learn that it has the session, and releases it. The old session is replaced.
    """
    holder, other = (Modern(host.port) for host in world.hosts)
    holder.join_in()
    world.seen.to_lose = 1  # the request to end is lost too
    world.seen.strikes = [Strike("EVAL presence.CLAIM", "cut-after", k=3)]  # earlier claims find the holder
    assert other.login(name=holder.name, password=PASSWORD, takeover=True)["errno"] == 11
    world.seen.strikes = []
    assert world.seen.to_lose == 0
    assert holder.push(m.BYE)["reason"] == "replaced"


def _a_worker_starts(world: World, kinds: set[str]) -> None:
    """Start a worker while Redis answers all its commands with nonsense for a while."""
    host = world.hosts[1]
    for fault in ("array", "null"):
        world.seen.strikes = [Strike(kind, fault, seconds=1.0) for kind in sorted(kinds)]
        world.kill_worker(1)
        until(lambda: any(strike.hits for strike in world.seen.strikes), "it has begun to start")
        until(lambda: Modern(host.port).register().login()["errno"] == 0, "it serves")
    world.seen.strikes = []
    assert "worker.start_failed" not in host.log()


async def _who_leaves_is_seen_to(scenario: Scenario) -> None:
    """Check that friends see users leave, even if the answer of Redis is lost.

    The answers to the release of a session and to the drop of a killed worker's session are lost.
    """
    watcher, last, _, first = scenario.people
    on_the_second_host = (first, scenario.classic[1], last)
    world, seen = scenario.world, scenario.history.seen
    for person, kind in zip(
        on_the_second_host, ("EVAL presence.RELEASE", "", "EVAL lease.DROP"), strict=True
    ):
        world.seen.strikes = [strike := Strike(kind, "cut-after")]
        if person is last:
            await asyncio.to_thread(world.kill_worker, 1)
        await person.stop()
        await soon(lambda: seen[watcher.id, person.id] == "offline", f"they are seen to leave: {strike}")  # noqa: B023
        assert strike.hits or not kind
    world.seen.strikes = []
    for person in on_the_second_host:
        await person.start()


def _commits_without_an_answer(world: World) -> None:
    """Lose the answers to commits.

    A committed change is acknowledged, and announced once. A change that was not committed can be requested
    again.
    """

    @contextmanager
    def struck(begin: str, fault: str = "2013") -> Iterator[None]:
        kind = next(kind for kind in sorted(world.seen.counts) if kind.startswith(begin))
        world.seen.strikes = [strike := Strike(kind, fault)]
        yield
        assert strike.hits
        world.seen.strikes = []

    li, bo = (Modern(host.port) for host in world.hosts)
    with struck("COMMIT (users.create)"):
        li.register()
    with struck("addresses.remember: INSERT", "4999"):
        bo.register()
    assert (li.login()["errno"], bo.login()["errno"]) == (0, 0)
    with struck("COMMIT (groups.check_groups)"):
        group = li.done(m.CREATE_GROUP, groupname="ops")["groupid"]
    with struck("COMMIT (groups.check_groups)", "2006"):
        assert li.ask(m.CREATE_GROUP, groupname="more")["errno"] == 11
    li.done(m.CREATE_GROUP, groupname="more")
    assert [each["groupname"] for each in li.done(m.GROUPS, op="list")["groups"]] == ["ops", "more"]
    with struck("SUBSCRIBE g#", "NOPERM"):
        bo.done(m.ADD_GROUP, groupid=group)
    li.push(m.EVENT, kind="group_joined", id=bo.id)
    with struck("COMMIT (groups.bump)"):
        bo.done(m.GROUPS, op="leave", groupid=group)
    li.push(m.EVENT, kind="group_left", id=bo.id)
    with struck("COMMIT (groups.join)"):
        bo.done(m.ADD_GROUP, groupid=group)
    li.push(m.EVENT, kind="group_joined", id=bo.id)
    with struck("COMMIT (friends.add)"):  # a removal ends with the same statement
        li.done(m.GROUPS, op="remove", groupid=group, id=bo.id)
    bo.push(m.EVENT, kind="group_removed")
    with struck("COMMIT (friends.add)"):
        li.done(m.ADD_FRIEND, friendid=bo.id)
    bo.push(m.EVENT, kind="friend_added", id=li.id)
    with struck("COMMIT (tokens.issue)"):
        token = li.done(m.ACCOUNT, op="password", old=PASSWORD, new=new_name())["token"]
    assert Modern(world.hosts[1].port).login(token=token, takeover=True)["errno"] == 0


async def _sweep(owner: Server) -> None:
    async with World(owner) as world:
        await asyncio.to_thread(_a_worker_starts, world, set(world.seen.of_redis))
        scenario = Scenario(world)
        await scenario.start()
        try:
            await asyncio.to_thread(_holder_is_replaced, world)
            await _who_leaves_is_seen_to(scenario)
            assert not await scenario.play(set(SPECIALS) - {"kill", "slow"})
            assert not await scenario.play({"kill"})  # not with `forget`: no worker clears a forgotten lease
            assert not missing(set(world.seen.counts))
            await asyncio.to_thread(_commits_without_an_answer, world)
            kinds = sorted(world.seen.counts)
            strikes = [
                Strike(next(kind for kind in kinds if kind.startswith(begin)), fault)
                for begin, fault in NASTY
            ]
            result = await wave(scenario, strikes, set())
            assert not result.wrong, result
            assert all(strike.hits for strike in strikes), strikes
        finally:
            await scenario.stop()
