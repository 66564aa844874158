"""Only placeholders are ever formatted into SQL. The tests check this in the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import ROOT

#: Statements that cannot be made with parameters. The operator gives the name of the database, which is
#: checked or quoted. The others come from the files of sql/, or name the tables that these files make.
_MADE = {
    ("check.py", "statement"),
    ("schema.py", 'f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4"'),
    ("schema.py", "statement"),
}


def formatted(source: str) -> Iterator[str]:
    """Yield the executed statements that are built from more than literals and placeholders."""
    tree = ast.parse(source)
    literals = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    placeholders = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _makes_placeholders(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def is_number(name: str) -> bool:
        node = literals.get(name)
        return isinstance(node, ast.Constant) and type(node.value) is int

    def is_literal(node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=str()):
                return True
            case ast.Name(id=name):
                return name in literals and is_literal(literals[name])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return is_literal(left) and is_literal(right)
            case ast.BinOp(left=repeated, op=ast.Mult()):
                return is_literal(repeated)
            case ast.JoinedStr(values=parts):
                return all(map(is_literal, parts))
            case ast.FormattedValue(value=value):
                return _makes_placeholders(value) or (
                    isinstance(value, ast.Name) and (value.id in placeholders or is_number(value.id))
                )
            case ast.IfExp(body=body, orelse=orelse):
                return is_literal(body) and is_literal(orelse)
        return False

    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="execute" | "executemany" | "query"), args=[sql, *_]):
                if not is_literal(sql):
                    yield ast.get_source_segment(source, sql) or ""


def _makes_placeholders(node: ast.expr) -> bool:
    """Return True if the expression calls `values` of store/database.py with literal names."""
    match node:
        case ast.Call(func=ast.Name(id="values"), args=[_, ast.Tuple(elts=names)]):
            return all(isinstance(name, ast.Constant) for name in names)
    return False


def test_every_statement_is_a_literal() -> None:
    made = {
        (path.name, sql)
        for path in (ROOT / "forkchat").rglob("*.py")
        if "MySQLdb" in path.read_text() or path.parent.name == "store"
        for sql in formatted(path.read_text())
    }
    assert made == _MADE


@pytest.mark.parametrize(
    "statement",
    [
        'f"SELECT {name}"',
        '"SELECT %s" % name',
        '"SELECT " + name',
        "name * 2",
        '"SELECT {}".format(name)',
        "sql",
    ],
)
def test_a_formatted_statement_is_found(statement: str) -> None:
    assert list(formatted(f"cursor.execute({statement})")) == [statement]


def test_only_the_store_speaks_sql() -> None:
    speakers = {
        path for path in Path(ROOT / "forkchat").rglob("*.py") if "import MySQLdb" in path.read_text()
    }
    assert {path.parent.name for path in speakers} == {"store"}
