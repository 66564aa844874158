"""A user of the library connected through the proxy, friends with honest connections, and the laws."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from client.aio.client import Client
from client.protocol import parse
from client.protocol.events import Event, LoggedOut, LoginFailed, Message, SendFailed
from forkchat.errors import Refused, TooLarge
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.spoiled.proxy import Proxy, Strike
from tests.talk import PASSWORD

#: Seconds after the strike in which all must be well again.
LIMIT = 20.0
#: Connections of one strike above which the client counts as looping.
#: Requests of one strike above which it does.
MAX_CONNECTIONS, MAX_REQUESTS = 40, 400
#: Steps that come only when nothing else does.
#: Seconds to wait for such a step.
_QUIET = ("PING", "PONG", "PRESENCE")
_QUIET_TIME = 9.0


class NotMet(Exception):
    """A step that did not come."""


class Breach(Exception):
    """A law that did not hold."""


@dataclass
class Account:
    name: str
    id: int = 0
    token: str = ""


def _ignore(_event: Event) -> None:
    pass


async def register(port: int, name: str) -> Account:
    """Register a new account, and get a token for it."""
    async with Client("127.0.0.1", port, on_event=_ignore) as client:
        account = Account(f"{name}-{secrets.token_hex(4)}")
        account.id = await client.register(account.name, PASSWORD)
        await client.login(account.name, PASSWORD)
        account.token = client.session.token
        return account


async def come_and_go(port: int, visitor: Account) -> None:
    """Log in for a moment, and stay away long enough to be offline, again and again."""
    while True:
        async with Client("127.0.0.1", port, on_event=_ignore) as client:
            await client.login(visitor.name, PASSWORD, token=visitor.token, takeover=True)
        await asyncio.sleep(6.0)


class Table:
    """Three users in one group: li, who connects through the proxy, and her friends bo and eve.

    The visitor is a friend of li's, too.
    """

    def __init__(self, port: int, visitor: Account):
        self.port = port
        self.visitor = visitor
        self.group = 0
        self.clients = {name: Client("127.0.0.1", port, on_event=_ignore) for name in ("bo", "eve")}

    async def __aenter__(self) -> Self:
        self.li, self.bo, self.eve = [await register(self.port, name) for name in ("li", "bo", "eve")]
        async with Client("127.0.0.1", self.port, on_event=_ignore) as client:
            await client.login(self.li.name, PASSWORD, token=self.li.token)
            for other in (self.bo, self.eve, self.visitor):
                await client.request(m.ADD_FRIEND, friendid=other.id)
            self.group = (await client.request(m.CREATE_GROUP, groupname="ops", groupdesc=""))["groupid"]
        for name, account in (("bo", self.bo), ("eve", self.eve)):
            await self.clients[name].login(account.name, PASSWORD, token=account.token)
            await self.clients[name].request(m.ADD_GROUP, groupid=self.group)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(client.close() for client in self.clients.values()))

    def convs(self) -> dict[str, str]:
        bo, eve = pair_key(self.li.id, self.bo.id), pair_key(self.li.id, self.eve.id)
        return {"bo": bo, "eve": eve, "group": f"g{self.group}"}


@dataclass
class Run:
    """One strike, from the login to the end. `seconds`: from the strike until all was well."""

    table: Table
    strike: Strike | None
    tag: str = field(default_factory=lambda: secrets.token_hex(3))
    got: dict[str, list[str]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    due: dict[str, list[str]] = field(default_factory=dict)
    sent: dict[str, list[str]] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    proxy: Proxy = field(init=False)
    client: Client = field(init=False)

    async def play(self) -> None:
        """Play the scene and check the laws. Raises Breach, and NotMet if the strike's step did not come."""
        for key in self.table.convs():
            self.due[key], self.sent[key] = [], []
        async with Proxy(self.table.port, self.strike) as proxy:
            self.proxy = proxy
            self.client = Client("127.0.0.1", proxy.port, on_event=self._on_event)
            staying = asyncio.create_task(self._stay())
            try:
                await self._talk()
            finally:
                staying.cancel()
                await asyncio.gather(staying, return_exceptions=True)
                # Mark it as read, so that only SYNC tells of this conversation, and not the next login.
                eve = self.table.convs()["eve"]
                with suppress(TooLarge):
                    self.client.read(eve, self.last.get(eve, 0))
                await asyncio.wait_for(self.client.close(), 10)
        await self._check()

    async def _talk(self) -> None:
        await self._tell("bo", "bo")
        await self._tell("eve", "group")
        await self._wait(self._is_in, "logged in")
        asked = asyncio.create_task(self._ask())
        try:
            if not self._excused("live"):
                await self._wait(self._has_all, "what had waited")
            self._say("eve", self.table.eve.id)
            self._say("group", f"g{self.table.group}")
            await self._tell("bo", "bo")
            await self._tell("eve", "group")
            await self._stir()
            if not self._excused("live"):
                await self._wait(self._has_all, "what came live")
            await self._wait(asked.done, "answers")
            asked.result()
        finally:
            asked.cancel()
        if self.strike and self.strike.step in _QUIET:
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_TIME):
                    while not self.proxy.is_struck:
                        await asyncio.sleep(0.02)
        self.proxy.cut_all()
        await self._tell("bo", "bo")
        await self._tell("eve", "group")
        self._say("bo", self.table.bo.id)
        await self._wait(self._is_in, "back")
        if not self._excused("live"):
            await self._wait(self._has_all, "what had waited meanwhile")
        if self.strike and self.strike.is_lasting and self.proxy.honest_at:
            await asyncio.sleep(self.proxy.honest_at - self._now())
        await self._tell("bo", "bo")
        await self._tell("eve", "group")
        await self._tell("eve", "eve")
        for key, to in (
            ("bo", self.table.bo.id),
            ("eve", self.table.eve.id),
            ("group", f"g{self.table.group}"),
        ):
            self._say(key, to)
        await self._wait(lambda: self._is_in() and self._has_all() and self._is_sent(), "the last lines")
        if self.strike and not self.proxy.is_struck:
            raise NotMet
        self.seconds = self._now() - (self.proxy.honest_at or self._now())

    async def _ask(self) -> None:
        """Look up a user, and list friends, groups and members, until all are answered."""
        client, table = self.client, self.table
        found = await self._insist(lambda: client.request(m.LOOKUP, name=table.bo.name))
        if found:
            self._say("bo", parse.identifier(found, "id"))
        await self._insist(lambda: client.listed(m.FRIENDS, "friends", op="list"))
        await self._insist(lambda: client.listed(m.GROUPS, "groups", op="list"))
        await self._insist(lambda: client.listed(m.GROUPS, "users", op="members", groupid=table.group))

    async def _insist(self, ask: Callable[[], Any]) -> Any:
        while True:
            with suppress(Refused, OSError):
                try:
                    answer = await ask()
                except TooLarge as error:
                    return self.said.append(str(error))
                if isinstance(answer, dict) and "id" in answer:
                    parse.identifier(answer, "id")
                return answer
            await asyncio.sleep(0.2)

    async def _stir(self) -> None:
        """Let the friends type, read, leave the group and come back."""
        bo, eve = self.table.clients["bo"], self.table.clients["eve"]
        bo.typing(self.table.convs()["bo"])
        standing = (await bo.request(m.FETCH, conv=self.table.convs()["bo"], limit=1))["last"]
        await bo.request(m.READ, conv=self.table.convs()["bo"], seq=standing)
        await eve.request(m.GROUPS, op="leave", groupid=self.table.group)
        await eve.request(m.ADD_GROUP, groupid=self.table.group)

    async def _tell(self, who: str, key: str) -> None:
        """Send li a line from a friend with an honest connection."""
        text = f"{self.tag} {key} {len(self.due[key])}"
        to = f"g{self.table.group}" if key == "group" else self.table.li.id
        self.due[key].append(text)
        await self.table.clients[who].send(to, text)

    def _say(self, key: str, to: int | str) -> None:
        """Send a line from li."""
        text = f"{self.tag} from li to {key} {len(self.sent[key])}"
        self.sent[key].append(text)
        try:
            self.client.post(to, text)
        except Refused as error:
            self.failed.add(text)
            self.said.append(str(error))

    async def _stay(self) -> None:
        """Log in, and again whenever the client is logged out."""
        while True:
            if not self.client.session.is_wanted:
                try:
                    await self.client.login(
                        self.table.li.name, PASSWORD, token=self.table.li.token, takeover=True
                    )
                except (OSError, Refused) as error:
                    self.said.append(str(error))
            await asyncio.sleep(0.1)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Message):
            self.last[event.conv] = max(event.seq, self.last.get(event.conv, 0))
        match event:
            case Message(is_own=False) if event.text.startswith(self.tag):
                self.got.setdefault(event.conv, []).append(event.text)
            case SendFailed():
                self.failed.add(event.text)
                self.said.append(event.refused.errmsg)
            case LoginFailed() | LoggedOut():
                self.said.append(str(event))

    def _is_in(self) -> bool:
        return self.client.session.is_ready and self.client.session.is_wanted

    def _excused(self, law: str) -> bool:
        return self.strike is not None and law in self.strike.way.excuses

    def _has_all(self) -> bool:
        """Return True if all due lines came; after a lie that hides messages, if the last ones came."""
        convs = self.table.convs()
        return all(
            not texts
            or set(texts[-1:] if self._excused("lost") else texts) <= set(self.got.get(convs[key], []))
            for key, texts in self.due.items()
        )

    def _is_sent(self) -> bool:
        return not self.client.session.unsent

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _wait(self, condition: Callable[[], object], what: str) -> None:
        began = self._now()
        while not condition():
            since = max(began, self.proxy.honest_at or began)
            if self._now() > since + LIMIT + (self.strike.way.slow if self.strike else 0.0):
                raise Breach(f"not within {LIMIT:.0f} s: {what}; {self._state()}")
            await asyncio.sleep(0.02)

    def _state(self) -> str:
        convs = self.table.convs()
        missing = [
            t for key, texts in self.due.items() for t in texts if t not in self.got.get(convs[key], [])
        ]
        session = self.client.session
        return f"{session.state.value}, unsent {session.unsent}, missing {missing}, said {self.said[-3:]}"

    async def _check(self) -> None:
        """Check the laws by requests on honest connections. Raises Breach."""
        convs = self.table.convs()
        for conv, texts in self.got.items():
            known = [key for key, each in convs.items() if each == conv]
            wanted = self.due[known[0]] if known else []
            if not self._excused("once") and len(texts) != len(set(texts)):
                raise Breach(f"handed out twice in {conv}: {texts}")
            if known and not self._excused("order") and list(dict.fromkeys(texts)) != wanted:
                raise Breach(f"out of order in {conv}: {texts}, not {wanted}")
        stored: dict[str, Counter[str]] = {}
        for key, conv in convs.items():
            reader = self.table.clients["eve" if key == "eve" else "bo"]
            page = (await reader.request(m.FETCH, conv=conv, limit=60))["msgs"]
            stored[key] = Counter(each["msg"] for each in page if each["msg"].startswith(self.tag))
        for key, found in stored.items():
            if doubled := [text for text, times in found.items() if times > 1]:
                raise Breach(f"stored twice: {doubled}")
            wrong = [text for text in found if "from li" in text and text not in self.sent[key]]
            if wrong and not self._excused("place"):
                raise Breach(f"at the wrong person: {wrong} at {key}")
            lost = [text for text in self.sent[key] if text not in found and text not in self.failed]
            if lost and not self._excused("place"):
                raise Breach(f"lost: {lost}")
            ours = [text for text in found if text in self.sent[key]]
            if ours != [text for text in self.sent[key] if text in ours] and not self.failed:
                raise Breach(f"stored out of order: {ours}")
        if self.proxy.connections > MAX_CONNECTIONS or self.proxy.requests > MAX_REQUESTS:
            raise Breach(f"a loop: {self.proxy.connections} connections, {self.proxy.requests} requests")
