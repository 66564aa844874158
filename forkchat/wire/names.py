"""Rules for the names of accounts and groups, and for names that look alike.

Account names follow RFC 8265 (PRECIS, UsernameCasePreserved). Look-alikes follow UTS #39 (confusables).
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from itertools import pairwise
from unicodedata import category, normalize

from precis_i18n import get_profile

#: Characters of a stored name at most.
MAX_NAME = 50
#: Characters of a typed name at most: more than of the stored name, because decomposed letters take several.
MAX_TYPED = 4 * MAX_NAME
#: Nonspacing marks on one letter at most (UTS #39, 5.4), because more would cover the lines above and below.
_MAX_MARKS = 4
#: Characters that show nothing, although Unicode counts them among symbols and marks.
_BLANK = frozenset("\u2800\U00016fe4")
#: The character that asks for the coloured form of the emoji before it. Phones send it.
_EMOJI_FORM = "\ufe0f"

#: The package's data. It is read without the package's code, which would import urllib into each client.
_CONFUSABLES = files("confusable_homoglyphs") / "confusables.json"
_USERPART = get_profile("UsernameCasePreserved")
_NICKNAME = get_profile("NicknameCasePreserved")


def account_name(text: str) -> str:
    """Return the name that is stored for `text`: composed (NFC), with fullwidth letters mapped to ordinary.

    Words must be separated by single blanks. Raises ValueError, whose text says what must be changed.
    """
    if len(text) > MAX_TYPED:
        raise ValueError(_LENGTH)
    parts = text.split(" ")
    if not all(parts):
        raise ValueError("must have no blanks at its ends, and no two blanks in a row")
    return _checked(" ".join(_enforce(_USERPART, part) for part in parts))


def group_name(text: str) -> str:
    """Return the name that is stored for `text`, composed (NFC).

    Any printable text that can be seen is valid, emoji too. Raises ValueError, whose text says what must be
    changed.
    """
    if len(text) > MAX_TYPED:
        raise ValueError(_LENGTH)
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable, without blanks at its ends")
    _enforce(_NICKNAME, text.replace(_EMOJI_FORM, ""))
    return _checked(normalize("NFC", text))


def likely_name(text: str) -> str:
    """Return the account name that `text` means, or `text` itself if no new account may have such a name.

    Accounts that are older than the rule may have such names.
    """
    try:
        return account_name(text)
    except ValueError:
        return text


def skeletons(name: str) -> list[bytes]:
    """Return the sorted digests of `name`. Two names look alike if they share a digest.

    There may be two digests, because case can be folded before or after the look-alikes are mapped. Before,
    `РАУРАL` is `paypal`. After, `paypaI` with a capital i is `paypal`. The digests are stored. A release of
    the package with other data therefore needs a file in sql/ that sets `name_indexed.done` to 0.
    """
    shapes = {_shape(name.casefold()), _shape(name)}
    return sorted(hashlib.sha256(shape.encode()).digest() for shape in shapes)


_LENGTH = f"must have 1 to {MAX_NAME} characters"


def _checked(name: str) -> str:
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(_LENGTH)
    blank = next(filter(_BLANK.__contains__, name), None)
    if blank:
        raise ValueError(f"must not contain U+{ord(blank):04X} (it cannot be seen)")
    for word in name.split():
        if category(word[0])[0] == "M":
            raise ValueError(f"must not begin with U+{ord(word[0]):04X} (a mark without a letter)")
    marks = 0
    for before, char in pairwise(normalize("NFD", name)):
        marks = marks + 1 if category(char) == "Mn" else 0
        if marks > _MAX_MARKS or (marks and char == before):
            raise ValueError("must not have marks piled up on a letter")
    return name


def _enforce(profile: object, text: str) -> str:
    try:
        return str(profile.enforce(text))  # type: ignore[attr-defined]
    except UnicodeEncodeError as error:
        reason = error.reason.rpartition("/")[2].replace("_", " ")
        if reason == "bidi rule":
            raise ValueError("must be written in one direction (RFC 5893)") from None
        if not error.object:
            raise ValueError(_LENGTH) from None
        raise ValueError(f"must not contain U+{ord(error.object[error.start]):04X} ({reason})") from None


def _shape(text: str) -> str:
    prototypes = _prototypes()
    # Some composed letters have look-alikes of their own. For most, the parts have look-alikes.
    mapped = normalize("NFD", normalize("NFC", text).translate(prototypes)).translate(prototypes)
    # A dot above a letter that already has a dot changes nothing.
    return normalize("NFD", mapped.casefold()).replace("i\u0307", "i").replace("j\u0307", "j")


@cache
def _prototypes() -> dict[int, str]:
    """Map each character of Unicode's confusables.txt to the text that stands for all of its look-alikes.

    The package has both directions in one table. A source has one entry, its prototype. A prototype has an
    entry for each of its sources. Loading takes 30 ms.
    """
    # The pairs pass through one text, because small strings would keep the table's memory: 8 MiB, not 2.
    prototypes = {ord(pair[0]): pair[1:] for pair in _read_prototypes().split("\0")}
    while True:  # a prototype of several characters may contain sources
        mapped = {at: normalize("NFD", text).translate(prototypes) for at, text in prototypes.items()}
        if mapped == prototypes:
            return prototypes
        prototypes = mapped


def _read_prototypes() -> str:
    table = {
        # The package's data puts characters written from right to left between U+200E marks.
        key.strip("\u200e"): [entry["c"].strip("\u200e") for entry in entries]
        for key, entries in json.loads(_CONFUSABLES.read_bytes()).items()
    }
    return "\0".join(
        char + first
        for char, (first, *more) in table.items()
        if len(char) == 1 and not more and (len(table[first]) > 1 or first < char or len(first) > 1)
    )
