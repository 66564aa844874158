"""The statements, commands and scripts in the source, with their names: all that a sweep has to cover."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tests.server import ROOT

#: Modules that send statements only at the start, before any user is there.
_START_ONLY = {"schema"}
_ANYTHING = "\0"


class Statement(NamedTuple):
    """A statement of the store. `parts`: the texts between its parameters, in order."""

    name: str
    parts: tuple[str, ...]

    def matches(self, sql: str) -> bool:
        at = len(self.parts[0])
        if not sql.startswith(self.parts[0]):
            return False
        for part in self.parts[1:]:
            found = sql.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return bool(not self.parts[-1] or sql.endswith(self.parts[-1]))

    @property
    def weight(self) -> int:
        return sum(map(len, self.parts))


def statements() -> list[Statement]:
    """Return every statement that `forkchat.store` executes, named `module.function: text`."""
    found = []
    for path in sorted((ROOT / "forkchat/store").glob("*.py")):
        if path.stem not in _START_ONLY:
            found += list(_of_module(path))
    return found


def scripts() -> dict[str, str]:
    """Return the names (`module.NAME`) of the Lua scripts of `forkchat.bus`, by their text."""
    found = {}
    for path in (ROOT / "forkchat/bus").glob("*.py"):
        module = importlib.import_module(f"forkchat.bus.{path.stem}".removesuffix(".__init__"))
        for name, value in vars(module).items():
            if isinstance(value, str) and "redis.call" in value and "EVAL" in path.read_text():
                found[value] = f"{path.stem}.{name.strip('_')}"
    return _sent(found)


def commands() -> set[str]:
    """Return the commands that `forkchat.bus` sends, without EVAL."""
    sent = set()
    for path in (ROOT / "forkchat/bus").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                values = [arg for arg in node.args if isinstance(arg, ast.Constant)]
                values += [arg.elts[0] for arg in node.args if isinstance(arg, ast.Tuple) and arg.elts]  # type: ignore[misc]
                if node.func.attr in ("call", "send", "send_command", "tell"):
                    sent |= {
                        v.value for v in values if isinstance(v, ast.Constant) and str(v.value).isupper()
                    }
    return {str(command) for command in sent} - {"EVAL"}


def _sent(found: dict[str, str]) -> dict[str, str]:
    """Leave out scripts that are parts of others."""
    return {text: name for text, name in found.items() if not any(text != o and text in o for o in found)}


def _of_module(path: Path) -> Iterator[Statement]:
    tree = ast.parse(path.read_text())
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in ("execute", "executemany")
            ):
                for text in dict.fromkeys(_texts(node.args[0], constants)):
                    parts = tuple(part.replace("%%", "%") for part in re.split(r"%s|\0", text))
                    if any(part.strip() for part in parts):
                        label = re.sub(r"\s+", " ", re.sub(r"%s|\0", "?", text)).replace("%%", "%")
                        yield Statement(f"{path.stem}.{function.name.strip('_')}: {label}", parts)


def _texts(node: ast.expr, constants: dict[str, ast.expr]) -> list[str]:
    """Return the possible values of an expression. A part that is unknown before the run matches anything."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.Name) and node.id in constants:
        return _texts(constants[node.id], constants)
    if isinstance(node, ast.IfExp):
        return _texts(node.body, constants) + _texts(node.orelse, constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        both = product(_texts(node.left, constants), _texts(node.right, constants))
        return [left + right for left, right in both]
    if isinstance(node, ast.JoinedStr):
        texts = [""]
        for value in node.values:
            inner = value.value if isinstance(value, ast.FormattedValue) else value
            texts = [a + b for a, b in product(texts, _texts(inner, constants))]
        return texts
    return [_ANYTHING]
