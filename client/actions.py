"""What the commands do, each with the words that the user gave it."""

from __future__ import annotations

import os
from typing import Any

from client import parse
from client.events import Group
from client.shell import Quit, Shell, UsageError
from client.text import shown_name
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key
from forkchat.wire.requests import MAX_SEQ

#: Environment variables that scripts give passwords in.
PASSWORD, NEW_PASSWORD = "FORKCHAT_PASSWORD", "FORKCHAT_NEW_PASSWORD"


async def _secret(shell: Shell, variable: str, prompt: str, is_new: bool = False) -> str:
    """A password from the environment, else from the user, who types a new one twice."""
    if given := os.environ.get(variable):
        return given
    try:
        password = await shell.screen.secret(prompt)
        if is_new and await shell.screen.secret("the same again: ") != password:
            raise UsageError("these were two different passwords")
    except EOFError:
        raise UsageError(f"no password; without a terminal set {variable}") from None
    if not password:
        raise UsageError("no password, nothing done")
    return password


async def register(shell: Shell, name: str) -> None:
    password = await _secret(shell, PASSWORD, f"password for {shown_name(name)}: ", is_new=True)
    user = await shell.client.register(name, password)
    shell.tell(f"registered as {shown_name(name)}; your id is {user}")
    await shell.log_in(user, password)


async def login(shell: Shell, who: str) -> None:
    password = await _secret(shell, PASSWORD, "password: ")
    is_id = who.isascii() and who.isdigit()
    await shell.log_in(int(who) if is_id else who.removeprefix("@"), password)


async def takeover(shell: Shell) -> None:
    await shell.take_over()


async def logout(shell: Shell) -> None:
    await shell.client.request(m.LOGINOUT)
    shell.current = ""


async def passwd(shell: Shell) -> None:
    old = await _secret(shell, PASSWORD, "old password: ")
    new = await _secret(shell, NEW_PASSWORD, "new password: ", is_new=True)
    await shell.client.request(m.ACCOUNT, op="password", old=old, new=new)
    shell.tell("the password is changed; sessions elsewhere must log in again")


async def msg(shell: Shell, who: str, text: str = "") -> None:
    conv = await shell.conversation(who)
    if text:
        await shell.say(conv, text)
    else:
        shell.current = conv
        shell.tell(f"what you type now goes to {shell.title(conv)}")


async def group_msg(shell: Shell, group: str, text: str) -> None:
    await shell.say(group_key(shell.group(group)), text)


async def say(shell: Shell, text: str) -> None:
    if not shell.current:
        raise UsageError("to whom? /msg NAME TEXT says it to someone, /msg #GROUP TEXT in a group")
    await shell.say(shell.current, text)


async def add(shell: Shell, who: str) -> None:
    friend = parse.friend(await shell.client.request(m.ADD_FRIEND, friendid=await shell.user(who)))
    shell.directory.add_friend(friend)
    shell.tell(f"{shown_name(friend.name)} ({friend.id}) is your friend now, and {friend.state}")


async def unfriend(shell: Shell, who: str) -> None:
    user = await shell.user(who)
    await shell.client.request(m.FRIENDS, op="remove", friendid=user)
    shell.directory.friends.pop(user, None)
    shell.tell(f"{shown_name(shell.directory.user(user))} is no friend of yours any more")


async def friends(shell: Shell) -> None:
    found = parse.friends(await shell.client.request(m.FRIENDS, op="list"))
    for friend in found:
        shell.directory.add_friend(friend)
        shell.tell(f"{shown_name(friend.name)} ({friend.id}) {friend.state}")
    if not found:
        shell.tell("no friends yet: /add NAME adds one")


async def who(shell: Shell, name: str) -> None:
    user = await shell.user(name)
    friend = shell.directory.friends.get(user)
    state = f", {friend.state}" if friend else ""
    shell.tell(f"{shown_name(shell.directory.user(user))}, id {user}{state}")


async def create_group(shell: Shell, name: str, desc: str = "") -> None:
    fields = await shell.client.request(m.CREATE_GROUP, groupname=name, groupdesc=desc)
    group = parse.integer(fields, "groupid")
    shell.directory.groups[group] = Group(group, name, "creator")
    shell.current = group_key(group)
    shell.tell(f"the group {shown_name(name)} is made; others join it with /join {group}")


async def join(shell: Shell, name: str) -> None:
    fields = await shell.client.request(m.ADD_GROUP, groupid=shell.group(name))
    group = Group(
        parse.integer(fields, "groupid"), parse.text(fields, "groupname"), parse.text(fields, "role", "")
    )
    shell.directory.groups[group.id] = group
    shell.current = group_key(group.id)
    shell.tell(f"you are in {shell.title(shell.current)}; what you type now goes there")


async def leave(shell: Shell, name: str) -> None:
    group = shell.group(name)
    title = shell.title(group_key(group))
    await shell.client.request(m.GROUPS, op="leave", groupid=group)
    shell.directory.groups.pop(group, None)
    if shell.current == group_key(group):
        shell.current = ""
    shell.tell(f"you have left {title}")


async def remove(shell: Shell, name: str, member: str) -> None:
    group, user = shell.group(name), await shell.user(member)
    await shell.client.request(m.GROUPS, op="remove", groupid=group, id=user)


async def members(shell: Shell, name: str) -> None:
    group = shell.group(name)
    fields = await shell.client.request(m.GROUPS, op="members", groupid=group)
    for user in parse.objects(fields, "users"):
        member = parse.friend(user)
        shell.directory.add_user(member.id, member.name)
        role = parse.text(user, "role", "")
        shell.tell(f"{shown_name(member.name)} ({member.id}) {role}, {member.state}")


async def groups(shell: Shell) -> None:
    found = parse.groups(await shell.client.request(m.GROUPS, op="list"))
    shell.directory.groups = {group.id: group for group in found}
    for group in found:
        shell.tell(f"{shown_name(group.name)} (g{group.id}) {group.role}")
    if not found:
        shell.tell("no groups yet: /group create NAME makes one, /join ID joins one")


async def history(shell: Shell, name: str, number: str = "20") -> None:
    conv = await shell.conversation(name)
    if not (number.isascii() and number.isdigit() and 0 < int(number) <= 10_000):
        raise UsageError("how many messages? a number from 1 to 10000")
    found: list[dict[str, Any]] = []
    before, more = MAX_SEQ, True
    while more and len(found) < int(number):
        limit = min(200, int(number) - len(found))
        fields = await shell.client.request(m.FETCH, conv=conv, before=before, limit=limit)
        page = parse.objects(fields, "msgs")
        found = page + found
        more = fields.get("more") is True and bool(page)
        before = parse.integer(page[0], "seq") if page else 0
    shell.tell(f"{len(found)} messages of {shell.title(conv)}")
    for frame in found:
        shell.show(parse.message(frame, shell.client.session.me))


async def quit_(shell: Shell) -> None:
    raise Quit
