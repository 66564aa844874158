"""Servers that break the protocol on purpose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import orjson

from forkchat.wire import msgid as m
from forkchat.wire.frames import line

#: Additional fields of successive answers, by the request's msgid.
Answers = Mapping[int, Iterator[dict[str, Any]]]


@contextmanager
def scripted(play: Callable[[socket.socket], object], host: str = "127.0.0.1") -> Iterator[int]:
    """Run a server that calls `play` with each connection in turn; yield its port."""
    with socket.create_server((host, 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(ConnectionResetError):
                    play(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


#: Fields of the answers, besides those that all answers have.
_FIELDS: dict[int, dict[str, object]] = {
    m.HELLO: {"epoch": "e", "heartbeat": 30, "ver": 1, "limits": {"page": 50}},
    m.LOGIN: {"id": 12, "name": "li", "token": "t", "convs": []},
    m.SYNC: {"convs": [], "more": False},
    m.FETCH: {"first": 1, "last": 0, "msgs": [], "more": False},
    m.FRIENDS: {"friends": [], "more": False},
    m.GROUPS: {"groups": [], "more": False},
    m.LOOKUP: {"id": 57, "name": "bo\x1b[31m"},
}


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a good server."""
    msgid = request["msgid"]
    answer = {"msgid": m.ANSWERS.get(msgid, m.ACK), "rid": request.get("rid"), "errno": 0}
    return answer | _FIELDS.get(msgid, {"seq": 1, "ts": 1})


def answer_all(
    connection: socket.socket, extra: bytes, answers: Answers | None = None, silent: Container[int] = ()
) -> list[dict[str, Any]]:
    """Answer HELLO and LOGIN, acknowledge everything but `silent`, and send `extra` after each answer.

    Return the requests when the client has closed the connection.
    """
    heard = []
    others = answers or {}
    with connection.makefile("rwb") as stream:
        for text in stream:
            heard.append(request := orjson.loads(text))
            if request["msgid"] in silent:
                continue
            answer = answer_to(request) | next(others.get(request["msgid"], iter(())), {})
            stream.write(line(answer) + extra)
            stream.flush()
    return heard
