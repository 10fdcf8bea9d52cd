"""The lock files: complete, hashed, and without a word on where they were made."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = {
    "requirements.lock": [*PROJECT["dependencies"], *EXTRAS["build"]],
    "requirements-dev.lock": [*PROJECT["dependencies"], *EXTRAS["build"], *EXTRAS["dev"]],
}


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Return the version and the number of hashes of every package that the lock file ``name`` pins."""
    text = (ROOT / name).read_text()
    blocks = re.findall(r"^([a-zA-Z0-9._-]+)(?:\[[^\]]*\])?==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)", text, re.MULTILINE)
    return {canonicalize_name(package): (version, hashes.count("--hash")) for package, version, hashes in blocks}


@pytest.fixture(params=sorted(WANTED))
def name(request: pytest.FixtureRequest) -> str:
    lock: str = request.param
    return lock


def test_every_dependency_is_locked_at_a_version_it_allows(name: str) -> None:
    pins = locked(name)
    for line in WANTED[name]:
        wanted = Requirement(line)
        version, _ = pins[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), line


def test_everything_locked_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    requirements = re.findall(r"^[a-zA-Z0-9].*", text, re.MULTILINE)
    assert len(requirements) == len(locked(name)) > 20
    assert all(count >= 1 for _, count in locked(name).values())


def test_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert re.search(r"://|--(?:extra-)?index-url|--find-links|--trusted-host|@ file", text) is None


def test_both_locks_agree() -> None:
    development = locked("requirements-dev.lock")
    assert {package: pin for package, pin in locked("requirements.lock").items() if development.get(package) != pin} == {}
