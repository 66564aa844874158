"""The language that the client speaks: gettext's catalogues beside this module, English without one."""

from __future__ import annotations

import gettext
from pathlib import Path

#: Where the catalogues are: LANGUAGE/LC_MESSAGES/chatcli.mo, made from the .po beside it by `make locale`.
CATALOGUES = Path(__file__).parent / "locale"
LANGUAGES = "en", "zh"

_translations = gettext.NullTranslations()


def set_language(language: str) -> None:
    """One of LANGUAGES; "" is what the locale says (LANGUAGE, LC_ALL, LC_MESSAGES, LANG)."""
    global _translations  # noqa: PLW0603 - as the locale itself is: one for the process
    languages = [language] if language else None
    _translations = gettext.translation("chatcli", CATALOGUES, languages, fallback=True)


def _(text: str) -> str:
    return _translations.gettext(text) if text else ""


def N_(text: str) -> str:
    """Marks a text of a table, which `_` translates where it is shown."""
    return text


def ngettext(one: str, many: str, number: int) -> str:
    return _translations.ngettext(one, many, number)
