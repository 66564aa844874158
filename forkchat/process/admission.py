"""Admission of connections: trusted proxies, a limit per address, and eviction of silent strangers."""

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


#: Connections ended for misbehaviour that get a log line of their own between two reports.
_LOGGED = 20


class Admission:
    """Counts of connections per address, and the strangers among the peers.

    A host is the text of an IP address. "" stands for a host that is not known yet, and is not counted. An
    IPv6 client has a whole /64 network, which counts as one address.

    A stranger is a peer that is not logged in. No idle timeout ends strangers, because a person may sit at a
    client's menu for hours. Instead, their number is bounded, and the stranger that has been silent for
    longest is evicted.
    """

    def __init__(self, config: Config):
        self._counts: Counter[str] = Counter()
        # Strangers in the order of their last whole frames: of all addresses, and of each address.
        self._strangers: OrderedDict[Peer, None] = OrderedDict()
        self._of_address: dict[str, dict[Peer, None]] = {}
        self._given_up = 0
        self._ended = 0
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Apply a changed configuration. Existing connections are not affected."""
        self._proxies = [ip_network(network) for network in config.listen.proxy_from]
        self._limit = config.limits.connections_per_address
        self._stranger_limit = config.limits.strangers_per_address

    def is_proxy(self, host: str) -> bool:
        """Return True if connections from `host` begin with a PROXY header."""
        return bool(self._proxies) and any(ip_address(host) in network for network in self._proxies)

    def enter(self, host: str) -> bool:
        """Count a new connection. Return False, without counting it, if there are too many already."""
        address = _address(host)
        if 0 < self._limit <= self._counts[address]:
            return False
        if address:
            self._counts[address] += 1
        return True

    def leave(self, peer: Peer) -> None:
        """Stop counting a connection that has ended. MUST be called for each one that has entered."""
        self.logged_in(peer)
        address = _address(peer.host)
        if address:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def stranger(self, peer: Peer) -> None:
        """Note that a stranger has connected, has sent a whole frame, or has just logged out."""
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
                    break  # all of them wait for answers; the next stranger tries again

    def logged_in(self, peer: Peer) -> None:
        """Note that the peer is no longer a stranger: it has logged in, or its connection ends."""
        self._strangers.pop(peer, None)
        address = _address(peer.host)
        ours = self._of_address.get(address)
        if ours is not None:
            ours.pop(peer, None)
            if not ours:
                del self._of_address[address]

    @property
    def has_strangers(self) -> bool:
        """True if any peer is a stranger, which `make_room` could evict."""
        return bool(self._strangers)

    def is_logged(self) -> bool:
        """Count a connection that was ended for misbehaviour. Return True if it should be logged.

        Only the first `_LOGGED` between two reports get a line of their own. In a flood, the rest is only
        counted.
        """
        self._ended += 1
        return self._ended <= _LOGGED

    def report(self) -> None:
        """Log the numbers of evicted and of ended connections since the last call.

        They are counted because a flood must not fill the log.
        """
        if self._ended > _LOGGED:
            log.info("peers.ended", count=self._ended - _LOGGED)
        self._ended = 0
        if self._given_up:
            log.info("peers.given_up", count=self._given_up)
            self._given_up = 0

    def make_room(self) -> None:
        """Evict the stranger that was silent for longest, because a new connection needs its descriptor."""
        self._give_up(self._strangers, "no descriptor is left")

    def _give_up(self, strangers: Iterable[Peer], why: str) -> bool:
        """Evict the first stranger that is not waiting for an answer. Return False if there is none.

        A stranger waits, for example, while its login is in a queue.
        """
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
    """Return the address that the host counts as: its IPv4 address or its IPv6 /64 network."""
    if ":" not in host:
        return host
    return str(ip_network(f"{host.partition('%')[0]}/64", strict=False).network_address)


@lru_cache(maxsize=4096)
def _is_own(address: str) -> bool:
    """Return True for a loopback address.

    It may be a local proxy that sends no header and serves any number of clients.
    """
    return ip_address(address).is_loopback
