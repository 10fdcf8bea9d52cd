"""Installations and the command line, for every test of the composition root."""

import os
from pathlib import Path

import pytest

from tests.signetry import installation
from tests.signetry.installation import Commands


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    """The command line."""
    return Commands(monkeypatch, capsys)


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that does not exist yet, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("SIGNETRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIGNETRY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, to be copied and not to be touched."""
    home = tmp_path_factory.mktemp("installation") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNETRY_HOME", str(home))
        installation.make(home)
    return home


@pytest.fixture
def installed_home(installed: Path, empty_home: Path) -> Path:
    """An installation of the test's own, with the public URL http://pki.example.com."""
    return installation.copied(installed, empty_home)
