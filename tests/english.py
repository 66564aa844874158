"""Check docstrings and comments against the project's rules for English: `python -m tests.english [PATHS]`.

The rules are those of HACKING.md that a program can hold. A reader has to judge the rest.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
#: Where the project's own Python lies.
FOLDERS = ("forkchat", "client", "tests")
#: Words of a sentence, at most.
MOST_WORDS = 20
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

#: No docstring begins with these: they hide its subject.
_NO_START = set(
    "What Who Whoever Whom Whose Whether That Those These This It They There Where How Whatever Which".split()
)
#: No imperative is among these, with which a function's docstring would begin otherwise.
_NO_VERB = set(
    "The A An Each Every All Any Some No None Nothing Nobody Somebody Someone Only If When While As Of In On "
    "At By For From To With Without Under Another Other Others One Two Same Seconds True False Is Are Was "
    "Has Does Not Also Now Then Here Its Their Our My Me We I You".split()
)
#: These end like a third person, a participle or a gerund, and are imperatives.
_VERBS = set(
    "Pass Process Address Press Guess Miss Cross Bypass Compress Express Access Dismiss Discuss Canvas Focus "
    "Feed Need Seed Shed Embed Proceed Succeed Exceed Speed Bring Ping Ring Sing String Swing Fling".split()
)
#: What is said otherwise, and how.
_WORDS = {
    r"whoever|whomever|whosoever": "name the subject",
    r"whatever": "name what it is",
    r"(those|he|somebody|someone|people) who": "name the subject",
    r"one's|oneself": "name the subject",
    r"nobody new": "new ...",
    r"(no|any) more(?!\s+than)": "no longer",
    r"anew": "again",
    r"behind": "after",
    r"alone": "only",
    r"(may|might|will|can) well": "may",
    r"lest|whence|hence|thereof|therein|herein|thence": "plain words",
}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\"(])")
_WORD = re.compile(r"[\w'’/.@=<>+*-]+")
_NO_TEXT = re.compile(r"#!|#\s*(noqa|type:|mypy:|ruff:|fmt:|pragma)")


class Fault(NamedTuple):
    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.reason}"


def check(path: Path) -> Iterator[Fault]:
    """Yield the faults of one file, in the order of docstrings, then comments."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _Documented) and (text := ast.get_docstring(node)):
            line = node.body[0].lineno
            reasons = [*_check_start(node, text), *_check_text(text)]
            yield from (Fault(path, line, reason) for reason in reasons)
    for line, text in _comments(source):
        yield from (Fault(path, line, reason) for reason in _check_text(text))


def files(paths: list[str]) -> Iterator[Path]:
    for each in map(Path, paths or FOLDERS):
        path = (ROOT / each).resolve()
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _check_start(node: _Documented, text: str) -> Iterator[str]:
    first = re.split(r"[\s,.:;'’]", text, maxsplit=1)[0]
    if first in _NO_START:
        yield f"begins with {first!r}"
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _is_described(node):
        is_verb = first in _VERBS or not re.search(r"([^s]s|ing|ed)$", first)
        if first in _NO_VERB or not is_verb:
            yield f"begins with {first!r}, not with an imperative"


def _is_described(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell properties, fixtures and tests, whose docstrings describe a value or a scene."""
    names = " ".join(ast.unparse(each) for each in node.decorator_list)
    return bool(re.search(r"property|fixture|hookimpl|\.setter", names)) or node.name.startswith("test_")


def _check_text(text: str) -> Iterator[str]:
    for sentence in _sentences(text):
        words = _WORD.findall(re.sub(r"`[^`]*`", "X", sentence))
        if len(words) > MOST_WORDS:
            yield f"{len(words)} words: {sentence[:60]}"
        if len(re.findall(r":(?=\s)", sentence)) > 1:
            yield f"a chain of colons: {sentence[:60]}"
    for pattern, instead in _WORDS.items():
        if match := re.search(rf"\b({pattern})\b", re.sub(r"`[^`]*`", "X", text), re.IGNORECASE):
            yield f"{match[0]!r}: {instead}"


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of running text: no tables, no indented code. An item of a list begins one."""
    lines = [line for line in text.splitlines() if not re.match(r" {4}|\||>>>|=+$|-+$", line)]
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.)\s)", "\n".join(lines)):
        yield from filter(None, (part.strip() for part in _SENTENCE_END.split(paragraph.replace("\n", " "))))


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of comments: consecutive lines that hold nothing else are one."""
    block: list[str] = []
    begin = before = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or _NO_TEXT.match(token.string):
            continue
        line = token.start[0]
        is_alone = not token.line[: token.start[1]].strip()
        if block and not (is_alone and line == before + 1):
            yield begin, "\n".join(block)
            block = []
        begin = begin if block else line
        block.append(re.sub(r"^#:? ?", "", token.string))
        before = line if is_alone else 0
    if block:
        yield begin, "\n".join(block)


def main() -> int:
    faults = [fault for path in files(sys.argv[1:]) for fault in check(path)]
    print(*faults, f"{len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
