"""The passwords that a command needs. They are given or typed, and the user types a new one twice."""

from __future__ import annotations

from dataclasses import dataclass

from client.commands.shell import Shell, UsageError
from client.i18n import _


@dataclass(frozen=True)
class Password:
    """A password that a command needs. Scripts pass it in the environment's `variable`."""

    variable: str
    prompt: str
    is_new: bool = False


class NoPassword(UsageError):
    """No password was given, and there is no user to ask for it."""


class Passwords:
    """The passwords of one command. The constructor asks for them, so that the lines typed next answer it.

    A queued command fetches them with `get` when its turn comes.
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
        """Wait for the passwords and return them in the order wanted.

        Raises NoPassword if there is no user to ask. Raises UsageError if a password is empty, or if the
        two entries of a new one differ.
        """
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
