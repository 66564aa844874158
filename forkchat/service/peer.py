"""The service's view of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from forkchat.errors import Refused
from forkchat.service.outgoing import Form
from forkchat.wire.classic import ClassicAnswers, Guess
from forkchat.wire.requests import Request

if TYPE_CHECKING:
    from forkchat.service.session import Session


class Peer(Protocol):
    """One client's connection, whose frames are decoded and whose requests are checked."""

    session: Session | None
    host: str
    address: str  # host and port
    epoch: str  # the epoch that a modern peer was told

    @property
    def classic(self) -> ClassicAnswers: ...

    @property
    def guess(self) -> Guess:
        """The guess of which dialect a classic peer speaks."""

    @property
    def is_modern(self) -> bool: ...

    @property
    def form(self) -> Form: ...

    @property
    def is_closed(self) -> bool:
        """True once the peer accepts nothing further. Earlier output may still be on its way."""

    @property
    def is_over(self) -> bool:
        """True while the peer is congested. Deliveries are left out until it has drained."""

    @property
    def queued(self) -> int:
        """Bytes written to the peer so far."""

    def delivered(self) -> int:
        """Return the number of bytes that have reached the peer's machine."""

    def greet(self, epoch: str) -> None:
        """Make the peer modern from now on. It has said HELLO, and is told the epoch."""

    def opened(self, session: Session, burst: int) -> None:
        """Log the peer in. It may send `burst` messages at once."""

    def left(self) -> None:
        """Log the peer out. It may log in again."""

    def spend(self, messages: int) -> None:
        """Count a request as so many more messages for the rate. The next request waits for that."""

    @property
    def debt(self) -> float:
        """Seconds until the peer has paid for its last requests."""

    def answer(self, request: Request, fields: dict[str, Any]) -> None:
        """Answer a modern request."""

    def refuse(self, msgid: int, rid: str | int | None, refused: Refused) -> None:
        """Answer a request with a refusal. Too many refusals end the connection."""

    def write(self, frame: bytes) -> None:
        """Queue a whole frame, including its delimiter."""

    def offer(self, frame: bytes) -> bool:
        """Queue a frame unless the peer is congested. Return whether it was queued."""

    def write_json(self, json: bytes) -> None:
        """Queue a classic answer, framed as this peer needs it."""

    def bye(self, reason: str, retry_after: float | None = None) -> None:
        """Send BYE (to a modern peer) and all queued output, then close."""

    def close(self, reason: str) -> None: ...

    def probe(self) -> None:
        """Find out whether the client is alive. If not, close."""
