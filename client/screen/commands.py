"""Commands that exist only on the screen, or that act differently there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.commands import actions
from client.commands.shell import Shell
from client.commands.table import COMMANDS, Command, Table
from client.i18n import N_, _, ngettext
from client.screen.ignoring import ignoring_commands

if TYPE_CHECKING:
    from client.screen.app import App


def screen_commands(app: App) -> Table:
    """Return all commands, in the order of the help."""

    async def search(shell: Shell, text: str) -> None:
        if not await app.reader.search.find(text):
            app.reader.search.end()
            app.tell(_("nothing that is here has that in it: {text}").format(text=text))

    async def history(shell: Shell, who: str = "", number: str = "") -> None:
        name, wanted = actions.whose_history(who, number)
        if name:
            app.open(await shell.conversation(name))
        app.reader.show_last(wanted)

    async def retry(shell: Shell) -> None:
        number = app.desk.undelivered.retry(app.conv)
        app.tell(
            ngettext("{number} message is sent again", "{number} messages are sent again", number).format(
                number=number
            )
        )

    async def discard(shell: Shell) -> None:
        number = app.desk.undelivered.discard(app.conv)
        app.tell(
            ngettext("{number} message is let go", "{number} messages are let go", number).format(
                number=number
            )
        )

    ours = [
        Command("search", "TEXT", N_("find it in this conversation; Ctrl+s goes on"), search, is_local=True),
        Command(
            *("history", "[WHO] [NUMBER]", N_("go back that many messages, 20 if not said")),
            *(history, False, True),
        ),
        Command("retry", "", N_("send again what was refused in this conversation"), retry, is_local=True),
        Command("discard", "", N_("let go of what was refused in this conversation"), discard, is_local=True),
    ]
    return {**COMMANDS, **{command.name: command for command in [*ours, *ignoring_commands(app)]}}
