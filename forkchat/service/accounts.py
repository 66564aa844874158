"""HELLO, REG, ACCOUNT: greeting, making an account, changing its password."""

from __future__ import annotations

import random

from forkchat import log
from forkchat.errors import BadRequest, Failed, Unavailable, Unsupported
from forkchat.service.context import Context
from forkchat.service.dialects import Dialects
from forkchat.service.history import PAGE
from forkchat.service.passwords import digest, hash_password, new_token, verify
from forkchat.service.peer import Peer
from forkchat.service.registry import Fields, Registry
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
        """The peer is modern from here on, whatever the answer."""
        peer.greet()
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
        """Its coming was what mattered: the peer has been heard of."""
        return None

    async def register(self, peer: Peer, request: Request) -> Fields:
        context = self._context
        await context.rates.check("register", [peer.host], context.config.limits.register_rate)
        await context.rates.count("register", [peer.host])
        password = await hash_password(context.hashing, request["password"])
        user = await context.store.users.create(request["name"], password)
        log.info("account.registered", user=user, peer=peer.address)
        if peer.is_modern:
            return {"id": user}
        self._dialects.registered(peer, user)
        peer.write_json(peer.classic.registered(user))
        return None

    async def account(self, peer: Peer, request: Request) -> Fields:
        """A new password ends all tokens; this session gets a new one."""
        if request["op"] != "password":
            raise BadRequest("op must be password")
        if "old" not in request or "new" not in request:
            raise BadRequest("old or new is missing")
        context, session = self._context, peer.session
        assert session is not None
        user = await context.store.users.find(session.user)
        if not await verify(context.hashing, peer, user and user.password, request["old"]):
            raise Failed("the old password is wrong")
        new = await hash_password(context.hashing, request["new"])
        await context.store.users.set_password(session.user, new)
        await context.store.tokens.revoke_all(session.user)
        token = new_token()
        session.token = digest(token)
        await context.store.tokens.issue(session.user, session.token, context.config.session.token_lifetime)
        log.info("account.password_changed", user=session.user)
        return {"token": token}
