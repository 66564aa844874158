"""Outsiders try every request. They can neither read, change, confirm nor see anything of a conversation."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import orjson
import pytest

from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.server import Server, until
from tests.talk import PASSWORD, Classic, Message, Modern

MSGIDS = range(141)
OPS = ("list", "members", "leave", "remove", "password", "end_others", "add", "")
#: Requests that succeed for anyone: chat, ADD_FRIEND (which shows presence), groups, logout and HELLO.
OPEN = {m.ONE_CHAT, m.ADD_FRIEND, m.CREATE_GROUP, m.ADD_GROUP, m.LOGINOUT, m.HELLO}
#: Other requests that succeed. They concern only the asking user, or, with LOOKUP, public facts.
OWN = {
    *((m.SYNC, None), (m.PING, None), (m.LOOKUP, None)),
    *((m.FRIENDS, "list"), (m.GROUPS, "list"), (m.ACCOUNT, "end_others")),
}


class Insiders(NamedTuple):
    """Two friends with a pair conversation and a group, and the secret text that they sent there."""

    li: Modern
    bo: Modern
    group: int
    secret: str

    @property
    def convs(self) -> tuple[str, str]:
        return pair_key(self.li.id, self.bo.id), f"g{self.group}"

    def standing(self) -> list[Message]:
        """Return the answers about everything that the server holds for the two users."""
        asked: list[tuple[int, Message]] = [
            (m.SYNC, {}),
            (m.FRIENDS, {"op": "list"}),
            (m.GROUPS, {"op": "list"}),
        ]
        asked += [(m.GROUPS, {"op": "members", "groupid": self.group})]
        asked += [(m.FETCH, {"conv": conv, "after": 0}) for conv in self.convs]
        answers = [who.done(msgid, **fields) for who in (self.li, self.bo) for msgid, fields in asked]
        return [{key: value for key, value in answer.items() if key != "rid"} for answer in answers]

    def talk(self) -> None:
        """Let both send and read a message, so that none of their cursors moves by itself later."""
        self.li.done(m.ONE_CHAT, toid=self.bo.id, msg=self.secret)
        self.bo.done(m.GROUP_CHAT, groupid=self.group, msg=self.secret)
        for reader, message in product(
            (self.li, self.bo), (self.bo.push(m.ONE_CHAT), self.li.push(m.GROUP_CHAT))
        ):
            reader.done(m.READ, conv=message["conv"], seq=message["seq"])
        until(self._is_read, "all is read")
        self.li.pushed()
        self.bo.pushed()

    def _is_read(self) -> bool:
        convs = [conv for who in (self.li, self.bo) for conv in who.done(m.SYNC)["convs"]]
        return all(conv["recv"] == conv["read"] == conv["last"] for conv in convs)


@pytest.fixture
def insiders(server: Server) -> Iterator[Insiders]:
    """Two insiders, to whom nothing may be pushed during the test."""
    server.wait_told()
    with Modern(server.port) as li, Modern(server.port) as bo:
        li.join_in()
        bo.join_in()
        for one, other in ((li, bo), (bo, li)):
            one.done(m.ADD_FRIEND, friendid=other.id)
            other.push(m.EVENT, kind="friend_added")
        group = li.done(m.CREATE_GROUP, groupname="ours")["groupid"]
        bo.done(m.ADD_GROUP, groupid=group)
        li.push(m.EVENT, kind="group_joined")
        insiders = Insiders(li, bo, group, secrets.token_hex(8))
        insiders.talk()
        yield insiders
        assert li.pushed() == bo.pushed() == []


def attempts(insiders: Insiders) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield requests of every msgid outside `OPEN`, with every op, at each insider and conversation."""
    everything = {"takeover": True, "token": "guess", "name": insiders.li.name, "password": "guess"}
    everything |= {"old": "guess", "new": "guess", "ephemeral": True, "seq": 2, "msg": "forged"}
    for msgid in MSGIDS:
        if msgid in OPEN:
            continue
        for op, user, conv, page in product(
            OPS if msgid in (m.FRIENDS, m.GROUPS, m.ACCOUNT) else [None],
            (insiders.li.id, insiders.bo.id),
            insiders.convs,
            ({}, {"after": 0}, {"before": 99}) if msgid == m.FETCH else ({},),
        ):
            who = {"id": user, "toid": user, "to": user, "friendid": user, "groupid": insiders.group}
            fields = everything | who | {"conv": conv, "c": {conv: 1}, "cid": secrets.token_hex(8)} | page
            if msgid == m.SYNC:
                fields["after"] = conv
            if msgid in (m.LOGIN, m.REG) and conv != insiders.convs[0]:
                continue  # fewer attempts, because hashing a password takes long
            yield msgid, fields | ({} if op is None else {"op": op})


