"""The numbering of an account's classic client: learned from its frames, remembered for the next login."""

from __future__ import annotations

from forkchat.service.context import Context
from forkchat.service.peer import Peer
from forkchat.service.session import Session


class Dialects:
    """The numberings of classic clients under `[classic] numbering = "auto"`.

    With any other setting nothing is learned, and so nothing is written.
    """

    def __init__(self, context: Context):
        self._context = context

    async def recall(self, peer: Peer, user: int) -> str:
        """Return the numbering that is stored for the account, "" for none. Raises Unavailable.

        The peer uses this numbering from now on, unless its frames have shown another one.
        """
        if not peer.guess.is_auto:
            return ""
        known = await self._context.store.classic.numbering(user)
        if not peer.guess.is_sure:
            peer.guess.prefer(known)
        return known

    def registered(self, peer: Peer, user: int) -> None:
        """Store the numbering that the peer has shown for its new account.

        The client may log in on another connection, and show no numbering there.
        """
        if peer.guess.is_sure:
            self._write(user, peer.classic.dialect.name)

    def remember(self, session: Session) -> None:
        """Store the numbering that the session's peer has shown, if it is new."""
        guess = session.peer.guess
        if guess.is_sure and session.numbering != guess.best.dialect.name:
            session.numbering = guess.best.dialect.name
            self._write(session.user, session.numbering)

    def _write(self, user: int, numbering: str) -> None:
        """Store the numbering in the background.

        If this fails, the numbering is learned again from the client's next frames.
        """
        self._context.store.classic.remember(user, numbering)
