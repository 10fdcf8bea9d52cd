"""The benchmark itself: short, and without any expectation of its figures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert "three RSA-2048 private operations" in first
    columns = [row.rsplit(maxsplit=8) for row in rows]
    servers = ["signetry rsa2048", "signetry p256", "scepserver"]
    assert [row[:2] for row in columns] == [[server, level] for server in servers for level in ("1", "4")]
    # Every request of ours succeeds; scepserver loses some when they come at once.
    assert [row[6] for row in columns[:4]] == ["0"] * 4


def test_latencies_are_measured_alone_at_full_rate_and_at_half_of_it() -> None:
    _header, *rows = run("scep_latency", "--requests", "16")
    assert [row.split()[-1] for row in rows] == ["0"] * 3


def test_memory_is_measured_for_each_web_process() -> None:
    _header, row = run("scep_growth", "--first", "8", "--last", "16", SIGNETRY_WORKERS="1")
    assert row.endswith("%")


def test_every_commit_of_the_web_processes_is_counted() -> None:
    """One connection waits for each commit before it sends again, so each enrolment has one of its own."""
    first, second = run("scep_commits", "--requests", "6", "--connections", "1", SIGNETRY_WORKERS="1")
    assert "failed 0" in first
    assert float(second.split()[-1]) >= 1.0


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_store_with_certificates_is_measured_beside_an_empty_one(database: str) -> None:
    _header, empty, full = run(
        "scep_scale", "--certificates", "500", "--requests", "6", "--rounds", "1", "--databases", database, SIGNETRY_WORKERS="1"
    )
    assert empty.split()[:2] == [database, "0"]
    assert full.split()[:2] == [database, "500"]


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


def test_the_import_of_pkcs12_files_is_measured_beside_the_loader_alone(tmp_path: Path) -> None:
    options = ("--files", "20", "--processes", "2", "--cache", str(tmp_path))
    loader, ours, ratio, memory = run("pfx_import", *options)
    assert [line.split("files/s")[0].split()[-2:-1] for line in (loader, ours)] == [["alone"], ["import"]]
    assert float(ratio.split()[-1]) > 0
    assert memory.startswith("memory")
    # What was generated stays for the next run.
    assert len(list(tmp_path.rglob("*.p12"))) == 20
