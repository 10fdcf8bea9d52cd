"""The shape of the house: who may import whom, and what may stand where (docs/architecture.md)."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("foundation", "audit", "ca", "people", "intune", "scep", "crl", "ldap_publish", "notices", "pkcs_import", "signetry")
LONGEST_MODULE = 400

# Who may import what comes from outside, by the first part of its name.
PLACES: dict[str, Callable[[Path], bool]] = {
    "fastapi": lambda path: path.name == "http.py" or path.parts[:2] == ("signetry", "api"),
    "uvicorn": lambda path: path.parts[0] == "signetry",
    "typer": lambda path: path.parts[:2] == ("signetry", "cli"),
    "ldap3": lambda path: path == Path("ldap_publish/client.py"),
    "msal": lambda path: path == Path("intune/tokens.py"),
    "asn1crypto": lambda path: path.parts[0] in ("ca", "scep", "crl") and path.name not in ("http.py", "records.py"),
    # It takes longer to import than a command takes to run.
    "prometheus_client": lambda path: path.parts[:2] == ("signetry", "metrics") or path == Path("signetry/instruments.py"),
    "alembic": lambda path: path.parts[0] == "signetry",
}


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_the_import_contracts_are_kept() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_every_package_of_the_repository_is_known_here() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found - {"tests", "benchmarks"} == set(PACKAGES)


@pytest.mark.parametrize("path", [path for path in modules() if path.name == "__init__.py"], ids=str)
def test_an_init_file_holds_a_docstring_and_nothing_else(path: Path) -> None:
    body = ast.parse((ROOT / path).read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)
    assert isinstance(body[0].value.value, str)


def test_no_module_grows_beyond_what_can_be_read_in_one_go() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in modules() if "versions" not in path.parts}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_libraries_stay_in_their_places() -> None:
    strays = [
        f"{path} imports {name}" for path in modules() for name in imported(path) if name in PLACES and not PLACES[name](path)
    ]
    assert strays == []


def test_every_test_folder_is_a_package() -> None:
    """Without its parent's, ``tests/ca/__init__.py`` would shadow the real ``ca``."""
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
