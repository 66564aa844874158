"""Tab: commands, people and groups by the beginnings of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, FuzzyCompleter, WordCompleter
from prompt_toolkit.document import Document

from client.commands.directory import Directory
from client.commands.table import Command
from client.i18n import _
from client.text import clean_line, shown_name


class InputCompleter(Completer):
    """`/com`, the names after it, and at the beginning of a message whom it is for."""

    def __init__(self, commands: Mapping[str, Command], directory: Directory):
        self._commands = commands
        self._directory = directory

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith("/") and (found := list(self._names_of_commands(text))):
            yield from found
            return
        word = text.rsplit(" ", 1)[-1].rsplit("\n", 1)[-1]
        if not word:
            return
        end = ": " if text == word else " "
        for name, typed in self._names():
            if any(each.casefold().startswith(word.casefold()) for each in (name, typed)):
                yield Completion(typed + end, -len(word), display=typed)

    def _names_of_commands(self, text: str) -> Iterable[Completion]:
        for command in self._commands.values():
            if f"/{command.name}".startswith(text):
                end = " " if command.usage else ""
                yield Completion(
                    f"/{command.name}{end}", -len(text), display=str(command), display_meta=_(command.help)
                )

    def _names(self) -> list[tuple[str, str]]:
        """Of people and groups, each as it is and as it is typed: in quotes where it must be."""
        people = {(clean_line(name), shown_name(name)) for name in self._directory.names()}
        groups = {(f"#{clean_line(name)}", _group(name)) for name in self._directory.group_names()}
        return sorted(people | groups, key=lambda name: name[0].casefold())


def _group(name: str) -> str:
    shown = shown_name(name)
    return f'"#{shown[1:]}' if shown[0] == '"' else f"#{shown}"


def titles(of: Mapping[str, str], unread: Callable[[str], int]) -> Completer:
    """Conversations by any letters of their titles, in that order; `of` has the keys by title."""
    meta = {title: str(unread(conv) or "") for title, conv in of.items()}
    return FuzzyCompleter(WordCompleter(list(of), sentence=True, meta_dict=dict(meta)), pattern="^.*")
