"""The client's translations: `make locale` extracts the texts from the sources, and compiles catalogues."""

from __future__ import annotations

import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from client.i18n import CATALOGUES

_KEYWORDS = {"_": None, "N_": None, "ngettext": (1, 2)}


def template() -> Catalog:
    """Return all texts in the client's sources."""
    found = Catalog(project="chatcli", charset="utf-8")
    for _file, _line, message, _comments, context in extract_from_dir(
        str(CATALOGUES.parent), method_map=[("**.py", "python")], keywords=_KEYWORDS
    ):
        found.add(message, context=context)
    return found


def load(file: Path) -> Catalog:
    with file.open("rb") as stream:
        return read_po(stream, locale=file.parts[-3])


def updated(file: Path) -> Catalog:
    """Return the catalogue of a .po file, updated from the sources. Texts that they lack are left out."""
    catalogue = load(file)
    catalogue.update(template(), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    catalogue.fuzzy = False
    return catalogue


def compiled(catalogue: Catalog) -> bytes:
    stream = io.BytesIO()
    write_mo(stream, catalogue)
    return stream.getvalue()


if __name__ == "__main__":
    for file in CATALOGUES.rglob("*.po"):
        catalogue = updated(file)
        with file.open("wb") as stream:
            write_po(stream, catalogue, width=100, omit_header=False)
        file.with_suffix(".mo").write_bytes(compiled(catalogue))
        untranslated = [message.id for message in catalogue if message.id and not message.string]
        print(f"{file}: {len(catalogue)} texts, {len(untranslated)} not translated {untranslated[:5]}")
