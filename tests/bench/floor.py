"""The floor: a bare relay in Python, with epoll and without JSON, Redis or store."""

from __future__ import annotations

import select
import socket
import subprocess
import sys

from client.load.speaker import Role
from tests.server import ROOT

_FRAME = b'{"msgid":5,"rid":%d,"cid":"%d","toid":12345,"msg":"hello, how are you today?"}\n'


class Floor:
    """A process with a relay in it.

    `kind` is `pairs` (each message goes to the other side of its pair) or `group` (to all others). A new
    connection sends a line with its own number and that of the other side, `1 2\\n`.
    """

    def __init__(self, kind: str):
        command = [sys.executable, "-m", "tests.bench.floor", kind]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Floor:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


def floor_pairs(floor: Floor, count: int, companies: int) -> list[list[Role]]:
    """Return the roles of `count` pairs, like `client.load.roles.pairs` but without accounts."""
    size = 2 * count // companies
    return [[_role(floor, at + n, at, (n ^ 1,)) for n in range(size)] for at in range(0, 2 * count, size)]


def floor_group(floor: Floor, members: int) -> list[Role]:
    return [
        _role(floor, n, 0, tuple(other for other in range(members) if other != n)) for n in range(members)
    ]


def _role(floor: Floor, name: int, first: int, to: tuple[int, ...]) -> Role:
    opening = b"%d %d\n" % (name, first + to[0])
    begins = len(to) > 1 or name % 2 == 0
    return Role(("127.0.0.1", floor.port), opening, 1, _FRAME, b'{"msgid":5,', to, begins, welcome=b"")


def _relay(kind: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    recv, send, others, socks, names = {}, {}, {}, {}, {}
    is_group = kind == "group"
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                sock, _address = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                me, other = sock.makefile().readline().split()
                new = sock.fileno()
                socks[new], recv[new], send[new] = sock, sock.recv, sock.send
                names[me] = new
                sock.send(b"\n")
                if is_group:
                    others = {one: [send[each] for each in send if each != one] for one in send}
                elif other in names:
                    others[new], others[names[other]] = [send[names[other]]], [send[new]]
                epoll.register(new, select.EPOLLIN)
            elif data := recv[fd](65536):
                for pass_on in others[fd]:
                    pass_on(data)
            else:
                epoll.unregister(fd)
                socks.pop(fd).close()
                del recv[fd], send[fd]
                names = {name: at for name, at in names.items() if at != fd}


if __name__ == "__main__":
    _relay(sys.argv[1])
