"""chatcli in a terminal, connected through the proxy: one way of each group at each step."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from contextlib import suppress
from subprocess import CalledProcessError

from forkchat.errors import NotMember
from forkchat.wire import msgid as m
from tests.pane import Pane, Tmux
from tests.spoiled.library import Breach, NotMet, Table
from tests.spoiled.proxy import Proxy, Strike
from tests.talk import PASSWORD

#: Seconds for all to be well again: the client's longest timeout, and the recovery after it.
LIMIT = 50.0
#: Seconds for the client to exit.
LEAVE_TIME = 5.0
#: Steps that occur in a user's session.
STEPS = (
    "HELLO_ACK",
    "LOGIN_ACK",
    "CONVS",
    "PAGE",
    "ACK of LOOKUP",
    "ACK of ONE_CHAT",
    "ONE_CHAT",
    "GROUP_CHAT",
    "RECEIPT",
)


def chosen(strikes: list[Strike]) -> list[Strike]:
    """Return one way of each group at each step."""
    firsts: dict[tuple[str, str], Strike] = {}
    for strike in strikes:
        if strike.step in STEPS and strike.number == 1 and not strike.is_lasting:
            firsts.setdefault((strike.step, strike.way.group), strike)
    return list(firsts.values())


#: The client's error texts after some lies, by the group of the way.
_REFUSALS = {"limits": "a request may have 1 bytes", "other id": "this is yourself"}


class Refusal(Exception):
    """The client's statement that something cannot be done, which is right after this lie."""


class Seat:
    """A user of a table with a terminal. The user logs in once beforehand, so that the client has a token."""

    def __init__(self, tmux: Tmux, table: Table):
        self.table = table
        self.proxy = Proxy(table.port)
        self._tmux = tmux
        self._home = tmux.home()

    async def open(self) -> None:
        await self.proxy.__aenter__()
        pane = await self.pane()
        await asyncio.to_thread(pane.enter, "login", self.table.li.name)
        await asyncio.to_thread(pane.leave)

    async def close(self) -> None:
        await self.proxy.__aexit__()

    async def pane(self) -> Pane:
        return await asyncio.to_thread(Pane, self._tmux, self.proxy.port, home=self._home)

    async def play(self, strike: Strike) -> float:
        """Play one strike; return the seconds until all was well. Raises Breach and NotMet."""
        self.proxy.begin(strike)
        pane = await self.pane()
        try:
            return await _Visit(self, pane, strike).play()
        except Breach as error:
            raise Breach(f"{error}; on:\n{pane.screen()}") from None
        finally:
            self.proxy.begin(None)
            with suppress(CalledProcessError):
                await asyncio.to_thread(self._tmux.run, "kill-pane", "-t", pane.target)


