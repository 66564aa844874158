"""One connection to Redis on the loop: it sends commands at the turn's end and matches replies in order.

redis-py opens and authenticates the connection on a thread. After that, hiredis packs and parses on the same
socket. A redis-py round trip costs 84 µs and blocks; a pipelined command here costs about 1 µs.
"""

from __future__ import annotations

import random
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from hiredis import HiredisError, PushNotification, Reader, ReplyError, pack_command

from forkchat import log
from forkchat.bus.connect import connect, socket_of
from forkchat.bus.replies import READS, anything
from forkchat.errors import Unavailable
from forkchat.jobs import report
from forkchat.runtime import STAGE_BUS, Future, Lane, Loop

Reply = Callable[[Any], object]

#: The reader's result while a reply is incomplete. It is not `False`, because `False` is a reply.
_NOTHING = object()

#: Bytes of one read. Each read into a larger buffer would need a memory mapping of its own.
_READ_SIZE = 65536
#: Seconds to connect; seconds without a reply while commands wait for one; seconds between checks of that.
_CONNECT_TIMEOUT, _REPLY_TIMEOUT, _CHECK = 3.0, 5.0, 1.0
#: Seconds between attempts to connect: the first and the longest delay.
_BACKOFF = (0.05, 2.0)
#: Words of error replies after which the URL is followed again. The server became a replica, still reads its
#: data, or lost its primary or its replicas. Or it accepts no further writes, or its cluster is down.
_ELSEWHERE = (
    *("READONLY ", "LOADING ", "MASTERDOWN ", "NOREPLICAS ", "OOM ", "MISCONF ", "CLUSTERDOWN ", "MOVED "),
)


