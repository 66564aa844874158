"""The layers: imports point one way only (HACKING.md), and every module has a docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT) for top in ("forkchat", "client") for path in (ROOT / top).rglob("*.py")
)

#: Modules that serve all layers.
COMMON = {"forkchat", "errors", "log", "runtime", "jobs"}
#: Layers that serve all of the client, above all its sans-I/O protocol.
CLIENT = {"errors", "wire", "client.text", "client.i18n", "client.protocol"}
#: Layers of the project that each layer may import, besides itself.
MAY_IMPORT = {
    "wire": {"errors"},
    "net": COMMON,
    "store": COMMON | {"config"},
    "bus": COMMON | {"config"},
    "service": COMMON | {"config", "wire"},
    "process": COMMON | {"config", "wire", "net", "store", "bus", "service"},
    "cli": COMMON | {"config", "process"},
    "client": CLIENT
    | {"forkchat", "client.aio", "client.local", "client.commands", "client.script", "client.screen"},
    "client.text": set(),
    "client.i18n": set(),
    "client.protocol": {"errors", "wire"},
    "client.aio": CLIENT,
    "client.local": CLIENT,
    "client.load": CLIENT | {"client.aio"},
    "client.commands": CLIENT | {"client.aio", "client.local"},
    "client.script": CLIENT | {"client.aio", "client.local", "client.commands"},
    "client.screen": CLIENT | {"client.aio", "client.local", "client.commands"},
    "config": {"errors", "log", "wire"},
    "errors": set(),
    "log": set(),
    "runtime": {"errors", "log", "forkchat"},
    "jobs": {"errors", "log", "runtime", "forkchat"},
    "forkchat": set(),
}
#: Layers that only annotations may name, because stores and bus are handed to the service.
MAY_NAME = {"service": {"store", "bus"}}
#: The only layer that may import each driver.
DRIVERS = {"MySQLdb": "store", "redis": "bus", "hiredis": "bus"}


class Import(NamedTuple):
    module: str
    is_for_types: bool
    line: int


def imports(path: Path) -> Iterator[Import]:
    """Yield all imports of a module, including those inside functions."""
    tree = ast.parse((ROOT / path).read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, node in for_types, node.lineno)


def layer(module: str) -> str:
    """Return the layer of a dotted name: "wire" for "forkchat.wire.frames.line"."""
    top, *rest = module.split(".")
    if top == "client":
        within = f"client.{rest[0]}" if rest else ""
        return within if within in MAY_IMPORT else "client"
    if top != "forkchat":
        return top
    return rest[0] if rest and rest[0] in MAY_IMPORT else "forkchat"


def layer_of(path: Path) -> str:
    return layer(".".join(path.with_suffix("").parts))


def wrong(path: Path, found: Import) -> bool:
    mine, theirs = layer_of(path), layer(found.module)
    if theirs in DRIVERS:
        return DRIVERS[theirs] != mine
    if theirs == mine or theirs not in MAY_IMPORT:
        return False
    return theirs not in MAY_IMPORT[mine] | (MAY_NAME.get(mine, set()) if found.is_for_types else set())


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_one_way(path: Path) -> None:
    bad = [f"{path}:{found.line}: {found.module}" for found in imports(path) if wrong(path, found)]
    assert not bad, bad


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text()))
    assert docstring, f"{path} has no docstring"


@pytest.mark.parametrize(
    ("path", "module", "is_for_types", "is_wrong"),
    [
        ("forkchat/wire/frames.py", "forkchat.net.loop.EventLoop", False, True),
        ("forkchat/wire/frames.py", "forkchat.config.Config", False, True),
        ("forkchat/wire/frames.py", "forkchat.errors.Refused", False, False),
        ("forkchat/net/loop.py", "forkchat.wire.frames.line", False, True),
        ("forkchat/store/users.py", "forkchat.bus.Bus", False, True),
        ("forkchat/store/users.py", "MySQLdb", False, False),
        ("forkchat/service/chat.py", "MySQLdb.cursors", True, True),
        ("forkchat/service/chat.py", "forkchat.store.Store", False, True),
        ("forkchat/service/chat.py", "forkchat.store.Store", True, False),
        ("forkchat/service/chat.py", "forkchat.net.loop", True, True),
        ("forkchat/process/worker.py", "redis", False, True),
        ("forkchat/process/worker.py", "forkchat.cli", False, True),
        ("forkchat/cli.py", "forkchat.service.Service", False, True),
        ("client/protocol/link.py", "forkchat.wire.frames.line", False, False),
        ("client/protocol/link.py", "forkchat.runtime.Future", False, True),
        ("client/protocol/link.py", "client.aio.client.Client", False, True),
        ("client/commands/shell.py", "client.screen.app.run", False, True),
        ("client/main.py", "client.screen.app.run", False, False),
        ("forkchat/config.py", "forkchat.store.Store", True, True),
    ],
)
def test_the_rules_themselves(path: str, module: str, is_for_types: bool, is_wrong: bool) -> None:
    assert wrong(Path(path), Import(module, is_for_types, 1)) is is_wrong


def test_every_layer_is_there() -> None:
    assert {layer_of(path) for path in MODULES} == MAY_IMPORT.keys()
