"""Machines made of network namespaces, which can be cut off from each other. Needs root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

_CLONE_NEWNET = 0x40000000
_numbers = count()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """A context manager that makes machines, and the networks that each is in.

    The networks are bridges in a separate namespace.
    """

    def __init__(self, machines: dict[str, tuple[str, ...]]):
        self._machines = machines
        self._networks = list(dict.fromkeys(network for joined in machines.values() for network in joined))
        self._prefix = f"fc{os.getpid()}-{next(_numbers)}"
        self._switch = f"{self._prefix}-switch"
        self._stack = ExitStack()

    def __enter__(self) -> Network:
        try:
            self._add(self._switch)
            for network in self._networks:
                _ip("-n", self._switch, "link", "add", network, "type", "bridge")
                _ip("-n", self._switch, "link", "set", network, "up")
            for machine, networks in self._machines.items():
                self._add(self.namespace(machine))
                for network in networks:
                    self._plug_in(machine, network)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, machine: str, network: str) -> str:
        return f"10.9.{self._networks.index(network) + 1}.{list(self._machines).index(machine) + 1}"

    def namespace(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"

    def cut(self, machine: str, network: str) -> None:
        """Cut a machine off from a network. Packets are dropped silently."""
        _ip("-n", self._switch, "link", "set", f"{machine}-{network}", "nomaster")

    def join(self, machine: str, network: str) -> None:
        _ip("-n", self._switch, "link", "set", f"{machine}-{network}", "master", network)

    @contextmanager
    def without(self, machine: str, network: str) -> Iterator[None]:
        """Cut a machine off from a network for a while."""
        self.cut(machine, network)
        try:
            yield
        finally:
            self.join(machine, network)

    @contextmanager
    def at(self, machine: str) -> Iterator[None]:
        """Put this thread's new sockets and processes on that machine."""
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self.namespace(machine)}") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(here.fileno())

    def _add(self, namespace: str) -> None:
        _ip("netns", "add", namespace)
        self._stack.callback(_ip, "netns", "delete", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")

    def _plug_in(self, machine: str, network: str) -> None:
        namespace, port = self.namespace(machine), f"{machine}-{network}"
        _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", network, "netns", namespace)
        _ip("-n", self._switch, "link", "set", port, "master", network, "up")
        _ip("-n", namespace, "address", "add", f"{self.address(machine, network)}/24", "dev", network)
        _ip("-n", namespace, "link", "set", network, "up")


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns exists only since Python 3.12
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
