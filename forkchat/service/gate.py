"""The end of sessions: left, replaced, lost, drained; and holding on to those that are still ours."""

from __future__ import annotations

import random

from forkchat import log
from forkchat.errors import AlreadyOnline
from forkchat.jobs import Job, background, each, report, retrying
from forkchat.runtime import Future, spawn
from forkchat.service.context import Context
from forkchat.service.session import Session

_CHUNK = 200
#: Seconds over which clients that are sent away come back.
_COME_BACK = 5.0


class Gate:
    """Where sessions end. A session ends once, and its claim is released only after its cursors
    were written, so that its next one, on whatever worker, starts where it stopped."""

    def __init__(self, context: Context):
        self._context = context
        self._classic: set[Session] = set()
        self._holding_on = Job(context.loop, "gate.hold_on", self._reclaim_all)
        self.ending = 0  # sessions that are not quite over
        context.loop.call_later(1.0, self._settle_classic)

    def opened(self, session: Session) -> None:
        """The session's login was answered."""
        if not session.peer.is_modern:
            self._classic.add(session)

    def end(self, session: Session, reason: str) -> Future[None]:
        """Give back all that the session holds. Done when its cursors are written and its claim is released.

        Any number of times, at any point after the claim.
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
        except Exception as error:  # they are kept, and written with the others'
            report("gate.cursors", error)
        try:
            await self._record_debt(session)
            await self.release(session.user, session.claim)
        finally:
            assert session.ended is not None
            session.ended.set_result(None)

    async def _record_debt(self, session: Session) -> None:
        """What the session owes for its last requests is its account's: the next one begins with it."""
        if debt := session.peer.debt:
            try:
                await self._context.rates.owe(session.user, debt, self._context.config.limits)
            except Exception as error:  # the claim is released all the same
                report("gate.debt", error)

    def _released(self, _done: Future[None]) -> None:
        self.ending -= 1

    async def release(self, user: int, claim: str) -> None:
        """Release a claim, however long Redis is away: as long as it stands, nobody else gets in."""
        presence = self._context.presence
        if await retrying(self._context.loop, lambda: presence.release(user, claim), "gate.release"):
            self._context.roster.departed([user])

    def abandon(self, user: int, claim: str) -> None:
        """A claim failed, and may have been made all the same."""
        background(self.release(user, claim), "gate.abandon")

    def replaced(self, session: Session) -> None:
        """Another session of the user has taken over. One whose login is not answered yet is refused by
        that."""
        self.end(session, "replaced")
        if session.peer.session is session:
            session.peer.left()
            session.peer.bye("replaced")

    def send_away(self, session: Session) -> None:
        """There is a new epoch: the client comes again, and learns of it. What reached it of what is lost now
        moves no cursor."""
        session.forget()
        self.end(session, "new epoch")
        if session.peer.session is session:
            session.peer.left()
        session.peer.bye("draining", random.uniform(0, _COME_BACK))

    def on_user_message(self, kind: bytes, user: int, claim: str) -> None:
        """A kick or a probe was published for the session with this claim."""
        session = self._context.delivery.sessions.get(user)
        if session is None or session.claim != claim:
            return
        if kind == b"K":
            self.replaced(session)
        else:
            session.peer.probe()

    def hold_on(self) -> None:
        """Redis lost its data, or we were not listening: see that every session here is still ours."""
        self._holding_on.want()

    async def _reclaim_all(self) -> None:
        if self._context.router.is_deaf:
            return  # until we hear again: a session without a listener is taken for an orphan
        sessions = list(self._context.delivery.sessions.values())
        failed: Exception | None = None
        for at in range(0, len(sessions), _CHUNK):
            for reclaim in [spawn(self._reclaim(session)) for session in sessions[at : at + _CHUNK]]:
                try:
                    await reclaim
                except Exception as error:
                    failed = error
        if failed is not None:  # the others are registered; all are tried again
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
        else:  # it ended meanwhile, and may have been released before
            await self.release(session.user, session.claim)

    def _settle_classic(self) -> None:
        """A classic client cannot confirm: its cursors follow what its machine has taken."""
        self._context.loop.call_later(1.0, self._settle_classic)
        each(list(self._classic), self._settle, "gate.settle")

    def _settle(self, session: Session) -> None:
        session.settle(self._context.store.cursors)
