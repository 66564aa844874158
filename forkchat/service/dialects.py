"""Which numbering an account's classic client uses: told from its frames, remembered for the next login."""

from __future__ import annotations

from forkchat.service.context import Context
from forkchat.service.peer import Peer
from forkchat.service.session import Session


class Dialects:
    """`[classic] numbering = "auto"`. With any other nothing is learned, and so nothing is written."""

    def __init__(self, context: Context):
        self._context = context

    async def recall(self, peer: Peer, user: int) -> str:
        """The numbering that is stored for the account, which the peer has from now on unless it has shown
        another; "" for none. Raises Unavailable."""
        if not peer.guess.is_auto:
            return ""
        known = await self._context.store.classic.numbering(user)
        if not peer.guess.is_sure:
            peer.guess.prefer(known)
        return known

    def registered(self, peer: Peer, user: int) -> None:
        """The client may log in with the new account on another connection, and say nothing there."""
        if peer.guess.is_sure:
            self._write(user, peer.classic.dialect.name)

    def remember(self, session: Session) -> None:
        """Store what the session's peer has shown, if it is new."""
        guess = session.peer.guess
        if guess.is_sure and session.numbering != guess.best.dialect.name:
            session.numbering = guess.best.dialect.name
            self._write(session.user, session.numbering)

    def _write(self, user: int, numbering: str) -> None:
        """What cannot be written is told again from what the client sends next time."""
        self._context.store.classic.remember(user, numbering)