def try_all(insiders: Insiders, eve: Modern) -> int:
    """Make all attempts as `eve`, and return their number.

    Check that only requests in `OWN` succeed, and that no answer or push tells a secret.
    """
    tried, before = 0, insiders.standing()
    for msgid, fields in attempts(insiders):
        tried += 1
        if msgid in (m.RECV, m.PONG):
            eve.tell(msgid, **fields)
            continue
        answer = eve.answer(eve.say(msgid, **fields))
        assert answer.get("errno", 0) or (msgid, fields.get("op")) in OWN, (msgid, fields, answer)
        assert not is_telling(insiders, answer), (msgid, fields, answer)
    assert not [each for each in eve.pushed() if is_telling(insiders, each)]
    assert insiders.standing() == before
    return tried


def is_telling(insiders: Insiders, message: Message) -> bool:
    text = orjson.dumps(message).decode()
    is_presence = message["msgid"] in (m.PRESENCE, m.TYPING, m.RECEIPT) or '"state"' in text
    return insiders.secret in text or is_presence


def test_a_stranger(server: Server, insiders: Insiders) -> None:
    with Modern(server.port) as eve:
        eve.join_in()
        tried = try_all(insiders, eve)
    print(f"{tried} requests")
    assert tried > 600


def test_someone_who_has_not_logged_in(server: Server, insiders: Insiders) -> None:
    with Modern(server.port) as eve:
        assert try_all(insiders, eve) > 600


def test_someone_who_was_a_member(server: Server, insiders: Insiders) -> None:
    """A former member cannot read messages from before the join or after the leave."""
    with Modern(server.port) as eve:
        eve.join_in()
        eve.done(m.ADD_GROUP, groupid=insiders.group)
        page = eve.done(m.FETCH, conv=f"g{insiders.group}", after=0)
        assert page["msgs"] == []
        eve.done(m.GROUPS, op="leave", groupid=insiders.group)
        for insider, kind in product((insiders.li, insiders.bo), ("group_joined", "group_left")):
            insider.push(m.EVENT, kind=kind)
        insiders.talk()
        assert try_all(insiders, eve) > 600


@pytest.mark.parametrize("is_in", [True, False])
def test_a_classic_stranger(server: Server, insiders: Insiders, is_in: bool) -> None:
    with Classic(server.port) as eve, Modern(server.port) as friend:
        friend.join_in()
        eve.register()
        if is_in:
            eve.login()
        before = insiders.standing()
        for msgid, fields in attempts(insiders):
            if not (msgid in (m.LOGIN, m.REG) and is_in):
                eve.say(msgid, **fields)
        if is_in:
            friend.done(m.ONE_CHAT, toid=eve.id, msg="the end")
        else:
            eve.say(m.LOGIN, id=eve.id, password=PASSWORD)
        heard = [eve.hear()]
        while heard[-1].get("msg") != "the end" and heard[-1].get("id") != eve.id:
            heard.append(eve.hear())
        assert not [each for each in heard if is_telling(insiders, each)]
        assert insiders.standing() == before


def test_whoever_speaks_is_who_they_are(server: Server, insiders: Insiders) -> None:
    """A message is shown with its real sender and conversation, not with those that the client claims."""
    li, bo = insiders.li, insiders.bo
    with Modern(server.port) as eve:
        eve.join_in()
        forged = {"id": bo.id, "name": bo.name, "conv": insiders.convs[0], "seq": 1, "time": "1970"}
        eve.done(m.ONE_CHAT, toid=li.id, msg="send me money", **forged)
        shown = li.push(m.ONE_CHAT)
        assert (shown["id"], shown["name"], shown["conv"]) == (eve.id, eve.name, pair_key(eve.id, li.id))
        li.done(m.READ, conv=shown["conv"], seq=shown["seq"])
        assert (eve.push(m.RECEIPT)["conv"], bo.pushed()) == (shown["conv"], [])
