"""CREATE_GROUP, ADD_GROUP, GROUPS: groups and their members."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from forkchat.errors import BadRequest, Refused, Unavailable
from forkchat.jobs import background, report, retrying
from forkchat.runtime import Future, gather
from forkchat.service import payload
from forkchat.service.channels import user_channel
from forkchat.service.context import Context
from forkchat.service.friends import LIST_PAGE, state_of
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
from forkchat.service.session import Session
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, parse_key
from forkchat.wire.frames import line
from forkchat.wire.requests import Request

T = TypeVar("T")


class Groups:
    def __init__(self, context: Context, registry: Registry):
        self._context = context
        registry.update({m.CREATE_GROUP: self.create, m.ADD_GROUP: self.join, m.GROUPS: self.groups})

    async def create(self, peer: Peer, request: Request) -> Fields:
        session, name = _session(peer), request["groupname"]
        limits, description = self._context.config.limits, request.get("groupdesc", "")
        await self._context.rates.count(session.user, "changes", limits.change_rate)
        create = self._context.store.groups.create
        group = await self._stored(session, create(session.user, name, description, limits.groups))
        await self._enter(session, group, 0, 0)
        return {"groupid": group, "conv": group_key(group), "groupname": name}

    async def join(self, peer: Peer, request: Request) -> Fields:
        """Make the user a member from the next message on, and tell the other members.

        Joining twice has the effect of joining once.
        """
        session, group = _session(peer), request["groupid"]
        limits = self._context.config.limits
        await self._context.rates.count(session.user, "changes", limits.change_rate)
        caps = limits.groups, limits.members
        joined = await self._stored(session, self._context.store.groups.join(session.user, group, caps))
        if joined.is_new:
            # This worker may not know yet that the user had left the group.
            # Messages from that time are not for them.
            self._context.delivery.leave(session, group)
        if group not in session.groups:
            await self._enter(session, group, joined.last, joined.version)
        if joined.is_new:
            self._announce(session, "group_joined", group, session.user, session.name)
        return {
            "groupid": group,
            "conv": group_key(group),
            "groupname": joined.group.name,
            "groupdesc": joined.group.description,
            "role": joined.group.role,
            "first": joined.first,
            "last": joined.last,
        }

    async def groups(self, peer: Peer, request: Request) -> Fields:
        session, op = _session(peer), request["op"]
        if op == "list":
            after, size = request.get("after", 0), LIST_PAGE
            found = await self._context.store.groups.page(session.user, after, size + 1)
            return {"groups": group_fields(found[:size]), "more": len(found) > size}
        if op not in ("members", "leave", "remove", "readmit"):
            raise BadRequest("op must be list, members, leave, remove or readmit")
        if "groupid" not in request:
            raise BadRequest("groupid is missing")
        group = request["groupid"]
        if op == "members":
            users = await self.members(group, session.user, request.get("after", 0), LIST_PAGE + 1)
            return {"users": users[:LIST_PAGE], "more": len(users) > LIST_PAGE}
        if op == "leave":
            return await self._leave(session, group)
        if "id" not in request:
            raise BadRequest("id is missing")
        if op == "remove":
            return await self._remove(session, group, request["id"])
        await self._context.store.groups.readmit(session.user, group, request["id"])
        return {}

    async def members(self, group: int, asker: int, after: int, size: int) -> list[dict[str, Any]]:
        """Return the first `size` members above the id `after`, with roles and states, as answers list them.

        Raises NotMember.
        """
        rows = await self._context.store.groups.members(group, asker, after, size)
        here = await self._context.presence.here([user for user, _, _ in rows])
        return [{"id": u, "name": n, "role": r, "state": state_of(u, here)} for u, n, r in rows]

    async def _stored(self, session: Session, stored: Future[T]) -> T:
        """Await a change of the store and return its result.

        If the outcome is unknown, find out in the background whether the user became a member.
        """
        try:
            return await stored
        except Exception as error:
            if isinstance(error, Unavailable) or not isinstance(error, Refused):
                self._retry(partial(self._follow_all, session))
            raise

    async def _enter(self, session: Session, group: int, last: int, version: int) -> None:
        """Follow the group before the answer, by the same sequence as at a login.

        A failure is retried later, because the user is a member: a refusal would make the client ask again.
        """
        try:
            await self._follow(session, group, last, version)
        except Exception as error:
            report("groups.follow", error)
            self._retry(partial(self._follow, session, group, last, version))

    def _retry(self, follow: Callable[[], Awaitable[None]]) -> None:
        background(retrying(self._context.loop, follow, "groups.follow"), "groups.follow")

    async def _follow_all(self, session: Session) -> None:
        """Follow the groups of which the user is a member by now and which are not followed yet."""
        for standing in await self._context.store.conversations.of(session.user):
            group = parse_key(standing.conv).group
            if group and group not in session.groups:
                await self._follow(session, group, standing.recv, standing.version)

    async def _follow(self, session: Session, group: int, last: int, version: int) -> None:
        delivery = self._context.delivery
        if session.ended is not None:
            return
        await gather(delivery.follow(session, [group]))
        if session.ended is not None or group not in session.groups:
            return
        delivery.join(session, group, last, version)
        # This worker missed what was published between the join and the subscription, even a removal.
        standing = await self._context.store.conversations.standing((session.user, group_key(group)))
        if session.ended is None and group in session.groups:
            delivery.joined(session, group, standing)

    async def _leave(self, session: Session, group: int) -> Fields:
        await self._context.store.groups.leave(session.user, group)
        self._announce(session, "group_left", group, session.user, session.name)
        self._context.delivery.leave(session, group)
        return {}

    async def _remove(self, session: Session, group: int, user: int) -> Fields:
        name = await self._context.store.groups.remove(session.user, group, user)
        # The event goes out before the change of members, so that the removed member still gets it.
        self._announce(session, "group_removed", group, user, name)
        return {}

    def _announce(self, by: Session, kind: str, group: int, user: int, name: str) -> None:
        router, conv = self._context.router, group_key(group)
        by.peer.spend(2 * self._context.delivery.weight(conv))  # members get an event, and are read again
        event = {"msgid": m.EVENT, "kind": kind, "groupid": group, "conv": conv, "id": user, "name": name}
        if kind == "group_removed":
            # Use the user's own channel: they may have left the group's channel before the event comes.
            router.publish(user_channel(user), payload.event(line(event)))
        router.publish(conv, payload.event(line(event), but=user))
        router.publish(conv, payload.members_changed(conv))


def group_fields(groups: list[Any]) -> list[dict[str, Any]]:
    """Return groups as modern answers list them."""
    return [{"id": g.id, "groupname": g.name, "groupdesc": g.description, "role": g.role} for g in groups]


def _session(peer: Peer) -> Session:
    assert peer.session is not None
    return peer.session
