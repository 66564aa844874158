"""Who may come in: proxies that speak for others, how many connections an address has, who gives way."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from forkchat import log
from forkchat.config import Config

if TYPE_CHECKING:
    from forkchat.process.peer import Peer


#: Connections ended for what they did that are logged by themselves between two reports.
_LOGGED = 20


class Admission:
    """Hosts are the texts of IP addresses; "" is one that is not known yet, and not counted.

    A stranger is a peer that is not logged in. No clock ends one that is idle, since a person may sit at a
    client's menu for hours: strangers are bounded in number, and the one that has been silent for longest
    gives way. An IPv6 client has a whole /64 network, which counts as one address.
    """

    def __init__(self, config: Config):
        self._counts: Counter[str] = Counter()
        # In the order of their last whole frames: of all addresses, and of each.
        self._strangers: OrderedDict[Peer, None] = OrderedDict()
        self._of_address: dict[str, dict[Peer, None]] = {}
        self._given_up = 0
        self._ended = 0
        self.configure(config)

    def configure(self, config: Config) -> None:
        """The configuration has changed; connections that are there stay what they are."""
        self._proxies = [ip_network(network) for network in config.listen.proxy_from]
        self._limit = config.limits.connections_per_address
        self._stranger_limit = config.limits.strangers_per_address

    def is_proxy(self, host: str) -> bool:
        """Whether a connection from there begins with a PROXY header."""
        return bool(self._proxies) and any(ip_address(host) in network for network in self._proxies)

    def enter(self, host: str) -> bool:
        """Count one more connection; False, and not counted, if there are too many already."""
        address = _address(host)
        if 0 < self._limit <= self._counts[address]:
            return False
        if address:
            self._counts[address] += 1
        return True

    def leave(self, peer: Peer) -> None:
        """A connection has ended. MUST be called for each that has entered."""
        self.logged_in(peer)
        address = _address(peer.host)
        if address:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def stranger(self, peer: Peer) -> None:
        """A peer that is not logged in has come, has sent a whole frame, or has logged out just now."""
        if peer.is_closed:
            return
        self._strangers[peer] = None
        self._strangers.move_to_end(peer)
        address = _address(peer.host)
        if address and not _is_own(address):
            ours = self._of_address.setdefault(address, {})
            ours.pop(peer, None)
            ours[peer] = None
            while 0 < self._stranger_limit < len(ours):
                if not self._give_up(ours, "too many of this address are not logged in"):
                    break  # all of them are being answered; the next one that comes looks again

    def logged_in(self, peer: Peer) -> None:
        """The peer is a stranger no longer."""
        self._strangers.pop(peer, None)
        address = _address(peer.host)
        ours = self._of_address.get(address)
        if ours is not None:
            ours.pop(peer, None)
            if not ours:
                del self._of_address[address]

    @property
    def has_strangers(self) -> bool:
        """Whether `make_room` finds one."""
        return bool(self._strangers)

    def is_logged(self) -> bool:
        """Whether one more connection that was ended for what it did is logged by itself: a flood of them is
        counted."""
        self._ended += 1
        return self._ended <= _LOGGED

    def report(self) -> None:
        """Log how many were given up, and ended, since the last call: a flood must not fill the log."""
        if self._ended > _LOGGED:
            log.info("peers.ended", count=self._ended - _LOGGED)
        self._ended = 0
        if self._given_up:
            log.info("peers.given_up", count=self._given_up)
            self._given_up = 0

    def make_room(self) -> None:
        """There is no descriptor left for a newcomer: the stranger that was silent for longest goes."""
        self._give_up(self._strangers, "no descriptor is left")

    def _give_up(self, strangers: Iterable[Peer], why: str) -> bool:
        """End the first whose request is not being answered (a login waits in a queue); False if none is."""
        peer = next((peer for peer in strangers if not peer.inbox.is_held), None)
        if peer is None:
            return False
        log.debug("peer.given_up", peer=peer.address, why=why)
        self._given_up += 1
        self.logged_in(peer)
        peer.give_up()
        return True


@lru_cache(maxsize=4096)
def _address(host: str) -> str:
    """What counts as one address."""
    if ":" not in host:
        return host
    return str(ip_network(f"{host.partition('%')[0]}/64", strict=False).network_address)


@lru_cache(maxsize=4096)
def _is_own(address: str) -> bool:
    """Whether it is this machine: a proxy that sends no header, for any number of clients."""
    return ip_address(address).is_loopback
