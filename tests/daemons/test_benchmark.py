"""The benchmark itself: short, and without any expectation of its figures."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_enrolment_benchmark_measures_both_servers_and_the_floor() -> None:
    options = ("--requests", "12", "--connections", "1,4", "--floor-seconds", "0.2")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scep_enrolment", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    first, _header, *rows = done.stdout.splitlines()
    assert "three RSA private operations" in first
    assert [row.split()[:2] for row in rows] == [["signetry", "1"], ["signetry", "4"], ["scepserver", "1"], ["scepserver", "4"]]
    # Every request of ours succeeds; scepserver loses some when they come at once.
    assert [row.split()[6] for row in rows[:2]] == ["0", "0"]
