"""The `--json` mode: one JSON object a line, commands in, events and results out (docs/chatcli.md)."""

from __future__ import annotations

import json
from typing import Any

from client.commands.actions import shown
from client.commands.shell import UsageError
from client.commands.table import COMMANDS, Command, check_arguments
from client.i18n import _
from client.protocol.events import (
    Disconnected,
    Event,
    FriendState,
    LoggedIn,
    LoggedOut,
    Message,
    Notice,
    Problem,
    Receipt,
    Typing,
)
from client.script.plain import PATIENCE
from client.script.streams import Output
from client.text import valid
from forkchat.errors import Refused


class Ndjson:
    """A view that writes only ASCII, so that other users' text reaches no terminal unescaped."""

    patience = PATIENCE

    def __init__(self, output: Output) -> None:
        self.conv = ""
        self._output = output
        self._tag: object = None

    def parse(self, line: str) -> tuple[Command, list[str]]:
        """Parse `{"command":NAME,"args":[TEXT,…],"tag":ANY}`. Raises UsageError if the line is invalid."""
        self._tag = None
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            raise UsageError(_("a line must be a JSON object"))
        self._tag = request.get("tag")
        name, arguments = request.get("command"), request.get("args", [])
        if not isinstance(name, str) or name not in COMMANDS:
            raise UsageError(_("there is no such command"))
        if not isinstance(arguments, list) or not all(isinstance(text, str) for text in arguments):
            raise UsageError(_("args must be a list of texts"))
        return COMMANDS[name], check_arguments(COMMANDS[name], [valid(text) for text in arguments])

    def done(self, value: object) -> None:
        self._write("result", tag=self._tag, ok=True, value=value)

    def failed(self, text: str, code: int, error: BaseException) -> None:
        name = error.code if isinstance(error, Refused) else ""
        self._write("result", tag=self._tag, ok=False, exit=code, code=name, error=text or str(error))

    def on_event(self, event: Event) -> None:
        match event:
            case Message() if not event.is_echo:
                self._write("message", **shown(event))
            case LoggedIn():
                what = "connected" if event.is_resumed else "logged_in"
                self._write(what, id=event.id, name=event.name)
            case LoggedOut():
                self._write("logged_out", reason=event.reason)
            case Disconnected():
                self._write("disconnected")
            case FriendState():
                self._write("presence", id=event.id, state=event.state)
            case Notice():
                self._write("notice", kind=event.kind, id=event.id, name=event.name, conv=event.conv)
            case Receipt():
                self._write("read", conv=event.conv, id=event.id, seq=event.seq)
            case Typing():
                self._write("typing", conv=event.conv, id=event.id, name=event.name)
            case Problem():
                self._write("problem", text=event.text)

    def tell(self, text: str) -> None:
        """Do nothing, because the result says it."""

    def page(self, title: str, lines: list[str]) -> None:
        """Do nothing, as in `tell`."""

    def complain(self, text: str) -> None:
        self._write("problem", text=text)

    def show(self, message: Message) -> None:
        self._write("message", **shown(message), past=True)

    def open(self, conv: str) -> None:
        self.conv = conv

    async def secrets(self, prompts: list[str]) -> list[str]:
        raise EOFError

    def _write(self, event: str, **fields: Any) -> None:
        self._output.write(json.dumps({"event": event} | fields))
