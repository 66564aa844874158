"""LOGIN, LOGINOUT: authentication, the claim of the session, and what the user missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forkchat import log
from forkchat.errors import AlreadyOnline, BadRequest, Failed, TokenExpired, Unavailable
from forkchat.runtime import Turns, gather, sleep, wait
from forkchat.service import attempts, payload
from forkchat.service.channels import user_channel
from forkchat.service.context import Context
from forkchat.service.dialects import Dialects
from forkchat.service.friends import Friends
from forkchat.service.gate import Gate
from forkchat.service.groups import Groups, group_fields
from forkchat.service.history import conv_fields, is_open
from forkchat.service.offline import Offline
from forkchat.service.passwords import digest, new_token
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
from forkchat.service.session import Session
from forkchat.wire import msgid as m
from forkchat.wire.requests import Request

if TYPE_CHECKING:
    from forkchat.bus.presence import Claim
    from forkchat.store import Group, Standing, User

#: Conversations that the login answer lists at most. SYNC pages through all of them.
_MAX_CONVS = 500
#: Seconds within which a worker that has lost its subscriptions restores them.
_ORPHANED = 0.5
#: Seconds before each check whether a session that is taken over has ended.
#: Logins that check at the same time, at most. This limit is reached when all clients of a host come at once.
#: Further logins replace the other session at once, and may receive recently confirmed messages again.
_GIVING_WAY, _MOST_LOOKING = (0.01, 0.03, 0.1, 0.3, 0.6), 50
#: Seconds that a logout's answer waits for the end of the session, so that the next login is not refused.
_LEAVING = 3.0
#: Attempts to attach a session. An attempt fails if the user joins a group elsewhere during it.
_ATTACH_TRIES = 5


class Login:
    def __init__(
        self,
        context: Context,
        registry: Registry,
        gate: Gate,
        friends: Friends,
        groups: Groups,
        dialects: Dialects,
    ):
        self._context = context
        self._dialects = dialects
        self._gate = gate
        self._friends = friends
        self._offline = Offline(context, groups)
        self._turns = Turns(context.loop)
        self._looking = 0  # logins that wait for another session to end
        registry.update({m.LOGIN: self.login, m.LOGINOUT: self.log_out})

    async def login(self, peer: Peer, request: Request) -> Fields:
        """Log the user in and send the answer here, because queued messages must follow it at once."""
        context = self._context
        async with attempts.unhurried(context):
            user, token = await self._authenticate(peer, request)
            await context.rates.count(user.id, "logins", context.config.limits.session_rate)
        session = None
        numbering = "" if peer.is_modern else await self._dialects.recall(peer, user.id)
        try:
            # Logins of a user take turns here: otherwise another login could claim later, but attach earlier.
            async with self._turns.of(user.id):
                claim = await self._claim(user, peer, bool(request.get("takeover")))
                session = Session(peer, user.id, user.name, claim.token, digest(token) if token else b"")
                session.numbering = numbering
                groups, standings = await self._attach(session)
            await self._open(session, request, user.password, token, groups, standings)
            if not session.open():
                peer.close("slow")
        except BaseException:
            if session is not None:
                if peer.session is session:  # the login may have been answered
                    peer.close("login failed")
                self._gate.end(session, "login failed")
            raise
        self._context.roster.arrived(claim, user.name)
        log.info("session.start", user=user.id, peer=peer.address, form=peer.form.value)
        return None

    async def _open(
        self,
        session: Session,
        request: Request,
        password: str,
        token: str,
        groups: list[Group],
        standings: list[Standing],
    ) -> None:
        """Answer the login. `password` is the stored hash."""
        peer, user = session.peer, session.user
        burst = await self._context.rates.burst(user, self._context.config.limits)
        friends = await self._friends.of(user)
        if not peer.is_modern:
            await self._offline.answer(session, friends, groups, standings)
        elif token != request.get("token"):
            # Issue the token last: it may end another device's token, which a refused login must not do.
            limits, issue = self._context.config.session, self._context.store.tokens.issue
            await issue(user, password, session.token, limits.token_lifetime, limits.tokens)
        if peer.is_closed:
            raise Unavailable("the client has gone")
        if session.ended is not None:
            raise AlreadyOnline("this account has logged in elsewhere")
        if peer.is_modern and peer.epoch != self._context.epoch:
            self._gate.send_away(session)
            raise Unavailable("there is a new epoch")
        peer.opened(session, burst)
        if peer.is_modern:
            peer.answer(request, _modern(session, token, friends, groups, standings))
        else:
            self._dialects.remember(session)
        self._gate.opened(session)

    async def log_out(self, peer: Peer, request: Request) -> Fields:
        """Revoke the token and end the session. The connection may log in again.

        Without Redis, the next login may be refused for a while. The session has ended on this worker, and
        its claim is released as soon as Redis is back.
        """
        session = peer.session
        assert session is not None
        if session.token:
            await self._context.store.tokens.revoke(session.token)
        peer.left()
        await wait(self._context.loop, self._gate.end(session, "logout"), _LEAVING)
        return {}

    async def _authenticate(self, peer: Peer, request: Request) -> tuple[User, str]:
        """Return the user and the session's token. A new token is not issued yet.

        A classic client has the token "". Raises Failed if the name or password is wrong, and BadRequest if
        one is missing. Raises TokenExpired if the token is not valid, and RateLimited after too many
        attempts.
        """
        context, token = self._context, request.get("token")
        if token is not None:
            user = await context.store.tokens.redeem(digest(token))
            if user is None:
                raise TokenExpired("log in with the password")
            return user, token
        key, password = request.get("id", request.get("name")), request.get("password")
        if key is None or password is None:
            raise BadRequest("id or name, and password, are needed")
        user = await attempts.check(context, peer, key, password)
        if user is None:
            raise Failed("wrong name or password")
        return user, new_token() if peer.is_modern else ""

    async def _claim(self, user: User, peer: Peer, takeover: bool) -> Claim:
        """Claim the user's session. Raises AlreadyOnline if another session keeps it.

        With `takeover`, end the other session first. Otherwise probe its holder; if it is dead, the next
        attempt succeeds. A session whose worker does not listen is replaced at once.
        """
        context = self._context
        token = context.presence.new_token()
        at_once = takeover and self._looking >= _MOST_LOOKING
        try:
            try:
                return await context.presence.claim(user.id, token, is_new=True, takeover=at_once)
            except AlreadyOnline as refused:
                if takeover:
                    await self._send_away(user.id)
                elif not refused.may_be_orphaned or await self._has_listener(user.id):
                    raise
                else:
                    log.info("session.orphaned", user=user.id)
                return await context.presence.claim(user.id, token, is_new=True, takeover=True)
        except AlreadyOnline:
            raise
        except BaseException:
            self._gate.abandon(user.id, token)
            raise

    async def _send_away(self, user: int) -> None:
        """End the user's other session, and give its worker time to write the confirmed cursors.

        The next session then starts where that one stopped. A session that does not end in time is replaced
        anyway.
        """
        presence, router, loop = self._context.presence, self._context.router, self._context.loop
        holder = await presence.holder(user)
        if await router.publish_counted(user_channel(user), payload.kick(holder)):
            self._looking += 1
            try:
                for pause in _GIVING_WAY:
                    await sleep(loop, pause)
                    if await presence.holder(user) != holder:
                        return
            finally:
                self._looking -= 1

    async def _has_listener(self, user: int) -> bool:
        """Probe the user's other session. Return whether its worker listens.

        A killed worker loses its channels long before its lease ends. A worker that only lost its
        subscriptions restores them in a moment, so that the second probe reaches it.
        """
        if await self._probe(user):
            return True
        await sleep(self._context.loop, _ORPHANED)
        return bool(await self._probe(user))

    async def _probe(self, user: int) -> int:
        """Probe the user's other session. Return how many workers received the probe."""
        holder = await self._context.presence.holder(user)
        return await self._context.router.publish_counted(user_channel(user), payload.probe(holder))

    async def _attach(self, session: Session) -> tuple[list[Group], list[Standing]]:
        """Follow new messages first, then read the stored state (see `Delivery`).

        The groups are read before they are followed, and are compared with the store afterwards. Meanwhile
        the user may have been removed from a group, or may have joined another group elsewhere.

        Raises AlreadyOnline if another session has taken over, and Unavailable if the groups change too fast.
        """
        context, user = self._context, session.user
        delivery, store = context.delivery, context.store
        joined: set[int] = set()
        for _ in range(_ATTACH_TRIES):
            groups = await store.groups.of(user)
            if session.ended is not None:  # it was attached before, and has released all
                raise AlreadyOnline("this account has logged in elsewhere")
            await gather(delivery.follow(session, [*joined, *(group.id for group in groups)]))
            older = delivery.sessions.get(user)
            if older is not None and older is not session:
                self._gate.replaced(older)
            if session.ended is not None:
                raise AlreadyOnline("this account has logged in elsewhere")
            delivery.attach(session)
            if not await context.presence.is_held(user, session.claim):
                raise AlreadyOnline("this account is logging in elsewhere")
            standings = await store.conversations.of(user)
            joined = delivery.settle(session, standings)
            if not joined:
                return [group for group in groups if group.id in session.groups], standings
        raise Unavailable("the groups of this account change too fast")


def _modern(
    session: Session,
    token: str,
    friends: list[dict[str, Any]],
    groups: list[Group],
    standings: list[Standing],
) -> dict[str, Any]:
    convs = [conv_fields(standing) for standing in standings if is_open(standing)]
    return {
        "id": session.user,
        "name": session.name,
        "token": token,
        "friends": friends,
        "groups": group_fields(groups),
        "convs": convs[:_MAX_CONVS],
    }
