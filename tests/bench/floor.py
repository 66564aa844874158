"""The floor: a bare relay in Python, epoll and nothing else. No JSON, no Redis, no store."""

from __future__ import annotations

import select
import socket
import subprocess
import sys

from tests.server import ROOT


class Floor:
    """A process with a relay in it. `kind` is `pairs` (what one says goes to the other of its pair) or
    `group` (to all others). Who comes says which line it is, and whose other: `1 2\\n`."""

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
