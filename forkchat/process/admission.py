"""Who may come in: proxies that speak for others, and how many connections an address has here."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

from forkchat.config import Config


class Admission:
    """Hosts are the texts of IP addresses; "" is one that is not known yet, and not counted."""

    def __init__(self, config: Config):
        self._counts: Counter[str] = Counter()
        self.configure(config)

    def configure(self, config: Config) -> None:
        """The configuration has changed; connections that are there stay what they are."""
        self._proxies = [ip_network(network) for network in config.listen.proxy_from]
        self._limit = config.limits.connections_per_address

    def is_proxy(self, host: str) -> bool:
        """Whether a connection from there begins with a PROXY header."""
        return bool(self._proxies) and any(ip_address(host) in network for network in self._proxies)

    def enter(self, host: str) -> bool:
        """Count one more connection; False, and not counted, if there are too many already."""
        if 0 < self._limit <= self._counts[host]:
            return False
        if host:
            self._counts[host] += 1
        return True

    def leave(self, host: str) -> None:
        """One less. MUST be called for each that has entered."""
        if host:
            self._counts[host] -= 1
            if not self._counts[host]:
                del self._counts[host]
