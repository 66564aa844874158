"""The end of sessions (logout, replacement, loss, drain), and the renewal of claims that are still ours."""

from __future__ import annotations

import random

from forkchat import log
from forkchat.errors import AlreadyOnline
from forkchat.jobs import Job, background, each, report, retrying
from forkchat.runtime import Future, spawn
from forkchat.service.context import Context
from forkchat.service.session import Session

#: Sessions that are claimed again at the same time.
_CHUNK = 200
#: Seconds over which the reconnects of clients that are sent away are spread.
_COME_BACK = 5.0


class Gate:
    """The place where sessions end. A session ends once.

    Its claim is released only after its cursors were written. The user's next session, on any worker, then
    starts where this one stopped.
    """

    def __init__(self, context: Context):
        self._context = context
        self._classic: set[Session] = set()
        self._holding_on = Job(context.loop, "gate.hold_on", self._reclaim_all)
        self.ending = 0  # sessions that have ended, but are not released yet
        context.loop.call_later(1.0, self._settle_classic)

    def opened(self, session: Session) -> None:
        """Note that the session's login was answered. A classic session's cursors are moved from now on."""
        if not session.peer.is_modern:
            self._classic.add(session)

    def end(self, session: Session, reason: str) -> Future[None]:
        """Release all that the session holds.

        May be called any number of times, at any point after the claim. The returned future is done when the
        session's cursors are written and its claim is released.
        """
        if session.ended is not None:
            return session.ended
        session.ended = Future()
        self.ending += 1
        log.info("session.end", user=session.user, reason=reason, peer=session.peer.address)
        acts = self._settle, self._classic.discard, self._context.delivery.detach
        each(acts, lambda act: act(session), "gate.end")
        background(self._release(session), "gate.end").add_done_callback(self._released)
        return session.ended

    async def _release(self, session: Session) -> None:
        try:
            await self._context.store.cursors.flush_user(session.user)
        except Exception as error:  # the cursors are kept, and written later with other users'
            report("gate.cursors", error)
        try:
            await self._record_debt(session)
            await self.release(session.user, session.claim)
        finally:
            assert session.ended is not None
            session.ended.set_result(None)

    async def _record_debt(self, session: Session) -> None:
        """Record for the account what the session owes for its last requests.

        The account's next session begins with this debt.
        """
        if debt := session.peer.debt:
            try:
                await self._context.rates.owe(session.user, debt, self._context.config.limits)
            except Exception as error:  # the claim is released anyway
                report("gate.debt", error)

    def _released(self, _done: Future[None]) -> None:
        self.ending -= 1

    async def release(self, user: int, claim: str) -> None:
        """Release a claim, retrying while Redis is unavailable, because it keeps every other login out."""
        presence = self._context.presence
        if await retrying(self._context.loop, lambda: presence.release(user, claim), "gate.release"):
            self._context.roster.departed([user])

    def abandon(self, user: int, claim: str) -> None:
        """Release a claim whose request failed, because Redis may have granted it anyway."""
        background(self.release(user, claim), "gate.abandon")

    def replaced(self, session: Session) -> None:
        """End a session that another session of the user has replaced.

        If its login is not answered yet, that login is refused because the session has ended.
        """
        self.end(session, "replaced")
        if session.peer.session is session:
            session.peer.left()
            session.peer.bye("replaced")

    def send_away(self, session: Session) -> None:
        """End a session because of a new epoch. Its client reconnects, and learns of the epoch.

        What the session was sent no longer moves its cursors, because some of those messages may be lost.
        """
        session.forget()
        self.end(session, "new epoch")
        if session.peer.session is session:
            session.peer.left()
        session.peer.bye("draining", random.uniform(0, _COME_BACK))

    def on_user_message(self, kind: bytes, user: int, claim: str) -> None:
        """Handle a kick or a probe that was published for the session with this claim."""
        session = self._context.delivery.sessions.get(user)
        if session is None or session.claim != claim:
            return
        if kind == b"K":
            self.replaced(session)
        else:
            session.peer.probe()

    def hold_on(self) -> None:
        """Check that every session here is still ours.

        Redis has lost its data, or this worker was not subscribed for a while.
        """
        self._holding_on.want()

    async def _reclaim_all(self) -> None:
        if self._context.router.is_deaf:
            return  # called again when subscribed: a session without a listener looks orphaned
        sessions = list(self._context.delivery.sessions.values())
        failed: Exception | None = None
        for at in range(0, len(sessions), _CHUNK):
            for reclaim in [spawn(self._reclaim(session)) for session in sessions[at : at + _CHUNK]]:
                try:
                    await reclaim
                except Exception as error:
                    failed = error
        if failed is not None:  # the other sessions are registered; the job retries all
            raise failed

    async def _reclaim(self, session: Session) -> None:
        if session.ended is not None:
            return
        try:
            claim = await self._context.presence.claim(session.user, session.claim, is_new=False)
        except AlreadyOnline:
            if session.ended is None:
                self.replaced(session)
            return
        if session.ended is None:
            self._context.roster.arrived(claim, session.name)
        else:  # the session ended meanwhile, and this claim may have come after its release
            await self.release(session.user, session.claim)

    def _settle_classic(self) -> None:
        """Move the cursors of classic clients to what their machines have acknowledged, once a second.

        A classic client cannot confirm messages itself.
        """
        self._context.loop.call_later(1.0, self._settle_classic)
        each(list(self._classic), self._settle, "gate.settle")

    def _settle(self, session: Session) -> None:
        session.settle(self._context.store.cursors)