class _Visit:
    def __init__(self, seat: Seat, pane: Pane, strike: Strike):
        self._seat, self._pane, self._strike = seat, pane, strike
        self._proxy, self._table = seat.proxy, seat.table
        self._tag = secrets.token_hex(3)
        self._sent: list[str] = []
        self._due: list[str] = []

    async def play(self) -> float:
        try:
            seconds = await self._talk()
        except Refusal:
            seconds = 0.0
        await self._leave()
        await self._check()
        if not self._proxy.is_struck:
            raise NotMet
        return seconds

    async def _talk(self) -> float:
        await self._come_in()
        await self._type(f"/msg {self._table.bo.name}")
        await self._sees(f"\n{self._table.bo.name}>")
        await self._line()
        await self._hear()
        bo, eve = self._table.clients["bo"], self._table.clients["eve"]
        await eve.send(f"g{self._table.group}", f"{self._tag} to all")
        conv = self._table.convs()["bo"]
        await bo.request(m.READ, conv=conv, seq=(await bo.request(m.FETCH, conv=conv, limit=1))["last"])
        self._proxy.cut_all()
        await self._hear(is_waited=False)
        await self._line(is_waited=False)
        await self._come_in()
        if self._strike.way.group == "epoch":  # all is read again, beginning at the home page
            await self._sees("connected again")
            await self._type(f"/msg {self._table.bo.name}")
        await self._sees(*self._due, *self._sent)
        await self._hear()
        await self._line()
        now = asyncio.get_running_loop().time()
        return now - (self._proxy.honest_at or now)

    async def _screen(self) -> str:
        return await asyncio.to_thread(self._pane.screen)

    async def _come_in(self) -> None:
        """Wait for the login, and do what the client asks for when it is logged out."""
        began = asyncio.get_running_loop().time()
        tried = 0.0
        while f"{self._table.li.name} ●" not in (screen := await self._screen()):
            self._check_screen(screen)
            now = asyncio.get_running_loop().time()
            if now > max(began, self._proxy.honest_at or began) + LIMIT + self._strike.way.slow:
                raise Breach("not logged in")
            if re.search(r"assword[^│]*: *$", screen):
                await asyncio.to_thread(self._pane.type, PASSWORD)
                await asyncio.sleep(1.0)
            elif now > tried + 5.0 and re.search(r"try /login|/takeover|could not log|/login \S+", screen):
                tried = now
                word = "/takeover" if "/takeover comes back" in screen else f"/login {self._table.li.name}"
                await asyncio.to_thread(self._pane.press, "C-u")
                await asyncio.to_thread(self._pane.type, word)
            await asyncio.sleep(0.2)

    def _check_screen(self, screen: str) -> None:
        said = _REFUSALS.get(self._strike.way.group)
        if said and said in screen:
            raise Refusal
        if "Traceback" in screen or "ended with" in screen:
            raise Breach("it has ended")

    async def _sees(self, *texts: str) -> None:
        """Wait until all texts are on the screen; a refused line may be marked as refused instead."""
        began = asyncio.get_running_loop().time()
        while True:
            screen = await self._screen()
            self._check_screen(screen)
            missing = [text for text in texts if text not in screen]
            if not missing:
                return
            if self._strike.way.group == "errno" and f"{missing[0].removesuffix(' ✓')} ✗" in screen:
                return
            if asyncio.get_running_loop().time() > (
                max(began, self._proxy.honest_at or began) + LIMIT + self._strike.way.slow
            ):
                raise Breach(f"not seen: {missing}")
            await asyncio.sleep(0.1)

    async def _type(self, text: str) -> None:
        await asyncio.to_thread(self._pane.press, "C-u")
        await asyncio.to_thread(self._pane.type, text)

    async def _line(self, is_waited: bool = True) -> None:
        text = f"{self._tag} from li {len(self._sent)}"
        self._sent.append(f"{text} ✓")
        await self._type(text)
        if is_waited:
            await self._sees(self._sent[-1])

    async def _hear(self, is_waited: bool = True) -> None:
        text = f"{self._tag} from bo {len(self._due)}"
        self._due.append(text)
        await self._table.clients["bo"].send(self._table.li.id, text)
        if is_waited and "live" not in self._strike.way.excuses:
            await self._sees(text)

    async def _leave(self) -> None:
        await asyncio.to_thread(self._pane.press, "C-q")
        began = asyncio.get_running_loop().time()
        while "ended with 0" not in await self._screen():
            if asyncio.get_running_loop().time() > began + LEAVE_TIME:
                raise Breach("it does not leave")
            await asyncio.sleep(0.05)
        if errors := self._pane.errors.read_text():
            raise Breach(f"standard error: {errors[-500:]}")

    async def _check(self) -> None:
        stored: Counter[str] = Counter()
        for who, conv in (("bo", self._table.convs()["bo"]), ("eve", self._table.convs()["eve"])):
            try:
                page = await self._table.clients[who].request(m.FETCH, conv=conv, limit=60)
            except NotMember:
                continue  # they have no conversation
            found = [each["msg"] for each in page["msgs"] if each["msg"].startswith(self._tag)]
            if who == "eve" and found and "place" not in self._strike.way.excuses:
                raise Breach(f"at the wrong person: {found}")
            stored.update(text for text in found if "from li" in text)
        wanted = {text.removesuffix(" ✓") for text in self._sent}
        if max(stored.values(), default=0) > 1 or (
            set(stored) != wanted and self._strike.way.group not in ("errno", *_REFUSALS)
        ):
            raise Breach(f"stored {dict(stored)}, not {sorted(wanted)}")
