"""Passwords that a command needs: those that were given, else the user's, who types a new one twice."""

from __future__ import annotations

from dataclasses import dataclass

from client.commands.shell import Shell, UsageError
from client.i18n import _


@dataclass(frozen=True)
class Password:
    """`variable`: the environment's, that scripts give it in."""

    variable: str
    prompt: str
    is_new: bool = False


class NoPassword(UsageError):
    """There is no password, and nobody who could be asked for it."""


class Passwords:
    """They are asked for when this is made, so that what is typed next is for them; a command whose turn
    comes later gets them then.
    """

    def __init__(self, shell: Shell, *wanted: Password):
        self._given = {each.variable: shell.given.get(each.variable, "") for each in wanted}
        self._wanted = wanted
        self._asked = [each for each in wanted if not self._given[each.variable]]
        prompts = []
        for each in self._asked:
            prompts += [each.prompt, _("the same again: ")] if each.is_new else [each.prompt]
        self._typed = shell.view.secrets(prompts) if prompts else None

    async def get(self) -> list[str]:
        """Raises UsageError."""
        if self._typed:
            try:
                typed = iter(await self._typed)
            except EOFError:
                text = _("no password; without a terminal set {name}")
                raise NoPassword(text.format(name=self._asked[0].variable)) from None
            for each in self._asked:
                self._given[each.variable] = password = next(typed)
                if each.is_new and next(typed) != password:
                    raise UsageError(_("these were two different passwords"))
                if not password:
                    raise UsageError(_("no password, nothing done"))
        return [self._given[each.variable] for each in self._wanted]
