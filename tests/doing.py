"""Every action of users, done once, for servers with other setups of MySQL or Redis."""

from __future__ import annotations

from typing import Any

from forkchat.wire import msgid as m
from tests.server import until
from tests.talk import PASSWORD, Classic, Message, Modern, new_name

#: The errno of an unavailable dependency. No answer here may have it.
UNAVAILABLE = 11
_NEW = "another long password"


class Person(Modern):
    """A client that fails if a request is answered `unavailable`."""

    def answer(self, rid: str | int) -> Message:
        answer = super().answer(rid)
        assert answer.get("errno") != UNAVAILABLE, answer
        return answer

    def fails(self, errno: int, msgid: int, **fields: Any) -> None:
        answer = self.ask(msgid, **fields)
        assert answer["errno"] == errno, answer


def do_everything(port: int) -> None:
    """Do every action, one after another, as documented in docs/wire.md."""
    li, bo, mei = (Person(port).join_in() for _ in range(3))
    _sessions(port)
    _friends(li, bo)
    conv = _chat(li, bo)
    _groups(li, bo, mei)
    _history(li, bo, conv)
    _classic(port, li)


def _sessions(port: int) -> None:
    holder = Person(port).join_in()
    other = Person(port)
    other.fails(7, m.REG, name=holder.name, password=PASSWORD)
    other.fails(1, m.LOGIN, name=holder.name, password="a wrong one")
    other.fails(2, m.LOGIN, name=holder.name, password=PASSWORD)
    assert other.login(name=holder.name, password=PASSWORD, takeover=True)["errno"] == 0
    assert holder.push(m.BYE)["reason"] == "replaced"
    holder.wait_closed()
    other.token = other.done(m.ACCOUNT, op="password", old=PASSWORD, new=_NEW)["token"]
    other.close()
    again = Person(port)
    until(lambda: again.login(token=other.token)["errno"] == 0, "the session before is over")
    again.done(m.LOGINOUT)
    assert again.login(name=holder.name, password=_NEW)["errno"] == 0
    again.done(m.LOGINOUT)


def _friends(li: Person, bo: Person) -> None:
    assert li.done(m.LOOKUP, name=bo.name)["id"] == bo.id
    assert li.done(m.LOOKUP, id=bo.id)["name"] == bo.name
    assert li.done(m.ADD_FRIEND, friendid=bo.id)["state"] == "online"
    assert bo.push(m.EVENT, kind="friend_added")["id"] == li.id
    assert [each["id"] for each in li.done(m.FRIENDS, op="list")["friends"]] == [bo.id]
    li.done(m.FRIENDS, op="remove", friendid=bo.id)
    li.done(m.ADD_FRIEND, friendid=bo.id)


def _chat(li: Person, bo: Person) -> str:
    for text in ("hi", "'; -- \\ \" \u4f60\u597d \U0001f600"):
        said = li.done(m.ONE_CHAT, toid=bo.id, msg=text, cid=new_name())
        assert bo.push(m.ONE_CHAT)["msg"] == text
    conv = str(said["conv"])
    assert li.done(m.ONE_CHAT, toid=bo.id, msg="?", ephemeral=True)["receivers"] >= 1
    assert bo.push(m.ONE_CHAT)["msg"] == "?"
    li.done(m.TYPING, conv=conv)
    bo.push(m.TYPING, conv=conv)
    bo.tell(m.RECV, c={conv: said["seq"]})
    bo.done(m.READ, conv=conv, seq=said["seq"])
    assert li.push(117)["seq"] == said["seq"]
    return conv


def _groups(li: Person, bo: Person, mei: Person) -> None:
    group = li.done(m.CREATE_GROUP, groupname="ops", groupdesc="who is on call")["groupid"]
    for each in (bo, mei):
        each.done(m.ADD_GROUP, groupid=group)
    assert len(li.done(m.GROUPS, op="members", groupid=group)["users"]) == 3
    li.done(m.GROUP_CHAT, groupid=group, msg="lunch?", cid=new_name())
    assert bo.push(m.GROUP_CHAT)["msg"] == mei.push(m.GROUP_CHAT)["msg"] == "lunch?"
    li.done(m.GROUP_CHAT, groupid=group, msg="now", ephemeral=True)
    li.done(m.GROUPS, op="remove", groupid=group, id=bo.id)
    bo.fails(5, m.ADD_GROUP, groupid=group)
    li.done(m.GROUPS, op="readmit", groupid=group, id=bo.id)
    bo.done(m.ADD_GROUP, groupid=group)
    mei.done(m.GROUPS, op="leave", groupid=group)
    li.done(m.GROUPS, op="leave", groupid=group)
    (found,) = bo.done(m.GROUPS, op="list")["groups"]
    assert found["role"] == "creator"


def _history(li: Person, bo: Person, conv: str) -> None:
    assert bo.done(m.FETCH, conv=conv, after=0)["last"] == 2
    assert bo.done(m.FETCH, conv=conv, before=3)["last"] == 2
    assert conv in [each["conv"] for each in li.done(m.SYNC)["convs"]]


def _classic(port: int, li: Person) -> None:
    old = Classic(port).join_in()
    old.say(m.ADD_FRIEND, friendid=li.id)
    old.say(m.ONE_CHAT, toid=li.id, id=old.id, msg="hello")
    assert li.push(m.ONE_CHAT, id=old.id)["msg"] == "hello"
    old.say(m.LOGINOUT, id=old.id)
    li.done(m.ONE_CHAT, toid=old.id, msg="later", cid=new_name())

    def has_it() -> bool:
        return [each["msg"] for each in old.login().get("offlinemsg", [])] == ["later"]

    assert has_it()
    old.close()
