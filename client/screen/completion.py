"""Tab completion: commands, settings, users and groups by the beginnings of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from client.commands.directory import Directory
from client.commands.table import Command
from client.i18n import _
from client.local.accounts import Accounts
from client.local.settings import SETTINGS
from client.screen.order import natural
from client.screen.plain import plainly
from client.text import clean_line, shown_name

#: The word to compare with the typed text, and the text that replaces it.
Word = tuple[str, str]

_NO_RANK = 3


class InputCompleter(Completer):
    """A completer for commands, their first arguments, and names anywhere in a message."""

    def __init__(self, commands: Mapping[str, Command], directory: Directory, accounts: Accounts):
        self._commands = commands
        self._directory = directory
        self._accounts = accounts

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith("/") and (found := list(self._names_of_commands(text))):
            yield from found
            return
        command = self._command(text)
        start = len(command.name) + 2 if command else 0
        beginnings = [at for at in range(start, len(text) + 1) if at == start or text[at - 1].isspace()]
        for at in beginnings:  # earliest first, because a name may have blanks
            is_argument = command is not None and at == start
            if text[at:] or is_argument:
                words = self._words(command if is_argument else None)
                if found := list(_beginning_with(text[at:], words, ": " if at == 0 else " ")):
                    yield from found
                    return

    def _names_of_commands(self, text: str) -> Iterable[Completion]:
        for command in self._commands.values():
            if f"/{command.name}".startswith(text):
                end = " " if command.usage else ""
                yield Completion(
                    f"/{command.name}{end}", -len(text), display=str(command), display_meta=_(command.help)
                )

    def _command(self, text: str) -> Command | None:
        """Return the command whose arguments are being typed, None if there is none."""
        found = (each for each in self._commands.values() if text.startswith(f"/{each.name} "))
        return next((command for command in found if command.parameters), None)

    def _words(self, command: Command | None) -> list[Word]:
        """Return the words for the first argument of `command`, or for any other place if that is None.

        They are users and groups, unless the command takes something else.
        """
        if command and command.name == "login":
            return [word for account in self._accounts.known() for word in _typed(account.name)]
        parameter = command.parameters[0] if command else ""
        match parameter:
            case "[COMMAND]":
                return [(name, name) for name in self._commands]
            case "[NAME]":
                return [(name, name) for name in SETTINGS]
        names, groups = self._directory.names(), self._directory.group_names()
        words = [word for name in names for word in _typed(name)]
        words += [word for name in groups for word in _typed(name, "#")]
        if command and command.parameters in (["GROUP"], ["[GROUP]"]):
            words = [(clean_line(name), _marked(name, "#")) for name in groups]
            words += [word for name in groups for word in _typed(name, "#")]
        return sorted(words, key=lambda word: natural(word[1].strip('"')))


def _typed(name: str, mark: str = "") -> list[Word]:
    """Return a name as it is, in quotes, and after an @, each with the text to type for it."""
    plain, typed = clean_line(name), _marked(name, mark)
    at = [] if mark else [(f"@{plain}", _marked(name, "@"))]
    return [(f"{mark}{plain}", typed), (f'"{mark}{plain}', typed), *at]


def _marked(name: str, mark: str) -> str:
    """Return a name after its mark, in quotes if it needs them."""
    shown = shown_name(name)
    return f'"{mark}{shown[1:]}' if shown[0] == '"' else f"{mark}{shown}"


def _beginning_with(beginning: str, words: Iterable[Word], end: str) -> Iterable[Completion]:
    fitting = [typed for word, typed in words if word.casefold().startswith(beginning.casefold())]
    if not beginning:
        fitting = [typed for typed in fitting if typed.lstrip('"')[0] != "@"]
    for typed in dict.fromkeys(fitting):
        yield Completion(typed + end, -len(beginning), display=plainly(typed))


class Titles(Completer):
    """A completer for conversations, by letters of their titles.

    First come titles that begin with the letters, then titles that contain them together. Last come titles
    that contain them in that order. `of` has the keys by title.
    """

    def __init__(self, of: Mapping[str, str], unread: Callable[[str], int]):
        self._of = of
        self._unread = unread

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        ranks = {title: _rank(title.casefold(), document.text.casefold()) for title in self._of}
        for title in sorted(
            (title for title, rank in ranks.items() if rank < _NO_RANK), key=ranks.__getitem__
        ):
            unread = str(self._unread(self._of[title]) or "")
            yield Completion(title, -len(document.text), display=plainly(title), display_meta=unread)


def _rank(title: str, letters: str) -> int:
    if title.lstrip('["').startswith(letters):
        return 0
    if letters in title:
        return 1
    rest = iter(title)
    return 2 if all(letter in rest for letter in letters) else _NO_RANK
