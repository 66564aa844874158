"""The functions of the commands. Each takes the words of the user, and returns a value for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from client.commands.shell import Quit, Shell, UsageError, naming
from client.i18n import _, set_language
from client.local.settings import SETTINGS
from client.protocol import parse
from client.protocol.events import Friend, Group, Message
from client.text import ACTION, shown_name
from forkchat.errors import NotMember
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, parse_key
from forkchat.wire.requests import MAX_SEQ


async def msg(shell: Shell, who: str, text: str = "") -> dict[str, Any] | None:
    conv = await shell.conversation(who)
    if text:
        return await shell.say(conv, text)
    shell.view.open(conv)
    if shell.view.conv == conv:
        shell.view.tell(_("what you type now goes to {name}").format(name=shell.directory.title(conv)))
    return {"conv": conv}


async def query(shell: Shell, who: str, text: str = "") -> dict[str, Any] | None:
    conv = await shell.conversation(who)
    shell.view.open(conv)
    return await shell.say(conv, text) if text else {"conv": conv}


async def group_msg(shell: Shell, group: str, text: str) -> dict[str, Any] | None:
    return await shell.say(group_key(shell.group(group)), text)


async def say(shell: Shell, text: str) -> dict[str, Any] | None:
    if not shell.view.conv:
        raise UsageError(_("to whom? /msg NAME TEXT says it to someone, /msg #GROUP TEXT in a group"))
    return await shell.say(shell.view.conv, text)


async def me(shell: Shell, text: str) -> dict[str, Any] | None:
    return await say(shell, ACTION + text)


async def add(shell: Shell, who: str) -> dict[str, Any]:
    user = await shell.user(who)
    is_new = user not in shell.directory.friends
    with naming(who):
        friend = parse.friend(await shell.client.request(m.ADD_FRIEND, friendid=user))
    shell.directory.add_friend(friend)
    text = (
        _("{name} ({id}) is your friend now, and {state}")
        if is_new
        else _("{name} ({id}) is your friend already, and {state}")
    )
    shell.view.tell(text.format(name=shown_name(friend.name), id=friend.id, state=_(friend.state)))
    return asdict(friend)


async def unfriend(shell: Shell, who: str) -> dict[str, Any]:
    user = await shell.user(who)
    with naming(who):
        await shell.client.request(m.FRIENDS, op="remove", friendid=user)
    shell.directory.friends.pop(user, None)
    name = shell.directory.user(user)
    shell.view.tell(_("{name} is no friend of yours any more").format(name=shown_name(name)))
    return {"id": user, "name": name}


async def friends(shell: Shell) -> list[dict[str, Any]]:
    found = [parse.friend(item) for item in await shell.client.listed(m.FRIENDS, "friends", op="list")]
    for friend in found:
        shell.directory.add_friend(friend)
        shell.view.tell(f"{shown_name(friend.name)} ({friend.id}) {_(friend.state)}")
    if not found:
        shell.view.tell(_("no friends yet: /add NAME adds one"))
    return [asdict(friend) for friend in found]


async def who(shell: Shell, name: str) -> dict[str, Any]:
    user = await shell.user(name)
    found = shell.directory.friends.get(user) or Friend(user, shell.directory.user(user), "")
    text = _("{name}, id {id}").format(name=shown_name(found.name), id=user)
    shell.view.tell(f"{text}, {_(found.state)}" if found.state else text)
    return asdict(found)


async def create_group(shell: Shell, name: str, desc: str = "") -> dict[str, Any]:
    fields = await shell.client.request(m.CREATE_GROUP, groupname=name, groupdesc=desc)
    group = Group(parse.identifier(fields, "groupid"), name, "creator")
    shell.directory.groups[group.id] = group
    shell.view.open(group_key(group.id))
    shell.view.tell(
        _("the group {name} is made; others join it with /join {id}").format(
            name=shown_name(name), id=group.id
        )
    )
    return asdict(group)


async def join(shell: Shell, name: str) -> dict[str, Any]:
    with naming(name):
        fields = await shell.client.request(m.ADD_GROUP, groupid=shell.group(name))
    group = Group(
        parse.identifier(fields, "groupid"), parse.text(fields, "groupname"), parse.text(fields, "role", "")
    )
    shell.directory.groups[group.id] = group
    conv = group_key(group.id)
    shell.view.open(conv)
    is_there = shell.view.conv == conv
    text = _("you are in {name}; what you type now goes there") if is_there else _("you are in {name}")
    shell.view.tell(text.format(name=shell.directory.title(conv)))
    return asdict(group)


async def leave(shell: Shell, name: str = "") -> None:
    group = shell.group(name)
    title = shell.directory.title(group_key(group))
    with naming(name or title):
        await shell.client.request(m.GROUPS, op="leave", groupid=group)
    shell.directory.groups.pop(group, None)
    if shell.view.conv == group_key(group):
        shell.view.open("")
    shell.view.tell(_("you have left {name}").format(name=title))


async def remove(shell: Shell, name: str, member: str) -> dict[str, Any]:
    user, group = await shell.user(member), shell.group(name)
    with naming(f"{name} {member}".lstrip()):
        await shell.client.request(m.GROUPS, op="remove", groupid=group, id=user)
    removed = shell.directory.user(user)
    title = shell.directory.title(group_key(group))
    shell.view.tell(
        _("{name} was removed from {group}; /readmit lets them join again").format(
            name=shown_name(removed), group=title
        )
    )
    return {"id": user, "name": removed}


async def readmit(shell: Shell, name: str, person: str) -> dict[str, Any]:
    user, group = await shell.user(person), shell.group(name)
    with naming(f"{name} {person}".lstrip()):
        await shell.client.request(m.GROUPS, op="readmit", groupid=group, id=user)
    readmitted = shell.directory.user(user)
    title = shell.directory.title(group_key(group))
    shell.view.tell(_("{name} may join {group} again").format(name=shown_name(readmitted), group=title))
    return {"id": user, "name": readmitted}


async def members(shell: Shell, name: str = "") -> list[dict[str, Any]]:
    group = shell.group(name)
    with naming(name or shell.directory.title(group_key(group))):
        listed = await shell.client.listed(m.GROUPS, "users", op="members", groupid=group)
    found = []
    for user in listed:
        member = parse.friend(user)
        role = parse.text(user, "role", "")
        shell.directory.add_user(member.id, member.name)
        shell.view.tell(f"{shown_name(member.name)} ({member.id}) {_(role)}, {_(member.state)}")
        found.append(asdict(member) | {"role": role})
    return found


async def groups(shell: Shell) -> list[dict[str, Any]]:
    found = [parse.group(item) for item in await shell.client.listed(m.GROUPS, "groups", op="list")]
    shell.directory.groups = {group.id: group for group in found}
    for group in found:
        shell.view.tell(f"{shown_name(group.name)} (g{group.id}) {_(group.role)}")
    if not found:
        shell.view.tell(_("no groups yet: /group create NAME makes one, /join ID joins one"))
    return [asdict(group) for group in found]


async def history(shell: Shell, who: str = "", number: str = "") -> dict[str, Any]:
    name, wanted = whose_history(who, number)
    conv = await shell.conversation(name) if name else shell.view.conv
    if not conv:
        raise UsageError(_("of whom? /history WHO NUMBER"))
    found = await fetch_last(shell, conv, wanted)
    title = shell.directory.title(conv)
    shell.view.tell(_("{number} messages of {name}").format(number=len(found), name=title))
    for message in found:
        shell.view.show(message)
    return {"conv": conv, "count": len(found)}


def whose_history(who: str, number: str) -> tuple[str, int]:
    """Return the conversation's name, "" for the current one, and the number of messages that are wanted.

    Take a lone number in `who` as the number of messages. Raises UsageError if the number is not valid.
    """
    if who.isdigit() and not number:
        who, number = "", who
    return who, count(number or "20")


def count(number: str) -> int:
    """Parse a number of messages. Raises UsageError unless it is from 1 to 10000."""
    if not (number.isascii() and number.isdigit() and len(number) < 10 and 0 < int(number) <= 10_000):
        raise UsageError(_("how many messages? a number from 1 to 10000"))
    return int(number)


def shown(message: Message) -> dict[str, Any]:
    """Return the fields of a message that programs get."""
    return {
        "conv": message.conv,
        "seq": message.seq,
        "id": message.sender,
        "name": message.name,
        "text": message.text,
        "ts": message.ts,
        "own": message.is_own,
    }


async def fetch_last(shell: Shell, conv: str, number: int) -> list[Message]:
    """Return the last messages of a conversation, ascending, or none if two users have not talked yet.

    Raises NotMember if the conversation is not the user's, NotFound if the other user does not exist.
    """
    found: list[Message] = []
    before, more = MAX_SEQ, True
    while more and len(found) < number:
        limit = min(shell.client.session.page, number - len(found))
        with naming(shell.directory.title(conv)):
            try:
                fields = await shell.client.request(m.FETCH, conv=conv, before=before, limit=limit)
            except NotMember:
                key = parse_key(conv)
                if shell.client.session.me not in key.users:
                    raise
                await shell.client.request(m.LOOKUP, id=key.other(shell.client.session.me))
                return []
        page, _first, _last, is_more = parse.page(fields, conv, 0, shell.client.session.me)
        found = [message for message in page if message.seq < before] + found
        more = is_more and bool(page) and page[0].seq < before
        before = page[0].seq if page else 0
    return found


async def set_(shell: Shell, name: str = "", value: str | None = None) -> dict[str, str]:
    if name and name not in SETTINGS:
        raise UsageError(_("there is no {name} to set; /set lists what there is").format(name=name))
    if value is not None:
        if SETTINGS[name].in_file_only:
            raise UsageError(_("{name} is set in the file chatcli.toml, before the start").format(name=name))
        shell.settings.set(name, "" if value == '""' else value)
        if name == "lang":
            set_language(shell.settings.text(name))
    found = {each: shell.settings.shown(each) for each in ([name] if name else SETTINGS)}
    for each, shown_value in found.items():
        choices = f" ({', '.join(filter(None, SETTINGS[each].choices))})" if SETTINGS[each].choices else ""
        shell.view.tell(f"{each} = {shown_value or chr(34) * 2}  {_(SETTINGS[each].help)}{choices}")
    return found


async def quit_(shell: Shell) -> None:
    raise Quit
