"""The SCEP servers that are measured: ``signetry serve`` as it comes, and Debian's ``scepserver``."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from benchmarks.running import children_of, free_port, signetry_environment, started, wait_for
from benchmarks.scep_requests import Requests
from scep.client import ScepClient

PERSON = "load@example.com"
_SCEPSERVER_CHALLENGE = "benchmark"


@dataclass(frozen=True, slots=True)
class Served:
    """A SCEP server that is running; ``web_processes`` are the ids of those that answer, none for a foreign server."""

    url: str
    home: Path | None = None
    environment: dict[str, str] | None = None
    web_processes: tuple[int, ...] = ()

    def requests(self, made_by: Requests, count: int) -> list[bytes]:
        """Return ``count`` requests that it will grant, each with a challenge of its own where it has such."""
        return made_by.make(_ra(self.url), self._challenges(count))

    def _challenges(self, count: int) -> Sequence[str]:
        if self.environment is None:
            return [_SCEPSERVER_CHALLENGE] * count
        command = ["signetry", "challenge", "create", "--upn", PERSON, "--count", str(count), "--ttl", "12h"]
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout.split()


@contextmanager
def initialised(ca_key: str, database_url: str = "") -> Iterator[dict[str, str]]:
    """Make an installation with one person, in SQLite where no other database is named; yield its environment."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        environment = signetry_environment(Path(directory), public_port=port)
        if database_url:
            environment["SIGNETRY_DATABASE_URL"] = database_url
        for command in (
            ["init", "--ca-key", ca_key, "--public-url", f"http://127.0.0.1:{port}"],
            ["person", "add", "--upn", PERSON, "--email", PERSON],
        ):
            subprocess.run(["signetry", *command], env=environment, check=True, capture_output=True)
        yield environment


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[Served]:
    """Serve an installation."""
    public = f"http://{environment['SIGNETRY_PUBLIC_LISTEN']}"
    with started(["signetry", "serve"], environment) as process:
        wait_for(f"{public}/readyz", process)
        web = tuple(number for number, command in children_of(process.pid) if "signetry.web" in command)
        yield Served(f"{public}/scep/default", Path(environment["SIGNETRY_HOME"]), environment, web)


@contextmanager
def signetry(ca_key: str, database_url: str = "") -> Iterator[Served]:
    """Make an installation and serve it."""
    with initialised(ca_key, database_url) as environment, serving(environment) as served:
        yield served


@contextmanager
def scepserver() -> Iterator[Served]:
    """Serve Debian's ``scepserver`` with a static challenge."""
    with tempfile.TemporaryDirectory() as directory:
        depot = str(Path(directory) / "depot")
        subprocess.run(["scepserver", "ca", "-init", "-depot", depot, "-keySize", "2048"], check=True, capture_output=True)
        port = free_port()
        command = ["scepserver", "-depot", depot, "-port", str(port), "-challenge", _SCEPSERVER_CHALLENGE, "-allowrenew", "0"]
        with started(command, dict(os.environ)) as process:
            url = f"http://127.0.0.1:{port}/scep"
            wait_for(f"{url}?operation=GetCACaps", process)
            yield Served(url)


def _ra(url: str) -> x509.Certificate:
    with ScepClient(url) as ours:
        return ours.ca_certificates().ra
