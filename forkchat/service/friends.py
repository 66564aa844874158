"""ADD_FRIEND, FRIENDS, LOOKUP: the users whom a user has added, and the search for users to add."""

from __future__ import annotations

from typing import Any

from forkchat.errors import BadRequest, NotFound
from forkchat.service import attempts, payload
from forkchat.service.channels import user_channel
from forkchat.service.context import Context
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
from forkchat.wire import msgid as m
from forkchat.wire.frames import line
from forkchat.wire.requests import Request

#: Friends, groups or members on a page of a list.
LIST_PAGE = 200


def state_of(user: int, online: set[int]) -> str:
    return "online" if user in online else "offline"


class Friends:
    def __init__(self, context: Context, registry: Registry):
        self._context = context
        registry.update({m.ADD_FRIEND: self.add, m.FRIENDS: self.friends, m.LOOKUP: self.look_up})

    async def add(self, peer: Peer, request: Request) -> Fields:
        """Add a friend, and tell them. Adding a friend twice has the effect of adding them once."""
        context, session, friend = self._context, peer.session, request["friendid"]
        assert session is not None
        if friend == session.user:
            raise BadRequest("this is yourself")
        limits = context.config.limits
        await context.rates.count(session.user, "changes", limits.change_rate)
        name, is_new = await context.store.friends.add(session.user, friend, limits.friends)
        session.may_see = None
        if is_new:
            event = {"msgid": m.EVENT, "kind": "friend_added", "id": session.user, "name": session.name}
            context.router.publish(user_channel(friend), payload.event(line(event)))
        here = await context.presence.here([friend])
        return {"id": friend, "name": name, "state": state_of(friend, here)}

    async def friends(self, peer: Peer, request: Request) -> Fields:
        session, op = peer.session, request["op"]
        assert session is not None
        user = session.user
        if op == "list":
            return await self._list(user, request.get("after", 0))
        if op == "remove":
            if "friendid" not in request:
                raise BadRequest("friendid is missing")
            await self._context.store.friends.remove(user, request["friendid"])
            session.may_see = None
            return {}
        raise BadRequest("op must be list or remove")

    async def _list(self, user: int, after: int) -> Fields:
        found = await self._context.store.friends.page(user, after, LIST_PAGE + 1)
        return {"friends": await self._described(found[:LIST_PAGE]), "more": len(found) > LIST_PAGE}

    async def of(self, user: int) -> list[dict[str, Any]]:
        """Return all of a user's friends with their states, as answers list them."""
        return await self._described(await self._context.store.friends.of(user))

    async def _described(self, friends: list[tuple[int, str]]) -> list[dict[str, Any]]:
        here = await self._context.presence.here([friend for friend, _ in friends])
        return [{"id": f, "name": name, "state": state_of(f, here)} for f, name in friends]

    async def look_up(self, peer: Peer, request: Request) -> Fields:
        key = request.get("name", request.get("id"))
        if key is None:
            raise BadRequest("name or id is missing")
        user = await attempts.find(self._context, key)
        if user is None:
            raise NotFound("no such user")
        return {"id": user.id, "name": user.name}
