"""Packaging: what `pip install` leaves, the pins, and the launchers of the checkout."""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import forkchat

ROOT = Path(__file__).parents[1]


def output(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins() -> dict[str, str]:
    lines = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment into which forkchat's sdist was installed, without the network."""
    work = tmp_path_factory.mktemp("setup")
    # Build from a copy: a build leaves files beside setup.py, and takes up what an older one left.
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, work / "source", ignore=unwanted)
    build = "import setuptools.build_meta as b; b.build_sdist('..')"
    output(sys.executable, "-c", build, cwd=work / "source")
    [sdist] = work.glob("*.tar.gz")

    venv = work / "venv"
    output(sys.executable, "-m", "venv", "--without-pip", venv, cwd=work)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    flags = ["--no-deps", "--no-index", "--no-build-isolation"]
    output(venv / "bin/python", "-m", "pip", "install", *flags, sdist, cwd=work)
    yield venv
    shutil.rmtree(work)


def distribution(venv: Path) -> Distribution:
    [found] = distributions(name="forkchat", path=[str(*venv.glob("lib/python*/site-packages"))])
    return found


def test_installed_commands_run_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert forkchat.__version__ in output(installed / "bin/forkchat", "--version", cwd=tmp_path)
    output(installed / "bin/chatcli", "--help", cwd=tmp_path)


@pytest.mark.parametrize("folder", ["sql", "etc"])
def test_every_data_file_is_installed(installed: Path, folder: str) -> None:
    there = {path.name: path.read_bytes() for path in (installed / "share/forkchat" / folder).iterdir()}
    assert there == {path.name: path.read_bytes() for path in (ROOT / folder).iterdir()}
    assert there


def test_every_module_is_installed(installed: Path) -> None:
    modules = {
        str(path.relative_to(ROOT)) for top in ("forkchat", "client") for path in (ROOT / top).rglob("*.py")
    }
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


@pytest.mark.parametrize("command", ["forkchat", "chatcli"])
def test_launcher_before_the_set_up(command: str, tmp_path: Path) -> None:
    """In a fresh clone, on a machine that has none of the packages."""
    for name in ("bin", "client", "forkchat"):
        shutil.copytree(ROOT / name, tmp_path / name)
    argv = ["/usr/bin/python3", "-S", str(tmp_path / "bin" / command), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{command}: No module named '\w+': run {tmp_path}/bin/setup first\n", done.stderr)


@pytest.mark.parametrize("command", ["forkchat", "chatcli"])
def test_launcher_runs_from_anywhere(command: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT / "bin" / command)
    assert output(tmp_path / "link", "--help", cwd=tmp_path)
