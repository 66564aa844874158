"""The end of sessions: left, replaced, lost, drained; and holding on to those that are still ours."""

from __future__ import annotations

from forkchat import log
from forkchat.errors import AlreadyOnline, Refused, Unavailable
from forkchat.runtime import Future, gather, sleep, spawn
from forkchat.service.background import background
from forkchat.service.channels import user_channel
from forkchat.service.context import Context
from forkchat.service.session import Session

_CHUNK = 200
_RETRY = 1.0


class Gate:
    """Where sessions end. A session ends once, and its claim is released only after its cursors
    were written, so that its next one, on whatever worker, starts where it stopped."""

    def __init__(self, context: Context):
        self._context = context
        self._classic: set[Session] = set()
        self._is_unsure = self._is_looking = False
        self.ending = 0  # sessions that are not quite over
        context.loop.call_later(1.0, self._settle_classic)

    def opened(self, session: Session) -> None:
        """The session's login was answered."""
        if not session.peer.is_modern:
            self._classic.add(session)

    def end(self, session: Session, reason: str) -> Future[None]:
        """Detach the session, write its cursors, release its claim. Done when all that is."""
        context = self._context
        session.settle(context.store.cursors)
        self._classic.discard(session)
        if self._is_here(session):
            context.router.release(user_channel(session.user))
        was_attached = context.delivery.detach(session)
        self.ending += 1
        task = background(self._release(session, reason, was_attached), "gate.end")
        task.add_done_callback(self._ended)
        return task

    def _ended(self, _done: Future[None]) -> None:
        self.ending -= 1

    async def _release(self, session: Session, reason: str, was_attached: bool) -> None:
        try:
            await self._context.store.cursors.flush()
        except Refused as error:
            log.warning("session.cursors_unwritten", user=session.user, why=error)
        log.info("session.end", user=session.user, reason=reason, peer=session.peer.address)
        if was_attached:
            await self.release(session.user, session.claim)

    async def release(self, user: int, claim: str) -> None:
        """Release a claim, however long Redis is away: as long as it stands, nobody else gets in."""
        while True:
            try:
                was_ours = await self._context.presence.release(user, claim)
                break
            except Unavailable:
                await sleep(self._context.loop, _RETRY)
        if was_ours:
            self._context.roster.departed([user])

    def abandon(self, user: int, claim: str) -> None:
        """A login failed between its claim and its session."""
        background(self.release(user, claim), "gate.abandon")

    def replaced(self, session: Session) -> None:
        """Another session of the user has taken over."""
        self.end(session, "replaced")
        session.peer.left()
        session.peer.bye("replaced")

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
        self._is_unsure = True
        if not self._is_looking:
            self._is_looking = True
            background(self._hold_on(), "gate.hold_on")

    async def _hold_on(self) -> None:
        try:
            while self._is_unsure:
                self._is_unsure = False
                try:
                    await self._reclaim(list(self._context.delivery.sessions.values()))
                except Unavailable:
                    self._is_unsure = True
                    await sleep(self._context.loop, _RETRY)
        finally:
            self._is_looking = False

    async def _reclaim(self, sessions: list[Session]) -> None:
        for at in range(0, len(sessions), _CHUNK):
            age = await self._context.presence.age()
            chunk = sessions[at : at + _CHUNK]
            await gather([spawn(self._reclaim_one(session, age)) for session in chunk])

    async def _reclaim_one(self, session: Session, age: float) -> None:
        if not self._is_here(session):
            return
        try:
            claim = await self._context.presence.claim(session.user, session.claim)
        except AlreadyOnline:
            if self._is_here(session):
                self.replaced(session)
            return
        if self._is_here(session):
            self._context.roster.returned(claim, session.name, age)
        else:  # it ended meanwhile, and may have been released before
            await self.release(session.user, session.claim)

    def _is_here(self, session: Session) -> bool:
        return self._context.delivery.sessions.get(session.user) is session

    def _settle_classic(self) -> None:
        """A classic client cannot confirm: its cursors follow what its machine has taken."""
        self._context.loop.call_later(1.0, self._settle_classic)
        for session in self._classic:
            session.settle(self._context.store.cursors)
