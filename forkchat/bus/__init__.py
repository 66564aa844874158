"""State that workers share through Redis: presence, leases, rates, routing. No other layer imports redis."""

from __future__ import annotations

from forkchat.bus.lease import Lease
from forkchat.bus.link import Link
from forkchat.bus.presence import Presence
from forkchat.bus.rates import Rates
from forkchat.bus.router import Router
from forkchat.runtime import Lane, Loop, gather

__all__ = ["Bus"]


#: Seconds between reconnections away from a server that still answers: its subscriptions are useful.
_FOLLOW_PAUSE = 2.0


class Bus:
    """A worker's two connections to Redis and the services on them. `lease` is host:boot:slot:generation."""

    def __init__(self, loop: Loop, lane: Lane, url: str, lease: str):
        self._loop = loop
        self._follow_after = 0.0
        self._commands = Link(loop, lane, url, "commands")
        self._subscriber = Link(loop, lane, url, "subscriber")
        self.router = Router(loop, self._commands, self._subscriber, lease)
        self.lease = Lease(loop, self._commands, lease)
        self.presence = Presence(self._commands, self._subscriber, self.lease)
        self.rates = Rates(self._commands)
        self._commands.on_up = self._on_commands_up
        self._subscriber.on_up = self._on_subscriber_up
        for link in (self._commands, self._subscriber):
            link.on_elsewhere = self._follow_url

    async def start(self) -> None:
        """Connect. Return when both connections are up for the first time."""
        self.router.start()
        await gather([self._commands.start(), self._subscriber.start()])

    def _on_commands_up(self) -> None:
        self.lease.reconnected()
        self.router.publish_again()
        self._compare()

    def _on_subscriber_up(self) -> None:
        self.router.resubscribe()
        self._compare()

    def _compare(self) -> None:
        """Reconnect if the two connections lead to different runs of Redis.

        After a failover, one connection may lead to the new server while the other stays at the old server.
        """
        if self._commands.is_up and self._subscriber.is_up and self._commands.run != self._subscriber.run:
            self._follow_url("the two connections lead to different runs of Redis")

    def _follow_url(self, why: str) -> None:
        """Reconnect both connections to where the URL leads now, because a server may be the wrong one.

        This happens at most once per `_FOLLOW_PAUSE`. If the URL still leads to the same server, its
        subscriptions are useful.
        """
        now = self._loop.time()
        if now < self._follow_after:
            self._loop.call_later(self._follow_after - now, self._compare)
            return
        self._follow_after = now + _FOLLOW_PAUSE
        self._commands.drop(why)
        self._subscriber.drop(why)

    @property
    def is_up(self) -> bool:
        """True if commands reach Redis, as far as is known."""
        return self._commands.is_up

    def close(self) -> None:
        self._commands.close()
        self._subscriber.close()
