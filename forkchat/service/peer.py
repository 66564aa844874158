"""What the service sees of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from forkchat.errors import Refused
from forkchat.service.outgoing import Form
from forkchat.wire.classic import ClassicAnswers, Guess
from forkchat.wire.requests import Request

if TYPE_CHECKING:
    from forkchat.service.session import Session


class Peer(Protocol):
    """One client's connection, its frames decoded and its requests checked."""

    session: Session | None
    host: str
    address: str  # host and port
    epoch: str  # that a modern peer was told

    @property
    def classic(self) -> ClassicAnswers: ...

    @property
    def guess(self) -> Guess:
        """Which dialect a classic peer speaks."""

    @property
    def is_modern(self) -> bool: ...

    @property
    def form(self) -> Form: ...

    @property
    def is_closed(self) -> bool:
        """It takes nothing more; what was written before may still be on its way."""

    @property
    def is_over(self) -> bool:
        """Its output is full: no more deliveries until it has drained."""

    @property
    def queued(self) -> int:
        """Bytes written to it so far."""

    def delivered(self) -> int:
        """Bytes that have reached the peer's machine."""

    def greet(self, epoch: str) -> None:
        """It has said HELLO, and is told the epoch: it is modern from now on."""

    def opened(self, session: Session, burst: int) -> None:
        """It has logged in, and may send so many messages at once."""

    def left(self) -> None:
        """It has logged out, and may log in again."""

    def spend(self, messages: int) -> None:
        """Count a request as so many messages more for the rate, which the next one waits for."""

    @property
    def debt(self) -> float:
        """Seconds until it has paid for its last requests."""

    def answer(self, request: Request, fields: dict[str, Any]) -> None:
        """Answer a modern request."""

    def refuse(self, msgid: int, rid: str | int | None, refused: Refused) -> None:
        """Answer a request with why it is refused. Too many refusals end the connection."""

    def write(self, frame: bytes) -> None:
        """Queue a whole frame, its delimiter included."""

    def offer(self, frame: bytes) -> bool:
        """The same, unless its output is full; whether it was queued."""

    def write_json(self, json: bytes) -> None:
        """Queue a classic answer, framed as this peer needs it."""

    def bye(self, reason: str, retry_after: float | None = None) -> None:
        """Say BYE (modern peers), send what waits, close."""

    def close(self, reason: str) -> None: ...

    def probe(self) -> None:
        """Find out whether the other end lives; if not, close."""
