"""Accounts for a load: registered, logged in once for their tokens, and made members of a group."""

from __future__ import annotations

import secrets
import socket
from types import TracebackType
from typing import Any, Self

import orjson

from client.load.roles import Account
from client.load.speaker import Address
from forkchat.wire import msgid as m
from forkchat.wire.frames import line

#: Seconds to wait for a connection or an answer.
_PATIENCE = 60.0
#: The errno of a request over a rate limit (docs/wire.md).
_RATE_LIMITED = 8


class Newcomer:
    """A connection that waits for the answer to each request."""

    def __init__(self, address: Address):
        self._sock = socket.create_connection(address, _PATIENCE)
        self._stream = self._sock.makefile("rb")
        self.ask(m.HELLO)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._sock.close()

    def ask(self, msgid: int, **fields: Any) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises ConnectionError if the answer is a refusal, or if the server closes the connection.
        """
        self._sock.sendall(line({"msgid": msgid, "rid": 1, **fields}))
        for frame in self._stream:
            answer: dict[str, Any] = orjson.loads(frame)
            if answer.get("rid") == 1:
                if answer["errno"] == 0:
                    return answer
                hint = "; set the limits of this server to 0" if answer["errno"] == _RATE_LIMITED else ""
                raise ConnectionError(answer["errmsg"] + hint)
        raise ConnectionError("the server closed the connection")


def register(address: Address, count: int) -> list[Account]:
    """Register `count` new accounts. The server takes a tenth of a second to hash each password."""
    accounts = []
    for _ in range(count):
        who = {"name": f"load-{secrets.token_hex(8)}", "password": secrets.token_hex(8)}
        with Newcomer(address) as newcomer:
            newcomer.ask(m.REG, **who)
            answer = newcomer.ask(m.LOGIN, **who)
            accounts.append(Account(answer["id"], answer["token"]))
    return accounts


def make_group(address: Address, accounts: list[Account]) -> int:
    """Make a group that has all these accounts as members. Return its id."""
    number = 0
    for account in accounts:
        with Newcomer(address) as member:
            member.ask(m.LOGIN, token=account.token, takeover=True)
            if number:
                member.ask(m.ADD_GROUP, groupid=number)
            else:
                number = member.ask(m.CREATE_GROUP, groupname="load")["groupid"]
    return number
