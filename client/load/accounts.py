"""Accounts for a load: registered, logged in once for their tokens, and members of a group."""

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

_PATIENCE = 60.0
_RATE_LIMITED = 8


class Newcomer:
    """A connection that waits for each answer."""

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
        """The answer. Raises ConnectionError when it is a refusal."""
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
    """So many new accounts. Hashing their passwords takes the server a tenth of a second for each."""
    accounts = []
    for _ in range(count):
        who = {"name": f"load-{secrets.token_hex(8)}", "password": secrets.token_hex(8)}
        with Newcomer(address) as newcomer:
            newcomer.ask(m.REG, **who)
            answer = newcomer.ask(m.LOGIN, **who)
            accounts.append(Account(answer["id"], answer["token"]))
    return accounts


def make_group(address: Address, accounts: list[Account]) -> int:
    """A group that all of these are members of."""
    number = 0
    for account in accounts:
        with Newcomer(address) as member:
            member.ask(m.LOGIN, token=account.token, takeover=True)
            if number:
                member.ask(m.ADD_GROUP, groupid=number)
            else:
                number = member.ask(m.CREATE_GROUP, groupname="load")["groupid"]
    return number
