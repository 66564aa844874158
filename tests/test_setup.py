"""Packaging: the files that `pip install` leaves, the pins, and the launchers of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import forkchat
from forkchat.cli import SERVER_MODULES
from tests.test_layers import MODULES, ROOT, imports


def output(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True, env=os.environ | env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins(*names: str) -> dict[str, str]:
    """Return the pinned versions in these requirements files, by default in all."""
    lines = [
        line
        for name in names or ("requirements.txt", "requirements-server.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment with forkchat installed from its sdist, as on a machine without a compiler."""
    work = tmp_path_factory.mktemp("setup")
    # Build from a copy, because a build leaves files beside setup.py, and uses those of an older build.
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, work / "source", ignore=unwanted)
    build = "import setuptools.build_meta as b; b.build_sdist('..')"
    output(sys.executable, "-c", build, cwd=work / "source")
    [sdist] = work.glob("*.tar.gz")

    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index", "--no-build-isolation"]
    output(*pip, "wheel", *alone, "-w", work, sdist, cwd=work, PATH="")
    [wheel] = work.glob("*.whl")

    venv = work / "venv"
    output(sys.executable, "-m", "venv", "--without-pip", venv, cwd=work)
    pins = str(ROOT / "requirements.txt")
    into = ["--python", str(venv / "bin/python"), "install", "--only-binary", ":all:", "-c", pins]
    output(*pip, *into, wheel, cwd=work, PATH="")
    yield venv
    shutil.rmtree(work)


def distribution(venv: Path) -> Distribution:
    [found] = distributions(name="forkchat", path=[str(*venv.glob("lib/python*/site-packages"))])
    return found


def test_installed_commands_run_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert forkchat.__version__ in output(installed / "bin/forkchat", "--version", cwd=tmp_path)
    assert output(installed / "bin/chatcli", "--version", cwd=tmp_path) == f"chatcli {forkchat.__version__}\n"
    assert "usage: chatcli" in output(installed / "bin/chatcli", "--help", cwd=tmp_path)


def test_the_client_is_installed_from_wheels_without_the_server_s_packages(installed: Path) -> None:
    found = distributions(path=[str(*installed.glob("lib/python*/site-packages"))])
    names = {str(canonicalize_name(each.name)) for each in found} - {"forkchat"}
    assert names == pins("requirements.txt").keys()


def test_every_module_of_the_client_is_imported_without_the_server_s_packages(
    installed: Path, tmp_path: Path
) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "client").rglob("*.py")
    ]
    names = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    output(installed / "bin/python", "-c", f"import {', '.join(names)}", cwd=tmp_path)


def test_the_server_says_how_its_packages_are_installed(installed: Path, tmp_path: Path) -> None:
    for flags in ((), ("-t",)):
        argv = [str(installed / "bin/forkchat"), *flags]
        done = subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        remedy = (
            rf"{installed}/bin/python\S* -m pip install '.\[server\]', in the directory of forkchat's source"
        )
        missing = ", ".join(SERVER_MODULES)
        complaint = (
            rf"forkchat: packages of the server are missing \({missing}\); this installs them: {remedy}\n"
        )
        assert re.fullmatch(complaint, done.stderr)


def test_the_server_looks_for_all_that_it_imports(installed: Path) -> None:
    ours = {"forkchat", "client"}
    imported = {
        found.module.split(".")[0]
        for path in MODULES
        if path.parts[0] == "forkchat"
        for found in imports(path)
        if not found.is_for_types
    }
    code = "import sys; print(*sys.stdlib_module_names)"
    without = {*output(installed / "bin/python", "-c", code, cwd=ROOT).split(), *ours}
    there = {
        name for name in imported - without if list(installed.glob(f"lib/python*/site-packages/{name}*"))
    }
    assert imported - without - there == {*SERVER_MODULES}


@pytest.mark.parametrize("folder", ["sql", "etc"])
def test_every_data_file_is_installed(installed: Path, folder: str) -> None:
    there = {path.name: path.read_bytes() for path in (installed / "share/forkchat" / folder).iterdir()}
    assert there == {path.name: path.read_bytes() for path in (ROOT / folder).iterdir()}
    assert there


def test_every_module_is_installed(installed: Path) -> None:
    modules = {
        str(path.relative_to(ROOT)) for top in ("forkchat", "client") for path in (ROOT / top).rglob("*.py")
    }
    modules.add("chatcli.py")
    assert modules == {str(path) for path in distribution(installed).files or [] if path.suffix == ".py"}


def test_pins_satisfy_what_is_required(installed: Path) -> None:
    pinned = pins()
    for requirement in map(Requirement, distribution(installed).requires or []):
        assert {s.operator for s in requirement.specifier} == {">=", "<"}, requirement
        assert pinned[canonicalize_name(requirement.name)] in requirement.specifier


def test_everything_in_the_environment_is_pinned() -> None:
    installed = distributions(path=[sysconfig.get_path("purelib")])
    versions = {str(canonicalize_name(found.name)): found.version for found in installed}
    del versions["pip"]
    assert versions == pins()
    output(sys.executable, "-m", "pip", "check", cwd=ROOT)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("forkchat", r"packages of the server are missing \(.*\); this installs them: ROOT/bin/setup run"),
        ("chatcli", r"No module named '\w+': run ROOT/bin/setup first"),
    ],
)
def test_launcher_before_the_set_up(command: str, complaint: str, tmp_path: Path) -> None:
    """The launcher of a fresh clone, on a machine without the packages, says how to install them."""
    for name in ("bin", "client", "forkchat"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "chatcli.py", tmp_path)
    argv = ["/usr/bin/python3", "-S", str(tmp_path / "bin" / command)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(f"{command}: {complaint}\n".replace("ROOT", str(tmp_path)), done.stderr)


@pytest.mark.parametrize("command", ["forkchat", "chatcli"])
def test_launcher_runs_from_anywhere(command: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT / "bin" / command)
    assert output(tmp_path / "link", "--help", cwd=tmp_path)


@pytest.mark.parametrize("what", ["run", "cluster", "all", ""])
def test_the_set_up_does_nothing_twice(what: str) -> None:
    """A repeated set-up changes nothing.

    The tests need everything that can be set up, so the smaller set-ups are complete too.
    """
    made_from = ROOT / ".venv/made-from"
    before = made_from.stat().st_mtime_ns
    assert output("bin/setup", *what.split(), cwd=ROOT) == ""
    assert made_from.stat().st_mtime_ns == before


def test_the_set_up_compiles_what_workers_import() -> None:
    """The set-up compiles the modules, because the workers' user may not write the compiled files."""
    output("bin/setup", "run", cwd=ROOT)
    modules = (ROOT / "forkchat").rglob("*.py")
    assert not [path for path in modules if not Path(cache_from_source(path)).exists()]


def test_the_set_up_of_something_else() -> None:
    done = subprocess.run(["bin/setup", "tests"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "usage: bin/setup [run|cluster|all]\n")
