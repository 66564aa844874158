"""Subscriptions to channels by reference count, and publishing that survives a lost connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from forkchat import log
from forkchat.bus import keys
from forkchat.bus.link import Link
from forkchat.errors import Unavailable
from forkchat.jobs import report
from forkchat.runtime import Future, Loop

#: Seconds between sweeps. A channel without holders stays subscribed for one to two of these periods.
_SWEEP = 5.0
#: Seconds between probes of our own subscription; seconds without an echo after which it counts as lost.
_PROBE, _PROBE_LOST = 2.0, 6.0
#: Seconds before a publish that Redis refused is sent again.
_AGAIN = 1.0
#: Bytes of publishes kept until Redis confirms them. Beyond that, they are dropped and all workers reconcile.
_MAX_UNCONFIRMED = 16 << 20
#: Channels of one SUBSCRIBE or UNSUBSCRIBE.
_CHUNK = 500

RECONCILE = b"reconcile"


class _Channel:
    __slots__ = ("awaited", "holders", "is_confirmed", "is_idle", "waiters")

    def __init__(self) -> None:
        self.holders = 0
        self.awaited = 0  # confirmations that are still to come
        self.is_confirmed = False
        self.is_idle = False  # it had no holders at the last sweep
        self.waiters: list[Future[None]] | None = None

    def take_waiters(self) -> list[Future[None]]:
        waiters, self.waiters = self.waiters or [], None
        return waiters


def _ignore(_reply: Any) -> None:
    return


class Router:
    """Publishing and subscribing for one worker.

    `on_message(channel, payload)` gets what other workers and this worker published. `on_resubscribed()` is
    called when every channel is subscribed again after a loss, because messages may have been missed.
    """

    def __init__(self, loop: Loop, commands: Link, subscriber: Link, lease: str):
        self._loop = loop
        self._commands = commands
        self._subscriber = subscriber
        self._own = keys.worker_channel(lease)
        self._channels: dict[str, _Channel] = {}
        # Publishes that Redis has yet to confirm, in the order of its answers, and publishes that it refused.
        self._unconfirmed: deque[tuple[str, bytes]] = deque()
        self._refused: list[tuple[str, bytes]] = []
        self._kept = 0  # bytes in both
        self._forgotten = 0  # replies still to come to publishes that were dropped
        self._has_overflowed = False
        self._unconfirmed_channels = 0
        self._is_restoring = False
        self._is_retrying = False
        self._probed_at = self._echoed_at = 0.0
        self.on_message: Callable[[str, bytes], object] = lambda channel, payload: None
        self.on_resubscribed: Callable[[], object] = lambda: None
        subscriber.on_push = self._on_push
        subscriber.on_down = self._lost

    def start(self) -> None:
        """Hold our own channel and the channel of all workers; probe and sweep from now on."""
        self.hold(self._own)
        self.hold(keys.ALL)
        self._loop.call_later(_PROBE, self._probe)
        self._loop.call_later(_SWEEP, self._sweep)

    # Channels.

    @property
    def is_deaf(self) -> bool:
        """True while messages may be missed.

        Either lost subscriptions are not all back, and `on_resubscribed` is still to come. Or the
        subscriptions are at another Redis than the commands.
        """
        return self._is_restoring or self._subscriber.run != self._commands.run

    def hold(self, name: str) -> Future[None]:
        """Hold a channel until `release`. The future is done when Redis has confirmed the subscription.

        The future gets Unavailable without Redis, or if the connection is lost first. The channel is held
        then too.
        """
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel()
            self._unconfirmed_channels += 1
            self._subscribe([name])
        channel.holders += 1
        channel.is_idle = False
        confirmed: Future[None] = Future()
        if channel.is_confirmed:
            confirmed.set_result(None)
        elif not self._subscriber.is_up:
            confirmed.set_exception(Unavailable("Redis cannot be reached"))
        else:
            channel.waiters = channel.waiters or []
            channel.waiters.append(confirmed)
        return confirmed

    def release(self, name: str) -> None:
        """Undo one `hold`. A sweep unsubscribes later."""
        self._channels[name].holders -= 1

    def _subscribe(self, names: list[str]) -> None:
        if self._subscriber.is_up:
            for at in range(0, len(names), _CHUNK):
                self._subscriber.tell(("SUBSCRIBE", *names[at : at + _CHUNK]))
            for name in names:
                self._channels[name].awaited += 1

    def resubscribe(self) -> None:
        """Subscribe to every channel again, because the subscriber's connection is back."""
        self._probed_at = self._echoed_at = self._loop.time()
        self._subscribe(list(self._channels))

    def _lost(self) -> None:
        self._is_restoring = True
        self._unconfirmed_channels = len(self._channels)
        for channel in self._channels.values():
            channel.is_confirmed = False
            channel.awaited = 0
            for waiter in channel.take_waiters():
                waiter.set_exception(Unavailable("the connection to Redis was lost"))

    def _on_push(self, push: list[Any]) -> None:
        kind = push[0]
        if kind == b"message":
            if push[1] == self._own.encode():
                self._echoed_at = self._loop.time()
            else:
                self.on_message(push[1].decode(), push[2])
        elif kind == b"subscribe":
            self._confirm(push[1].decode())

    def _confirm(self, name: str) -> None:
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.awaited -= 1
        if channel.awaited > 0 or channel.is_confirmed:
            return
        channel.is_confirmed = True
        self._unconfirmed_channels -= 1
        for waiter in channel.take_waiters():
            waiter.set_result(None)
        self._settle()

    def _settle(self) -> None:
        """Call `on_resubscribed` if every channel is subscribed again, at the Redis that gets commands."""
        if (
            self._is_restoring
            and not self._unconfirmed_channels
            and self._subscriber.run == self._commands.run
        ):
            self._is_restoring = False
            self.on_resubscribed()

    def _sweep(self) -> None:
        self._loop.call_later(_SWEEP, self._sweep)
        unused = []
        for name, channel in self._channels.items():
            if channel.holders == 0 and channel.is_idle and not channel.awaited:
                unused.append(name)
            channel.is_idle = channel.holders == 0
        for name in unused:
            self._unconfirmed_channels -= not self._channels.pop(name).is_confirmed
        for at in range(0, len(unused), _CHUNK):
            self._subscriber.tell(("UNSUBSCRIBE", *unused[at : at + _CHUNK]))

    def _probe(self) -> None:
        """Publish to our own channel, because a subscription can be dead while its connection looks alive."""
        self._loop.call_later(_PROBE, self._probe)
        if self._probed_at - self._echoed_at > _PROBE_LOST:
            self._subscriber.drop("own probe did not come back")
        elif self._commands.is_up and self._subscriber.is_up:
            self._probed_at = self._loop.time()
            self.publish(self._own, b"")

    # Publishing.

    def publish(self, channel: str, payload: bytes, done: Callable[[Any], object] = _ignore) -> None:
        """Publish now or never. Use this for payloads that are worth nothing later.

        `done` gets the number of workers that received the payload, or the exception if none did.
        """
        self._commands.send(("PUBLISH", channel, payload), done)

    def publish_counted(self, channel: str, payload: bytes) -> Future[int]:
        """Publish now or never. The future gets the number of workers that received the payload."""
        return self._commands.call("PUBLISH", channel, payload)

    def publish_surely(self, channel: str, payload: bytes) -> None:
        """Publish, and repeat after each reconnection until Redis confirms it. It may arrive twice."""
        if self._kept >= _MAX_UNCONFIRMED:
            self._overflow()
        self._kept += len(payload)
        self._unconfirmed.append((channel, payload))
        if self._commands.is_up:
            self._commands.send(("PUBLISH", channel, payload), self._on_reply)

    def _on_reply(self, reply: Any) -> None:
        if self._forgotten:
            self._forgotten -= 1
        elif not isinstance(reply, Unavailable):  # after a lost connection it is sent again
            entry = self._unconfirmed.popleft()
            if isinstance(reply, Exception):
                report("redis PUBLISH", Unavailable(f"Redis refuses it: {reply}"))
                self._refused.append(entry)
                if not self._is_retrying:
                    self._is_retrying = True
                    self._loop.call_later(_AGAIN, self._publish_refused)
            else:
                self._kept -= len(entry[1])

    def _publish_refused(self) -> None:
        self._is_retrying = False
        if self._commands.is_up:
            refused, self._refused = self._refused, []
            self._unconfirmed.extend(refused)
            for channel, payload in refused:
                self._commands.send(("PUBLISH", channel, payload), self._on_reply)

    def _overflow(self) -> None:
        log.warning("router.overflow", dropped=len(self._unconfirmed) + len(self._refused))
        self.forget()
        self._has_overflowed = True

    def publish_again(self) -> None:
        """Send every unconfirmed publish again, because the commands' connection is back."""
        self._unconfirmed.extend(self._refused)
        self._refused.clear()
        for channel, payload in list(self._unconfirmed):
            self._commands.send(("PUBLISH", channel, payload), self._on_reply)
        if self._has_overflowed:
            self._has_overflowed = False
            self.publish(keys.ALL, RECONCILE)
        self._settle()

    def forget(self) -> None:
        """Drop all unconfirmed publishes: there are too many, or their database no longer exists."""
        if self._commands.is_up:
            self._forgotten += len(self._unconfirmed)
        self._unconfirmed.clear()
        self._refused.clear()
        self._kept = 0
