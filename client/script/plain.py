"""Line mode for scripts: commands and texts in, sentences out."""

from __future__ import annotations

from client.commands.directory import Directory
from client.commands.table import COMMANDS, Command, parse_line
from client.commands.wording import Wording, when
from client.i18n import _
from client.protocol.events import (
    Disconnected,
    Event,
    LoggedIn,
    LoginFailed,
    Message,
    SendDelayed,
    SendFailed,
    Sent,
)
from client.script.streams import Output, complain
from client.text import clean, clean_line, rows, shown_name, spoken
from forkchat.errors import RateLimited

#: Seconds to wait for a message to be stored before the next line is read.
PATIENCE = 30.0


class Plain:
    """A view that writes successes to standard output and failures to standard error."""

    patience = PATIENCE

    def __init__(self, directory: Directory, output: Output):
        self.conv = ""
        self._output = output
        self._directory = directory
        self._wording = Wording(directory)

    def parse(self, line: str) -> tuple[Command, list[str]]:
        """Parse a line. Raises UsageError if it is no valid command."""
        return parse_line(line, COMMANDS)

    def done(self, value: object) -> None:
        """Do nothing, because the result was told already."""

    def failed(self, text: str, code: int, error: BaseException) -> None:
        if text:
            self.complain(text)

    def on_event(self, event: Event) -> None:
        match event:
            case Message() if not event.is_echo:
                self.show(event)
            case Sent():
                me, name = self._directory.me
                self.show(Message(event.conv, event.seq, me, name, event.text, event.ts, is_own=True))
            case SendDelayed() if not isinstance(event.refused, RateLimited):
                self.complain(_("not sent yet: {reason}").format(reason=_(clean_line(event.refused.errmsg))))
            case SendFailed() | Disconnected() | LoggedIn(is_resumed=True) | LoginFailed():
                for text in self._wording.tell(event):
                    self.complain(text)
            case _:
                for text in self._wording.tell(event):
                    self.tell(text)

    def tell(self, text: str) -> None:
        self._output.write("-- " + clean_line(text))

    def complain(self, text: str) -> None:
        complain("-- " + clean_line(text))

    def page(self, title: str, lines: list[str]) -> None:
        for line in lines:
            self.tell(line)

    def show(self, message: Message) -> None:
        title = self._directory.title(message.conv)
        name = shown_name(message.name)
        if message.conv[0] == "g":
            head = f"{title} {name}"
        else:
            head = f"{name} → {title}" if message.is_own else name
        for row in rows(f"{when(message.ts)} {spoken(head, clean(message.text))}"):
            self._output.write(row)

    def open(self, conv: str) -> None:
        self.conv = conv

    async def secrets(self, prompts: list[str]) -> list[str]:
        raise EOFError
