"""Installations for tests: made once, with small keys, and copied; commands run in this very process."""

import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog

from ca.keys import KeyAlgorithm
from signetry.cli.main import main
from signetry.house import House, open_house
from signetry.settings import load_settings
from signetry.setup import Choices, initialise, write_configuration
from tests.clocks import ManualClock

PUBLIC_URL = "http://pki.example.com"


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:  # noqa: ANN401 - whatever the command printed
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


class Commands:
    """Runs ``signetry`` in this process, as the console script would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: object) -> Done:
        """Run a command, whatever becomes of it."""
        self._capsys.readouterr()
        status = _run(self._monkeypatch, arguments)
        written = self._capsys.readouterr()
        return Done(status, written.out, written.err)

    def text(self, *arguments: object) -> str:
        """Run a command that succeeds; return what it printed."""
        done = self.run(*arguments)
        assert done.status == 0, done
        return done.stdout

    def json(self, *arguments: object) -> Any:  # noqa: ANN401 - whatever the command prints
        """Run a command that succeeds with ``--json``; return its document."""
        return json.loads(self.text(*arguments, "--json"))

    def refused(self, *arguments: object, status: int = 1) -> str:
        """Run a command that fails with ``status``; return the one line of its reason."""
        done = self.run(*arguments)
        assert done.status == status, done
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        (reason,) = done.stderr.splitlines()
        return reason


def run_command(*arguments: object) -> Done:
    """Run a command as ``Commands`` does, where there are no fixtures."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.MonkeyPatch.context() as patch:
        return Done(_run(patch, arguments), out.getvalue(), err.getvalue())


def _run(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[object]) -> int:
    monkeypatch.setattr(sys, "argv", ["signetry", *map(str, arguments)])
    with _logging_kept():
        try:
            main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo what a command does to the logging of its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def make(home: Path) -> None:
    """Make an installation with elliptic-curve authorities in ``home``, which SIGNETRY_HOME must name."""
    settings = load_settings(public_url=PUBLIC_URL)
    choices = Choices(ca_key=KeyAlgorithm.P256)
    write_configuration(settings, choices, public_url=PUBLIC_URL)
    initialise(load_settings(), choices).close()
    # A copy takes the file alone: nothing may be left in the log beside it.
    assert not (home / "signetry.db-wal").exists()


def copied(template: Path, home: Path) -> Path:
    """Copy the installation ``template`` to ``home``."""
    shutil.copytree(template, home)
    return home


def edit(home: Path, old: str, new: str) -> None:
    """Replace ``old`` in the settings file by ``new``."""
    path = home / "signetry.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@contextmanager
def opened(clock: ManualClock | None = None) -> Iterator[House]:
    """Open the installation that SIGNETRY_HOME names, under a clock of the test's where one is given."""
    house = open_house()
    try:
        yield replace(house, clock=clock) if clock else house
    finally:
        house.close()


def clock_of_today() -> ManualClock:
    """Return a clock that stands at the present: installations are made by the real one."""
    return ManualClock(datetime.now(UTC))
