"""The translations: every text has a translation with the same fields, and all are compiled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.i18n import CATALOGUES, LANGUAGES
from tests.locale_files import compiled, load, template, updated

FILES = sorted(CATALOGUES.rglob("*.po"))


def test_all_languages_are_there() -> None:
    assert {file.parts[-3] for file in FILES} | {"en"} == set(LANGUAGES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_every_text_is_translated(file: Path) -> None:
    """Every text has a translation.

    `make locale` brings new texts into the .po file, to be translated there.
    """
    known = {message.id: message.string for message in load(file)}
    missing = [message.id for message in template() if message.id and not known.get(message.id)]
    assert not missing


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_the_fields_are_the_same(file: Path) -> None:
    for message in load(file):
        if message.id:
            wanted, found = ({*re.findall(r"{(\w+)", str(text))} for text in (message.id, message.string))
            assert found == wanted, message.id


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parts[-3])
def test_it_is_compiled(file: Path) -> None:
    """The compiled file is up to date. `make locale` compiles it."""
    assert file.with_suffix(".mo").read_bytes() == compiled(updated(file))
