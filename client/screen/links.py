"""The links of a conversation, of which the user chooses one to open or copy."""

from __future__ import annotations

import asyncio
import base64
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from client.commands.wording import moment
from client.i18n import _
from client.local.history import History
from client.protocol.events import Message
from client.screen.conversations import HOME
from client.screen.plain import plainly
from client.screen.rows import shortened
from client.screen.window import END
from client.text import LINK, clean, shown_name

if TYPE_CHECKING:
    from client.screen.app import App

#: Messages that are searched for links.
#: The latest of them, which are in memory and searched first.
#: Columns of a link in the menu.
#: Seconds after which a started browser counts as working.
_MESSAGES, _LAST, _COLUMNS, _PATIENCE = 1000, 100, 60, 1.0


class LinkCompleter(Completer):
    """A completer for links, by letters of the link, or of its sender and time, which are the values."""

    def __init__(self, links: Mapping[str, str]):
        self._links = links

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        for link, sent in self._links.items():
            if text.casefold() in f"{link} {sent}".casefold():
                yield Completion(link, -len(text), display=shortened(link, _COLUMNS), display_meta=sent)


class Links:
    def __init__(self, app: App):
        self._app = app

    def choose(self) -> None:
        app, question = self._app, self._app.composer.question
        if question.is_open:
            return
        if app.conv == HOME:
            app.tell(_("there are no links here"))
            return
        chat, transcript = app.desk.current, app.desk.transcript
        last = transcript.seen(chat, _LAST) if chat.bottom is None else []
        found = links_of(reversed(last))

        def take(chosen: str | None) -> None:
            looking.cancel()
            if chosen in found:
                app.start(self._open(chosen))
            elif chosen:
                app.complain(_("no link has that in it: {text}").format(text=chosen))

        question.ask(_("open: "), take, completer=LinkCompleter(found))
        if found:
            question.buffer.start_completion()
        looking = app.start(self._look(found))

    async def _look(self, found: dict[str, str]) -> None:
        """Add the links of earlier messages after these are read."""
        desk, question = self._app.desk, self._app.composer.question
        conv, quiet, unwritten = desk.current.conv, desk.quiet, desk.history.unwritten(desk.current.conv)

        def read(history: History) -> dict[str, str]:
            messages = history.before(conv, END, _MESSAGES) + unwritten
            return links_of(message for message in reversed(messages) if not quiet.hides(message))

        found |= await desk.history.read(read)
        state = question.buffer.complete_state
        if not found:
            question.cancel()
            self._app.tell(_("there are no links here"))
        elif state is None or state.complete_index is None:  # else the user has begun to choose
            question.buffer.start_completion()

    async def _open(self, link: str) -> None:
        """Open a link in a browser. If there is none, or it fails at once, copy and show the link."""
        if command := browser(link):
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                self._app.complain(f"{command[0]}: {error.strerror}")
            else:
                await asyncio.sleep(_PATIENCE)
                if not process.poll():
                    return
                self._app.complain(_("{program} has failed").format(program=command[0]))
        copied = base64.b64encode(link.encode()).decode()
        self._app.application.output.write_raw(f"\x1b]52;c;{copied}\x07")
        self._app.application.output.flush()
        self._app.tell(_("copied, if the terminal allows it: {link}").format(link=link))


def links_of(messages: Iterable[Message]) -> dict[str, str]:
    """Return the links as they are shown, each with its sender and time.

    `messages` begin with the latest, and so do the links.
    """
    found: dict[str, str] = {}
    for message in messages:
        sent = f"{plainly(shown_name(message.name))} {moment(message.ts):%m-%d %H:%M}"
        for link in reversed(LINK.findall(plainly(clean(message.text)))):
            found.setdefault(link, sent)
    return found


def browser(link: str) -> list[str]:
    """Return the command that opens a link: the user's, else the desktop's, else an empty one."""
    if wanted := shlex.split(os.environ.get("BROWSER", "").split(os.pathsep)[0]):
        command = [word.replace("%s", link) for word in wanted]
        return command if command != wanted else [*wanted, link]
    has_desktop = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    program = (
        shutil.which("xdg-open")
        if has_desktop
        else shutil.which("open")
        if os.uname().sysname == "Darwin"
        else ""
    )
    return [program, link] if program else []
