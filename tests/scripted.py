"""Servers that say what no server should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line


@contextmanager
def scripted(play: Callable[[socket.socket], object]) -> Iterator[int]:
    """The port of a server that does `play` with each connection, in turn."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    play(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def answer_all(connection: socket.socket, extra: bytes, silent: Container[int] = ()) -> list[dict[str, Any]]:
    """Answer HELLO and LOGIN, acknowledge everything but `silent`, and say `extra` after each answer.

    Returns the requests, when the client has gone.
    """
    heard = []
    fields = {
        m.HELLO: {"epoch": "e", "heartbeat": 30, "ver": 1, "limits": {"page": 50}},
        m.LOGIN: {"id": 12, "name": "li", "token": "t", "convs": []},
        m.LOOKUP: {"id": 57, "name": "bo\x1b[31m"},
    }
    with connection.makefile("rwb") as stream:
        for text in stream:
            heard.append(request := orjson.loads(text))
            if request["msgid"] in silent:
                continue
            answer = {"msgid": m.ANSWERS.get(request["msgid"], m.ACK), "rid": request.get("rid"), "errno": 0}
            stream.write(line(answer | fields.get(request["msgid"], {"seq": 1, "ts": 1})) + extra)
            stream.flush()
    return heard