class Link:
    """A connection that reconnects by itself. It sends nothing again, because the caller decides on that.

    `run` names the run of Redis that the connection leads to, "" while it is down. `on_up()` and `on_down()`
    are called as the connection comes and goes. `on_push(list)` gets what Redis sends without a request.
    `on_elsewhere(why)` is called when the server says that it is not, or not yet, the server to use. A reply
    is passed to its callback unchanged. An error or a lost connection is passed as an exception.
    """

    def __init__(self, loop: Loop, lane: Lane, url: str, name: str):
        self._loop = loop
        self._lane = lane
        self._url = url
        self._name = name
        self.on_up: Callable[[], object] = lambda: None
        self.on_down: Callable[[], object] = lambda: None
        self.on_push: Callable[[list[Any]], object] = lambda push: None
        self.on_elsewhere: Callable[[str], object] = self.drop
        self.run = ""
        self._is_closed = False
        self._redis: Any = None
        self._sock: socket.socket | None = None
        self._reader = Reader(notEnoughData=_NOTHING)
        self._replies: deque[Reply] = deque()
        self._out: list[bytes] = []
        self._is_flushing = False
        self._is_blocked = False  # the socket accepts no bytes for now
        self._backoff = _BACKOFF[0]
        self._replied_at = self._up_at = 0.0
        self._first_up: Future[None] = Future()

    @property
    def is_up(self) -> bool:
        return bool(self.run)

    def start(self) -> Future[None]:
        """Connect, and stay connected. The future is done when the connection is up for the first time."""
        self._loop.call_later(_CHECK, self._check)
        self._connect()
        return self._first_up

    def close(self) -> None:
        self._is_closed = True
        self.drop("closed")

    def call(self, *command: Any, reads: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Send a command. The future gets its reply, converted by `reads` or else by the command's `READS`.

        The future gets Unavailable if no reply comes, if Redis refuses, or if the reply cannot be converted.
        """
        future: Future[Any] = Future()
        reads = reads or READS.get(command[0], anything)

        def refuse(why: str) -> None:
            refused = Unavailable(why)
            report(f"redis {command[0]}", refused)
            future.set_exception(refused)

        def reply(value: Any) -> None:
            if isinstance(value, Unavailable):
                future.set_exception(value)
                return
            if isinstance(value, Exception):
                refuse(f"Redis refuses it: {value}")
                return
            try:
                found = reads(value)
            except Exception:
                refuse(f"Redis answers with {value!r:.50}, which is no answer to it")
            else:
                future.set_result(found)

        self.send(command, reply)
        return future

    def send(self, command: tuple[Any, ...], reply: Reply) -> None:
        """Send a command, and call `reply` with its reply, or with Unavailable if the connection is down."""
        if not self.run:
            reply(Unavailable("Redis cannot be reached"))
            return
        if not self._replies:
            self._replied_at = self._loop.time()
        self._replies.append(reply)
        self._write(command)

    def tell(self, command: tuple[Any, ...]) -> None:
        """Send a command that Redis answers with pushes only (SUBSCRIBE, UNSUBSCRIBE)."""
        if self.is_up:
            self._write(command)

    def drop(self, why: str) -> None:
        """Close this connection and reconnect. Commands that wait for a reply get Unavailable."""
        if self._sock is None:
            return
        if not self._is_closed:
            log.warning("redis.down", link=self._name, why=why)
        self._loop.unregister(self._sock.fileno())
        self._redis.disconnect()
        self._sock = self._redis = None
        self.run = ""
        self._reconnect()
        self._out.clear()
        replies, self._replies = self._replies, deque()
        for reply in replies:
            try:
                reply(Unavailable("the connection to Redis was lost"))
            except Exception as error:
                log.exception("redis.reply_failed", error, link=self._name)
        self.on_down()

    def _connect(self) -> None:
        self._lane.run(connect, self._url, _CONNECT_TIMEOUT).add_done_callback(self._connected)

    def _reconnect(self) -> None:
        if not self._is_closed:
            self._loop.call_later(self._backoff * random.uniform(0.5, 1), self._connect)
            self._backoff = min(self._backoff * 2, _BACKOFF[1])

    def _connected(self, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            log.warning("redis.unreachable", link=self._name, why=error)
            self._reconnect()
            return
        self._redis, run = done.result()
        if self._is_closed:
            self._redis.disconnect()
            return
        sock = socket_of(self._redis)
        sock.setblocking(False)
        try:
            self._loop.register(sock.fileno(), select.EPOLLIN, self._on_events)
        except OSError as error:  # the kernel has no room for it
            log.error("redis.unusable", link=self._name, why=error)
            self._redis.disconnect()
            self._reconnect()
            return
        self._sock = sock
        self._reader = Reader(notEnoughData=_NOTHING)
        self._is_blocked = False
        self._up_at = self._loop.time()
        self.run = run
        log.info("redis.up", link=self._name)
        try:
            self.on_up()
        except Exception as error:
            log.exception("redis.up_failed", error, link=self._name)
            self.drop("it cannot be used")
            return
        self._first_up.set_result(None)

    def _write(self, command: tuple[Any, ...]) -> None:
        self._out.append(pack_command(command))
        if not self._is_flushing and not self._is_blocked:
            self._is_flushing = True
            self._loop.at_turn_end(STAGE_BUS, self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._sock is None or not self._out:
            return
        data = b"".join(self._out)
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            sent = 0
        except OSError as error:
            self.drop(str(error))
            return
        self._out = [data[sent:]] if sent < len(data) else []
        if self._is_blocked != bool(self._out):
            self._is_blocked = not self._is_blocked
            events = select.EPOLLIN | (select.EPOLLOUT if self._is_blocked else 0)
            self._loop.modify(self._sock.fileno(), events)

    def _on_events(self, events: int) -> None:
        if events & select.EPOLLOUT:
            self._flush()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._read()

    def _read(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            data = sock.recv(_READ_SIZE)
            # Over TLS, epoll does not see bytes that the library has already read from the socket.
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(_READ_SIZE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self.drop(str(error))
            return
        if not data:
            self.drop("closed by Redis")
            return
        self._reader.feed(data)
        self._replied_at = self._loop.time()
        self._dispatch()

    def _dispatch(self) -> None:
        sock = self._sock
        while self._sock is sock:
            try:
                reply = self._reader.gets()
            except HiredisError as error:
                self.drop(f"not Redis's protocol: {error}")
                return
            if reply is _NOTHING:
                return
            try:
                if isinstance(reply, PushNotification):
                    self.on_push(reply)
                else:
                    self._answer(reply)
            except Exception as error:  # later replies belong to other callers
                log.exception("redis.reply_failed", error, link=self._name)

    def _answer(self, reply: Any) -> None:
        if not self._replies:
            self.drop(f"a reply that nobody asked for: {reply!r:.200}")
            return
        answer = self._replies.popleft()
        if isinstance(reply, ReplyError) and any(word in str(reply) for word in _ELSEWHERE):
            self._loop.post(self._lead_elsewhere, self._sock, str(reply))
        answer(reply)

    def _lead_elsewhere(self, sock: socket.socket, why: str) -> None:
        if self._sock is sock:
            self.on_elsewhere(why)

    def _check(self) -> None:
        self._loop.call_later(_CHECK, self._check)
        if self.is_up and self._loop.time() - self._up_at > _CHECK:
            self._backoff = _BACKOFF[0]  # it lasted, so the next one is likely to last too
        if self._replies and self._loop.time() - self._replied_at > _REPLY_TIMEOUT:
            self.drop("no reply")
        elif self.is_up and not self._replies:
            self.send(("PING",), lambda reply: None)  # also detects a loss while `tell` waits for pushes
