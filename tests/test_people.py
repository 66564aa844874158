"""The clients of a fault round record what they see in the order in which it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from tests.faults.clients import Modern
from tests.faults.history import History

LI, BO = 12, 57


def answers(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the frames that answer a request.

    After a login, or after adding a friend, BO is offline, and comes online with the next frame.
    """
    answer = {"msgid": request["msgid"] + 1, "errno": 0, "rid": request["rid"]}
    presence = {"msgid": m.PRESENCE, "id": BO, "name": "bo", "state": "online"}
    if request["msgid"] == m.LOGIN:
        friends = [{"id": BO, "name": "bo", "state": "offline"}]
        return [answer | {"id": LI, "token": "t", "friends": friends, "convs": []}, presence]
    if request["msgid"] == m.ADD_FRIEND:
        return [answer | {"id": BO, "name": "bo", "state": "offline"}, presence]
    return [answer | {"epoch": "e"}]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while request := await reader.readline():
        writer.write(b"".join(map(line, answers(orjson.loads(request)))))
    writer.close()


async def seen_after(befriends: bool) -> str:
    """Return the state in which LI sees BO at the end."""
    history = History()
    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        li = Modern("li", 1, history, server.sockets[0].getsockname())
        bo = Modern("bo", 2, history, ("127.0.0.1", 0))
        bo.id = BO
        await li.start()
        try:
            if befriends:
                history.seen.clear()
                await li.befriend(bo)
            return history.seen[LI, BO]
        finally:
            await li.stop()


def test_presence_that_follows_a_login_is_newer() -> None:
    assert asyncio.run(seen_after(befriends=False)) == "online"


def test_presence_that_follows_being_added_is_newer() -> None:
    assert asyncio.run(seen_after(befriends=True)) == "online"
