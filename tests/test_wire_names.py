"""Names: what PRECIS allows, what it maps, and which names look alike."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import confusable_homoglyphs  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forkchat.wire.names import MAX_NAME, account_name, group_name, likely_name, skeletons


def look_alike(one: str, other: str) -> bool:
    return not set(skeletons(one)).isdisjoint(skeletons(other))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "li",
            "Li",
            "x",
            "x" * 50,
            "李雷",
            "Nguyễn",
            "한글",
            "नरेन्द्र",
            "ελένη",
            "Ωμέγα",
            "נועה",
            "نور",
            "ไทย",
        ),
        *(
            "two words",
            "and three words",
            "<li>",
            "o'brien",
            "a_b-c.d",
            "l·l",
            "カ・キ",
            "क्\u200dष",
            "ß",
            "ς",
        ),
    ],
)
def test_a_name_is_kept_as_it_is(name: str) -> None:
    assert account_name(name) == name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("n\u0303i", "ñi"),
        ("ｌｉ", "li"),
        ("ﾊﾟ", "パ"),
        ("\u212b", "Å"),
        ("e\u0301" * 50, "é" * 50),
    ],
)
def test_one_name_typed_in_several_ways(typed: str, name: str) -> None:
    assert account_name(typed) == likely_name(typed) == name


@pytest.mark.parametrize(
    "name",
    [
        # Invisible characters, by themselves or in a name.
        *(
            f"li{char}"
            for char in "\u3164\u034f\ufe0f\u2800\u115f\u1160\uffa0\u17b4\u180e\u200b\u00ad\U000e0001"
        ),
        *("\u3164", "\u2800\u2800", "\U00016fe4", "a\u200db", "a\u200cb", "\u2062x", "\ufeffx", "a\u061cb"),
        # Blanks, other than single spaces between words.
        *("", " ", " a", "a ", "a  b", "a\u00a0b", "a\u3000b", "a\u2003b", "a\tb", "a\nb"),
        # Mixed directions of writing.
        *("a\u202eb", "1نور", "نورa", "\u2066a\u2069"),
        # Symbols, compatibility forms, and unassigned characters.
        *("😀", "©", "™", "½", "²", "ﬁ", "Ⅳ", "ℌ", "①", "\ue000", "\u0378", "\ufdd0", "⁄", "€"),
        # Marks without a letter, and too many marks on a letter.
        *("\u0301", "\u0301a", "a \u0301b", "a\u0300\u0300", "a\u0300\u0301\u0302\u0303\u0304"),
        # Dots and strokes where no language has them, and names that are too long.
        *("a·b", "・", "abc\u0640", "x" * 51, "é" * 51, "e\u0301" * 51, "x" * 4000),
    ],
)
def test_no_name_for_an_account(name: str) -> None:
    with pytest.raises(ValueError, match="must "):
        account_name(name)
    assert likely_name(name) == name


@pytest.mark.parametrize("name", ["ops", "ops 🎉", "❤️ us", "①", "TM™", "1نور", "½ price", "李雷的群"])
def test_a_group_has_any_name_that_can_be_seen(name: str) -> None:
    assert group_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "\ufe0f", "\u2800", "\u3164", "a\u3164", "a\u034f", "a\u115f", "\U00016fe4", "a\u200bb"),
        *(" a", "a\n", "a\u202eb", "\u0301", "a" + "\u0301" * 20, "x" * 51),
    ],
)
def test_no_name_for_a_group(name: str) -> None:
    with pytest.raises(ValueError, match="must "):
        group_name(name)


def test_a_group_name_is_composed() -> None:
    assert group_name("cafe\u0301") == "café"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("li", "Li"),
        ("li", "LI"),
        ("paypal", "p\u0430ypal"),  # Cyrillic
        ("paypal", "\u0440\u0430\u0443\u0440\u0430l"),
        ("PAYPAL", "\u0420\u0410\u0423\u0420\u0410L"),
        ("paypal", "paypaI"),  # a capital i
        ("paypal", "paypa1"),
        ("paypal", "\u03c1aypal"),  # Greek
        ("nina", "\u0578ina"),  # Armenian
        ("DAVE", "\u13a0\u13aa\u13d9\u13ac"),  # Cherokee
        ("li", "\ua4e1i"),  # Lisu
        ("bob", "b0b"),
        ("modern", "rnodern"),
        ("li", "l\u0131"),  # without its dot
        ("li", "li\u0307"),  # with a second dot
        ("straße", "strasse"),
        ("ñandu", "n\u0303andu"),
        ("工業", "エ業"),  # Han and Katakana
        ("ロ", "口"),
        ("ｌｉ", "li"),  # older accounts may have such names
        ("a·b", "a•b"),
        ("l", "\u05d5"),  # written from right to left
    ],
)
def test_names_that_look_alike(one: str, other: str) -> None:
    assert look_alike(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("li", "lee"), ("Kiara", "Klara"), ("Mila", "Mlla"), ("user 12", "user 13"), ("nina", "niña")),
        *(("à", "á"), ("李", "季"), ("li-8", "li-3"), ("Jan", "Jän"), ("ב", "כ"), ("a b", "ab")),
    ],
)
def test_names_that_do_not(one: str, other: str) -> None:
    assert not look_alike(one, other)


def test_every_pair_of_the_table_looks_alike() -> None:
    table = json.loads((Path(confusable_homoglyphs.__file__).parent / "confusables.json").read_text())
    assert len(table) > 9000
    for key, entries in table.items():
        for entry in entries:
            one, other = (text.strip("\u200e") for text in (key, entry["c"]))
            if all(unicodedata.is_normalized("NFC", text) for text in (one, other)):  # as all names are
                assert look_alike(one, other), (key, entry)


@given(st.text(max_size=60))
def test_what_is_a_name_stays_one(text: str) -> None:
    try:
        name = account_name(text)
    except ValueError:
        return
    assert account_name(name) == name == unicodedata.normalize("NFC", name)
    assert 1 <= len(name) <= MAX_NAME and name.isprintable() and name == name.strip()
    assert group_name(name) == name
    assert look_alike(name, name.upper()) and look_alike(name, name.casefold())
    assert all(len(each) == 32 for each in skeletons(name))
