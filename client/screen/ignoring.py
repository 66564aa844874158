"""/ignore, /mute and /close, which keep unwanted news from the user, and the commands that undo them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from client.commands.shell import Shell, UsageError
from client.commands.table import Command
from client.i18n import N_, _
from client.local.quiet import Until
from client.screen.conversations import HOME
from client.text import shown_name
from forkchat.errors import BadRequest
from forkchat.wire.conversation import parse_key

if TYPE_CHECKING:
    from client.screen.app import App

_TIME = re.compile(r"([1-9][0-9]{0,3})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def end_of(duration: str) -> Until:
    """Return when a duration that begins now ends; 0 for "", which has no end.

    It is written like `30m`, `12h`, `2d` or `1w`. Raises UsageError if it has another form.
    """
    if not duration:
        return 0.0
    match = _TIME.fullmatch(duration)
    if not match:
        raise UsageError(_("for how long? 30m, 12h, 2d or 1w"))
    return time.time() + int(match[1]) * _SECONDS[match[2]]


def ignoring_commands(app: App) -> list[Command]:
    desk = app.desk

    async def ignore(shell: Shell, who: str = "", duration: str = "") -> None:
        if not who:
            named = {shown_name(name): until for name, until in desk.quiet.ignored.items()}
            tell_of(named, _("nobody is ignored; /ignore WHO hides what they write"))
            return
        until, user = end_of(duration), await shell.user(who)
        if user == shell.directory.me[0]:
            raise BadRequest(_("this is yourself"))
        name = shell.directory.user(user)
        desk.quiet.ignore(name, until)
        desk.weigh_all()
        app.tell(_("{name} is ignored {time}").format(name=shown_name(name), time=shown_end(until)))

    async def unignore(shell: Shell, who: str = "") -> None:
        name = shell.directory.user(await shell.user(who)) if who else partner(shell)
        if not desk.quiet.is_ignored(name):
            raise UsageError(_("{name} is not ignored").format(name=shown_name(name)))
        desk.quiet.unignore(name)
        desk.weigh_all()
        app.tell(_("{name} is ignored no more").format(name=shown_name(name)))

    async def mute(shell: Shell, who: str = "", duration: str = "") -> None:
        if not who:
            named = {shell.directory.title(conv): until for conv, until in desk.quiet.muted.items()}
            tell_of(named, _("nothing is muted; /mute WHO or /mute #GROUP keeps it from ringing"))
            return
        until, conv = end_of(duration), await shell.conversation(who)
        desk.quiet.mute(conv, until)
        title = shell.directory.title(conv)
        app.tell(_("{name} is muted {time}").format(name=title, time=shown_end(until)))

    async def unmute(shell: Shell, who: str = "") -> None:
        conv = await shell.conversation(who) if who else app.conv
        if not desk.quiet.is_muted(conv):
            raise UsageError(_("this conversation is not muted"))
        desk.quiet.unmute(conv)
        app.tell(_("{name} is muted no more").format(name=shell.directory.title(conv)))

    async def close(shell: Shell) -> None:
        if app.conv == HOME:
            raise UsageError(_("there is nothing to close here: go to a conversation first"))
        conv = app.conv
        app.open(desk.conversations.back())
        desk.put_away(conv)

    def partner(shell: Shell) -> str:
        if not app.conv or parse_key(app.conv).group:
            raise UsageError(_("whom? name someone, or go to your conversation with them first"))
        return shell.directory.user(app.other(app.conv))

    def tell_of(named: dict[str, Until], none: str) -> None:
        for name, until in named.items():
            app.tell(f"{name}: {shown_end(until)}")
        if not named:
            app.tell(none)

    return [
        Command("ignore", "[WHO] [TIME]", N_("hide what they write; list who is ignored"), ignore),
        Command("unignore", "[WHO]", N_("show what they write again"), unignore, is_local=True),
        Command("mute", "[WHO] [TIME]", N_("no ringing for a conversation; list what is muted"), mute),
        Command("unmute", "[WHO]", N_("ring for a conversation again"), unmute, is_local=True),
        Command(
            "close", "", N_("take this conversation off the list, until there is news"), close, is_local=True
        ),
    ]


def shown_end(until: Until) -> str:
    if not until:
        return _("for good")
    at = datetime.fromtimestamp(until, UTC).astimezone()
    return _("until {time}").format(time=at.strftime("%Y-%m-%d %H:%M"))
