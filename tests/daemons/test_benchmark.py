"""The benchmark itself: short, and without any expectation of its figures."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(benchmark: str, *options: str, **variables: str) -> list[str]:
    """Run a benchmark and return the lines it printed."""
    environment = os.environ | variables | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_enrolment_benchmark_measures_both_servers_and_the_floor() -> None:
    first, _header, *rows = run("scep_enrolment", "--requests", "12", "--connections", "1,4", "--floor-seconds", "0.2")
    assert "three RSA private operations" in first
    assert [row.split()[:2] for row in rows] == [["signetry", "1"], ["signetry", "4"], ["scepserver", "1"], ["scepserver", "4"]]
    # Every request of ours succeeds; scepserver loses some when they come at once.
    assert [row.split()[6] for row in rows[:2]] == ["0", "0"]


def test_the_publication_benchmark_measures_each_alone_and_both_together() -> None:
    first, enrolments, entries, ldapmodify = run(
        # One web process: most of the time goes into starting the service, three times.
        "ldap_publication",
        "--persons",
        "10",
        "--enrolments",
        "6",
        SIGNETRY_WORKERS="1",
    )
    assert first.startswith("10 persons, 6 enrolments")
    assert enrolments.endswith("failed 0 and 0")
    assert "while others enrol" in entries
    assert "publication alone is" in ldapmodify
