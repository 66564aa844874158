"""The table of the commands, from which help, parsing and completion are derived."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from client.commands import access, actions
from client.commands.shell import Shell, UsageError
from client.i18n import N_, _


@dataclass(frozen=True)
class Command:
    """One command. `run` asks for passwords when it is called, and does the rest when it is awaited.

    `usage`: the names of the arguments. Those in brackets are optional, and the last takes the rest.
    `asks_password`: the command asks for a password. Its last argument is only one word, because a password
    after it could be stored as part of a name.
    `is_local`: the command acts on the conversation that the user is in.
    """

    name: str
    usage: str
    help: str
    run: Callable[..., Coroutine[Any, Any, object]]
    asks_password: bool = False
    is_local: bool = False

    @property
    def parameters(self) -> list[str]:
        return self.usage.split()

    @property
    def required(self) -> int:
        return sum(not parameter.startswith("[") for parameter in self.parameters)

    def __str__(self) -> str:
        return f"/{self.name} {self.usage}".rstrip()


Table = Mapping[str, Command]


async def help_(shell: Shell, name: str = "") -> dict[str, str]:
    table = shell.commands
    if name:
        command = _command(name.removeprefix("/"), table)
        shell.view.tell(f"{command}  {_(command.help)}")
        return {str(command): command.help}
    width = max(len(str(command)) for command in table.values())
    classic = "  ".join(f"{word}:{usage}" for word, (_command_, usage) in CLASSIC.items() if usage)
    lines = [
        *(f"{command!s:{width}}  {_(command.help)}" for command in table.values()),
        _('WHO is a name or an id; a name with blanks is put in "quotes", @57 is someone called 57'),
        _("GROUP is an id, or # and the name of one of yours; #GROUP can stand for WHO, too"),
        _("a line without a command goes to the conversation that you are in"),
        _("on the home page and in pipes the original's commands work as well: {commands}").format(
            commands=classic
        ),
    ]
    shell.view.page(_("Commands"), lines)
    return {str(command): command.help for command in table.values()}


#: The commands of every view. The screen has more.
COMMANDS: Table = {
    command.name: command
    for command in (
        Command("register", "NAME", N_("make an account and log in"), access.register, True),
        Command("login", "WHO", N_("log in"), access.login, True),
        Command("takeover", "", N_("log in although you are online elsewhere, ending that"), access.takeover),
        Command("logout", "", N_("log out"), access.logout),
        Command("passwd", "", N_("change your password"), access.passwd, True),
        Command("msg", "WHO [TEXT]", N_("say something to someone, or in a #GROUP"), actions.msg),
        Command("query", "WHO [TEXT]", N_("open a conversation, and say something there"), actions.query),
        Command("say", "TEXT", N_("say it as it is, to whom you talked last"), actions.say, is_local=True),
        Command("me", "TEXT", N_("say what you do: * li waves"), actions.me, is_local=True),
        Command(
            *("history", "[WHO] [NUMBER]", N_("what was said, the last 20 or NUMBER messages")),
            *(actions.history, False, True),
        ),
        Command("add", "WHO", N_("add a friend: you see when they come and go"), actions.add),
        Command("unfriend", "WHO", N_("take a friend off your list"), actions.unfriend),
        Command("friends", "", N_("list your friends"), actions.friends),
        Command("who", "WHO", N_("a person's name, id and state"), actions.who),
        Command("group create", "NAME [DESC]", N_("make a group"), actions.create_group),
        Command("join", "ID", N_("join a group"), actions.join),
        Command("leave", "[GROUP]", N_("leave this group, or another one"), actions.leave, is_local=True),
        Command("part", "[GROUP]", N_("the same as /leave"), actions.leave, is_local=True),
        Command("members", "[GROUP]", N_("list who is in a group"), actions.members, is_local=True),
        Command("names", "[GROUP]", N_("the same as /members"), actions.members, is_local=True),
        Command(
            *("remove", "[GROUP] WHO", N_("take someone out of a group that you made")),
            *(actions.remove, False, True),
        ),
        Command(
            *("readmit", "[GROUP] WHO", N_("let someone join again whom you removed")),
            *(actions.readmit, False, True),
        ),
        Command("groups", "", N_("list your groups"), actions.groups),
        Command("set", "[NAME] [VALUE]", N_("settings: list them, see one, change one"), actions.set_),
        Command("help", "[COMMAND]", N_("this list, or one command"), help_),
        Command("quit", "", N_("leave"), actions.quit_),
    )
}
_GROUP_MSG = Command("groupchat", "GROUP TEXT", "", actions.group_msg)

#: The original client's commands, each with the command it stands for and its colon-separated arguments.
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


def parse_line(line: str, table: Table = COMMANDS, *, has_classic: bool = True) -> tuple[Command, list[str]]:
    """Return the command of a line, and its arguments. Raises UsageError if the line is not valid.

    Without `has_classic`, take the original client's commands as texts to send.
    """
    if line.startswith("/"):
        return _slash(line[1:], table)
    name, colon, rest = line.partition(":")
    if has_classic and name in CLASSIC and bool(colon) == bool(CLASSIC[name][1]):
        return _classic(name, rest)
    return COMMANDS["say"], [line]


def _slash(line: str, table: Table) -> tuple[Command, list[str]]:
    name, _, rest = line.partition(" ")
    for command in table.values():
        first, blank, second = command.name.partition(" ")
        if blank and name == first and rest.split(" ", 1)[0] == second:
            return command, _arguments(command, rest.removeprefix(second))
    command = _command(name, table)
    return command, _arguments(command, rest)


def _command(name: str, table: Table) -> Command:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1) or [key for key in table if key.startswith(name)]
    hint = (
        _("do you mean {command}?").format(command=table[near[0]]) if near and name else _("/help lists all")
    )
    raise UsageError(_("there is no /{name}; {hint}").format(name=name, hint=hint))


def _arguments(command: Command, rest: str) -> list[str]:
    """Return the words of `rest`, without the quotes around each. The last argument is all that remains."""
    found: list[str] = []
    at = 0
    for parameter in command.parameters:
        is_last = len(found) == len(command.parameters) - 1 and not command.asks_password
        match = _WORD.match(rest, at)
        if match is None:
            break
        if is_last and ("TEXT" in parameter or match.end() < len(rest)):
            found.append(rest[at:].strip())
            at = len(rest)
        else:
            found.append(match[1] if match[1] is not None else match[2])
            at = match.end()
    if rest[at:].strip() and command.asks_password:
        text = _('usage: {command} (the password is asked for; a name with blanks is put in "quotes")')
        raise UsageError(text.format(command=command))
    if len(found) < command.required or rest[at:].strip():
        raise UsageError(_("usage: {command}").format(command=command))
    return _completed(command, found)


def _completed(command: Command, arguments: list[str]) -> list[str]:
    """Insert "" for an optional group that was left out before WHO."""
    is_without = len(arguments) < len(command.parameters) and command.parameters[0] == "[GROUP]"
    return ["", *arguments] if is_without and command.required else arguments


def without_password(line: str, table: Table = COMMANDS) -> str:
    """Return the part of an unsent line that may be stored.

    If the command asks for a password, drop all words after its arguments, because they may be a password.
    """
    name, blank, rest = line.removeprefix("/").partition(" ")
    command = table.get(name)
    if not (line.startswith("/") and command and command.asks_password):
        return line
    at = 0
    for _parameter in command.parameters:
        match = _WORD.match(rest, at)
        at = match.end() if match else at
    return f"/{name}{blank}{rest[:at]}"


def check_arguments(command: Command, arguments: list[str]) -> list[str]:
    """Check and complete the arguments of a program, which needs no quotes.

    Raises UsageError if their number is wrong.
    """
    if not command.required <= len(arguments) <= len(command.parameters):
        raise UsageError(_("usage: {command}").format(command=command))
    return _completed(command, arguments)


def _classic(name: str, rest: str) -> tuple[Command, list[str]]:
    command, usage = CLASSIC[name]
    count = usage.count(":") + 1 if usage else 0
    found = rest.split(":", count - 1) if count else []
    if len(found) < count or not all(part.strip() for part in found[: command.required]):
        raise UsageError(
            _("usage: {name}:{usage} (or, to say it as it is: /say {name}:{rest})").format(
                name=name, usage=usage, rest=rest
            )
        )
    return command, [found[0].strip(), *found[1:]] if found else []
