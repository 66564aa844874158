"""The client's language, from gettext's catalogues beside this module. Without a catalogue it is English."""

from __future__ import annotations

import gettext
from pathlib import Path

#: Folder of the catalogues LANGUAGE/LC_MESSAGES/chatcli.mo. `make locale` makes each from the .po beside it.
CATALOGUES = Path(__file__).parent / "locale"
LANGUAGES = "en", "zh"

_translations = gettext.NullTranslations()


def set_language(language: str) -> None:
    """Set one of LANGUAGES. "" takes the locale's language, from LANGUAGE, LC_ALL, LC_MESSAGES or LANG."""
    global _translations  # noqa: PLW0603 - the process has one, like the locale itself
    languages = [language] if language else None
    _translations = gettext.translation("chatcli", CATALOGUES, languages, fallback=True)


def _(text: str) -> str:
    return _translations.gettext(text) if text else ""


def N_(text: str) -> str:
    """Mark a text of a table for translation. `_` translates it where it is shown."""
    return text


def ngettext(one: str, many: str, number: int) -> str:
    return _translations.ngettext(one, many, number)
