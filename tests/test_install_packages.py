"""``tests/install-debian-packages``: as root, with sudo, or with a clear word and before any test."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("install-debian-packages")
PACKAGES = [
    line for line in Path(__file__).with_name("debian-packages.txt").read_text().splitlines() if line and not line.startswith("#")
]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that stand in for the machine's own; what apt-get is asked for lands in ``apt.log``."""
    programs = {
        "dpkg-query": "echo -n not-installed",
        "id": "echo 1000",
        "sudo": 'shift; exec "$@"',
        "apt-get": f'echo "$DEBIAN_FRONTEND $@" >> {tmp_path}/apt.log',
    }
    for name, script in programs.items():
        stand_in(tmp_path, name, script)
    return tmp_path


def stand_in(machine: Path, name: str, script: str) -> None:
    (machine / name).write_text(f"#!/bin/sh\n{script}\n")
    (machine / name).chmod(0o755)


def run(machine: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{machine}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)


def asked(machine: Path) -> list[str]:
    return (machine / "apt.log").read_text().splitlines() if (machine / "apt.log").exists() else []


def test_nothing_is_asked_for_when_nothing_is_missing(machine: Path) -> None:
    stand_in(machine, "dpkg-query", "echo -n installed")
    assert run(machine).returncode == 0
    assert asked(machine) == []


@pytest.mark.parametrize("user", ["0", "1000"], ids=["root", "with sudo"])
def test_what_is_missing_is_installed_without_questions_and_recommendations(machine: Path, user: str) -> None:
    stand_in(machine, "id", f"echo {user}")
    assert run(machine).returncode == 0
    (line,) = asked(machine)
    assert line.startswith("noninteractive ")
    assert line.endswith(f"install -y --no-install-recommends {' '.join(PACKAGES)}")


def test_old_package_lists_are_renewed_and_the_installation_tried_again(machine: Path) -> None:
    log = machine / "apt.log"
    stand_in(machine, "apt-get", f'echo "$@" >> {log}; [ "$(wc -l < {log})" -gt 1 ]')
    assert run(machine).returncode == 0
    first, update, again = asked(machine)
    assert "update" in update
    assert first == again


def test_without_rights_the_command_is_printed_and_nothing_runs(machine: Path) -> None:
    stand_in(machine, "sudo", "exit 1")
    done = run(machine)
    assert done.returncode == 1
    assert f"sudo apt-get install --no-install-recommends {' '.join(PACKAGES)}" in done.stderr
    assert asked(machine) == []
