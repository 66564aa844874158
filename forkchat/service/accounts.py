"""HELLO, REG, ACCOUNT: greeting, registration and password changes."""

from __future__ import annotations

import random
from functools import partial

from forkchat import log
from forkchat.errors import BadRequest, Failed, Unavailable, Unsupported
from forkchat.jobs import background, retrying
from forkchat.service import attempts
from forkchat.service.context import Context
from forkchat.service.dialects import Dialects
from forkchat.service.history import PAGE
from forkchat.service.passwords import Enrolled, TooCommon, digest, enrol, new_token
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
from forkchat.service.session import Session
from forkchat.wire import msgid as m
from forkchat.wire.requests import Request

VERSION = 1


class Accounts:
    def __init__(self, context: Context, registry: Registry, dialects: Dialects):
        self._context = context
        self._dialects = dialects
        registry.update(
            {
                m.HELLO: self.hello,
                m.REG: self.register,
                m.ACCOUNT: self.account,
                m.PING: self.ping,
                m.PONG: self.pong,
            }
        )

    def hello(self, peer: Peer, request: Request) -> Fields:
        """Greet the peer, which is modern from now on even if HELLO is refused.

        Raises Unsupported if the peer's version is too old. Raises Unavailable while the epoch is unknown.
        """
        peer.greet(self._context.epoch)
        if request.get("ver", VERSION) < VERSION:
            raise Unsupported("this version of the protocol is no longer spoken")
        if not self._context.epoch:
            raise Unavailable("MySQL cannot be reached", retry_after=random.uniform(1, 3))
        limits = self._context.config.limits
        return {
            "ver": VERSION,
            "min": VERSION,
            "epoch": self._context.epoch,
            "heartbeat": self._context.config.session.heartbeat,
            "limits": {"frame": limits.frame, "text": limits.text, "page": PAGE},
        }

    def ping(self, peer: Peer, request: Request) -> Fields:
        return {}

    def pong(self, peer: Peer, request: Request) -> Fields:
        """Ignore the PONG, because its arrival has already shown that the peer is alive."""
        return None

    async def register(self, peer: Peer, request: Request) -> Fields:
        context, name = self._context, request["name"]
        async with attempts.unhurried(context):
            enrolled = await self._enrol(peer, name, request["password"])
        user = await context.store.users.create(name, enrolled.password, enrolled.skeletons)
        remember = partial(attempts.remember, context, user, peer)
        background(retrying(context.loop, remember, "addresses.remember"), "addresses.remember")
        log.info("account.registered", user=user, peer=peer.address)
        if peer.is_modern:
            return {"id": user, "name": name}
        self._dialects.registered(peer, user)
        peer.write_json(peer.classic.registered(user))
        return None

    async def _enrol(self, peer: Peer, name: str, password: str) -> Enrolled:
        """Check and hash the password of a new account.

        A password that was refused as too common counts as a registration, because rating it blocks the
        worker. Other failures do not count.
        """
        context = self._context
        limit = context.config.limits.register_rate
        attempt = await context.rates.take(attempts.address_buckets(context, "register:", peer.host, limit))
        try:
            return await enrol(context.hashing, context.config.passwords, name, password)
        except TooCommon:
            raise
        except BaseException:
            context.rates.give_back(attempt)
            raise

    async def account(self, peer: Peer, request: Request) -> Fields:
        session, op = peer.session, request["op"]
        assert session is not None
        if op == "password":
            return await self._change_password(peer, session, request)
        if op == "end_others":
            await self._context.store.tokens.revoke_others(session.user, session.token)
            return {}
        raise BadRequest("op must be password or end_others")

    async def _change_password(self, peer: Peer, session: Session, request: Request) -> Fields:
        """Change the password, which revokes all tokens. This session gets a new token."""
        if "old" not in request or "new" not in request:
            raise BadRequest("old or new is missing")
        context = self._context
        await context.rates.count(session.user, "changes", context.config.limits.change_rate)
        if await attempts.check(context, peer, session.user, request["old"]) is None:
            raise Failed("the old password is wrong")
        enrolled = await enrol(context.hashing, context.config.passwords, session.name, request["new"])
        token, lifetime = new_token(), context.config.session.token_lifetime
        hashed = digest(token)
        await context.store.tokens.begin_anew(session.user, enrolled.password, hashed, lifetime)
        session.token = hashed
        log.info("account.password_changed", user=session.user)
        return {"token": token}
