"""The wheel: installed where there is no checkout, it is whole."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the libraries it needs, and without this checkout.

    The libraries are borrowed, by a folder of links to all that the development environment holds except what leads back here.
    """
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False, symlinks=True)
    borrowed = directory / "borrowed"
    borrowed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.suffix != ".pth" and "signetry" not in entry.name:
            (borrowed / entry.name).symlink_to(entry)
    packages = next((directory / "lib").glob("python3.*/site-packages"))
    install = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "--python",
        str(directory / "bin" / "python"),
    ]
    subprocess.run([*install, "install", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    (packages / "borrowed.pth").write_text(f"{borrowed}\n")
    return directory


def run(environment: Path, tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the environment, in a folder and with variables that know nothing of the checkout."""
    variables = {"PATH": os.defpath, "HOME": str(tmp_path), "SIGNETRY_HOME": str(tmp_path / "state"), "LANG": "C.UTF-8"}
    program = str(environment / "bin" / command[0])
    return subprocess.run([program, *command[1:]], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)


def modules(wheel: Path) -> list[str]:
    """Return the modules that the wheel holds; Alembic's own entry runs only under Alembic."""
    names = [
        name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py") and not name.endswith("migrations/env.py")
    ]
    return [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names]


def test_every_module_of_the_repository_is_in_the_wheel(wheel: Path) -> None:
    packages = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/__init__.py")}
    here = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == here
    for package in here:
        for path in (ROOT / package).rglob("*.py"):
            assert str(path.relative_to(ROOT)) in zipfile.ZipFile(wheel).namelist()
    assert "signetry/migrations/script.py.mako" in zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "notices" / "templates").rglob("*.txt"):
        assert str(path.relative_to(ROOT)) in zipfile.ZipFile(wheel).namelist()


def test_every_module_of_the_wheel_can_be_imported(wheel: Path, environment: Path, tmp_path: Path) -> None:
    # Forgotten in between, so that a module which only works after another was imported is found as well.
    code = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module(name).__file__)
    for loaded in list(sys.modules):
        # A table can be declared once only.
        if loaded.partition(".")[0] == "signetry" and not loaded.endswith(".records"):
            del sys.modules[loaded]
"""
    result = run(environment, tmp_path, "python", "-c", code, *modules(wheel))
    assert result.returncode == 0, result.stderr
    assert str(ROOT) not in result.stdout.replace(str(environment), "")


def test_the_command_works_without_a_checkout(environment: Path, tmp_path: Path) -> None:
    assert "Signetry" in run(environment, tmp_path, "signetry", "--help").stdout
    result = run(environment, tmp_path, "signetry", "init", "--ca-key", "p256")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "state" / "signetry.db").exists()
