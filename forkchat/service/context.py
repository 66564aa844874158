"""The objects that the handlers share: the worker's stores, bus, delivery and configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forkchat.config import Config
from forkchat.runtime import Lane, Loop, Turns
from forkchat.service.delivery import Delivery
from forkchat.service.roster import Roster

if TYPE_CHECKING:
    from forkchat.bus.presence import Presence
    from forkchat.bus.rates import Rates
    from forkchat.bus.router import Router
    from forkchat.store import Store


@dataclass
class Context:
    """The shared objects of one worker.

    `config` is replaced as a whole when it is read again. `epoch` is "" until it is read.
    """

    loop: Loop
    config: Config
    store: Store
    router: Router
    presence: Presence
    rates: Rates
    hashing: Lane
    delivery: Delivery
    roster: Roster
    epoch: str = ""
    checks: Turns = field(init=False)  # password checks: one per account at a time

    def __post_init__(self) -> None:
        self.checks = Turns(self.loop)
