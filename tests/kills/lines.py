"""The fifty lines to type, and their recipients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True)
class Line:
    """One line.

    `place`: the conversation to type it in, "" for the home page. `text`: the text to type; each newline
    stands for the key that makes one. `to`: its recipient, who then sees `said`.
    """

    place: str
    text: str
    to: str
    said: str


#: Place, text, recipient, and the text that the recipient sees; `%s` in the text stands for the latter.
_KINDS = (
    ("bo", "%s", "bo", "{} plain"),
    ("bo", "%s", "bo", "{} naïve 漢字 é🙂"),
    ("bo", "/me waves {}", "bo", "/me waves {}"),
    ("bo", "/say %s", "bo", "/{} no command"),
    ("bo", "%s", "bo", "{} one\ntwo"),
    ("bo", "/msg mei %s", "mei", "{} aside"),
    ("", "/msg bo %s", "bo", "{} at home"),
    ("", "/query mei %s", "mei", "{} hello"),
    ("mei", "%s", "mei", "{} done: y"),
    ("[ops]", "%s", "[ops]", "{} to all"),
    ("mei", "/msg #ops %s", "[ops]", "{} go"),
    ("", "chat:BO:%s", "bo", "{} classic"),
    ("bo", "%s", "bo", "help {}"),
)


def lines(bo: int, number: int = 50) -> Iterator[Line]:
    """Yield `number` lines. `bo`: the id of the user bo."""
    for count in islice(range(10**9), number):
        yield line(count % len(_KINDS), count, bo)


def line(kind: int, count: int, bo: int) -> Line:
    place, text, to, said = _KINDS[kind]
    said = said.format(f"{count:02}")
    return Line(place, text.format(f"{count:02}").replace("BO", str(bo)).replace("%s", said), to, said)


KINDS = len(_KINDS)
