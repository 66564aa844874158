"""The commands: one table of what can be typed, from which help, parsing and completion come."""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from client import actions
from client.shell import Shell, UsageError


@dataclass(frozen=True)
class Command:
    """`usage` names the arguments, those in brackets may be left out; the last takes the rest."""

    name: str
    usage: str
    help: str
    run: Callable[..., Awaitable[None]]

    @property
    def parameters(self) -> list[str]:
        return self.usage.split()

    @property
    def required(self) -> int:
        return sum(not parameter.startswith("[") for parameter in self.parameters)

    def __str__(self) -> str:
        return f"/{self.name} {self.usage}".rstrip()


async def _help(shell: Shell, name: str = "") -> None:
    commands = [_command(name.removeprefix("/"))] if name else COMMANDS.values()
    width = max(len(str(command)) for command in commands)
    for command in commands:
        shell.tell(f"{command!s:{width}}  {command.help}")
    if not name:
        shell.tell('WHO is a name or an id; a name with blanks is put in "quotes", @57 is someone called 57')
        shell.tell("GROUP is an id, or # and the name of one of yours; /msg and /history take #GROUP for WHO")
        shell.tell("a line without a command goes to whom you have talked to last")
        shell.tell("also: " + "  ".join(f"{name}:{usage}" for name, (_, usage) in CLASSIC.items() if usage))


COMMANDS = {
    command.name: command
    for command in (
        Command("register", "NAME", "make an account and log in", actions.register),
        Command("login", "WHO", "log in", actions.login),
        Command("takeover", "", "log in although you are online elsewhere, ending that", actions.takeover),
        Command("logout", "", "log out", actions.logout),
        Command("passwd", "", "change your password", actions.passwd),
        Command("msg", "WHO [TEXT]", "say something to someone, or in a #GROUP", actions.msg),
        Command("say", "TEXT", "say it as it is, to whom you talked last", actions.say),
        Command("history", "WHO [NUMBER]", "what was said, the last 20 or NUMBER messages", actions.history),
        Command("add", "WHO", "add a friend: you see when they come and go", actions.add),
        Command("unfriend", "WHO", "take a friend off your list", actions.unfriend),
        Command("friends", "", "list your friends", actions.friends),
        Command("who", "WHO", "a person's name, id and state", actions.who),
        Command("group create", "NAME [DESC]", "make a group", actions.create_group),
        Command("join", "ID", "join a group", actions.join),
        Command("leave", "GROUP", "leave a group", actions.leave),
        Command("members", "GROUP", "list who is in a group", actions.members),
        Command("remove", "GROUP WHO", "take someone out of a group that you made", actions.remove),
        Command("groups", "", "list your groups", actions.groups),
        Command("help", "[COMMAND]", "this list, or one command", _help),
        Command("quit", "", "leave (Ctrl-D does, too)", actions.quit_),
    )
}
_GROUP_MSG = Command("groupchat", "GROUP TEXT", "", actions.group_msg)

#: The original client's commands: what they stand for, and their arguments, separated by colons.
CLASSIC: dict[str, tuple[Command, str]] = {
    "help": (COMMANDS["help"], ""),
    "chat": (COMMANDS["msg"], "ID:TEXT"),
    "addfriend": (COMMANDS["add"], "ID"),
    "creategroup": (COMMANDS["group create"], "NAME:DESC"),
    "addgroup": (COMMANDS["join"], "ID"),
    "groupchat": (_GROUP_MSG, "ID:TEXT"),
    "loginout": (COMMANDS["logout"], ""),
}

_WORD = re.compile(r'\s*(?:"([^"]*)"|(\S+))\s*')


def parse_line(line: str) -> tuple[Command, list[str]]:
    """What a line asks for, and its arguments. Raises UsageError."""
    if line.startswith("/"):
        return _slash(line[1:])
    name, colon, rest = line.partition(":")
    if name in CLASSIC and bool(colon) == bool(CLASSIC[name][1]):
        return _classic(name, rest)
    return COMMANDS["say"], [line]


def _slash(line: str) -> tuple[Command, list[str]]:
    name, _, rest = line.partition(" ")
    for command in COMMANDS.values():
        first, blank, second = command.name.partition(" ")
        if blank and name == first and rest.split(" ", 1)[0] == second:
            return command, _arguments(command, rest.removeprefix(second))
    command = _command(name)
    return command, _arguments(command, rest)


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    near = difflib.get_close_matches(name, COMMANDS, n=1) or [key for key in COMMANDS if key.startswith(name)]
    hint = f"do you mean {COMMANDS[near[0]]}?" if near and name else "/help lists all"
    raise UsageError(f"there is no /{name}; {hint}")


def _arguments(command: Command, rest: str) -> list[str]:
    """The words of `rest`, quotes around one removed; the last argument is all that remains."""
    found: list[str] = []
    at = 0
    for parameter in command.parameters:
        is_last = len(found) == len(command.parameters) - 1
        match = _WORD.match(rest, at)
        if match is None:
            break
        if is_last and ("TEXT" in parameter or match.end() < len(rest)):
            found.append(rest[at:].strip())
            at = len(rest)
        else:
            found.append(match[1] if match[1] is not None else match[2])
            at = match.end()
    if len(found) < command.required or rest[at:].strip():
        raise UsageError(f"usage: {command}")
    return found


def _classic(name: str, rest: str) -> tuple[Command, list[str]]:
    command, usage = CLASSIC[name]
    count = usage.count(":") + 1 if usage else 0
    found = rest.split(":", count - 1) if count else []
    if len(found) < count or not all(part.strip() for part in found[: command.required]):
        raise UsageError(f"usage: {name}:{usage} (or, to say it as it is: /say {name}:{rest})")
    return command, [found[0].strip(), *found[1:]] if found else []
