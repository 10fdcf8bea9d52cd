"""A service of its own for a test: an installation in a temporary folder, served by the real command on free ports."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.running import free_port, signetry_environment, stopped, wait_for

_COMMAND_SECONDS = 60


class Service:
    """An installation and its ``signetry serve``.

    The log of every start is appended to ``serve.log`` in its home.
    """

    def __init__(self, home: Path, *, database_url: str = "", workers: int = 2) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.scep = f"{self.url}/scep/default"
        self.environment = signetry_environment(home, public_port=self.port)
        self.environment |= {"SIGNETRY_WORKERS": str(workers), "SIGNETRY_LOG_LEVEL": "info"}
        if database_url:
            self.environment["SIGNETRY_DATABASE_URL"] = database_url
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the service has logged so far."""
        return (self.home / "serve.log").read_text()

    def run(self, *arguments: str, cwd: Path | None = None, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the service's environment."""
        done = subprocess.run(
            arguments,
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def signetry(self, *arguments: str, succeeds: bool = True) -> str:
        """Run ``signetry`` and return what it printed."""
        return self.run("signetry", *arguments, succeeds=succeeds).stdout

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the command prints
        """Run ``signetry … --json`` and return the document."""
        return json.loads(self.signetry(*arguments, "--json"))

    def init(self, *arguments: str) -> None:
        """Create the installation."""
        self.signetry("init", "--public-url", self.url, *arguments)

    def start(self) -> None:
        """Start serving, and return once it is ready."""
        with (self.home / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(["signetry", "serve"], env=self.environment, stdout=log, stderr=log)
        wait_for(f"{self.url}/readyz", self.process)

    def stop(self) -> int:
        """Stop in the orderly way; return the exit status."""
        assert self.process is not None
        stopped(self.process)
        return self.process.wait()

    def children(self) -> dict[str, int]:
        """Return the process ids of the children by name."""
        record = json.loads((self.home / "run" / "serve.json").read_text())
        children: dict[str, int] = record["children"]
        return children

    def kill_everything(self) -> None:
        """Kill supervisor and children, all with SIGKILL and at once."""
        assert self.process is not None
        for pid in (self.process.pid, *self.children().values()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def add_person(self, name: str = "alice", *arguments: str) -> None:
        """Add ``name@example.com``."""
        address = f"{name}@example.com"
        self.signetry("person", "add", "--upn", address, "--email", address, "--name", name.capitalize(), *arguments)

    def challenge(self, name: str = "alice", profile: str = "identity", endpoint: str = "default") -> str:
        """Mint a challenge for ``name@example.com``."""
        arguments = ("--upn", f"{name}@example.com", "--profile", profile, "--endpoint", endpoint)
        return self.signetry("challenge", "create", *arguments).strip()

    def configure(self, text: str) -> None:
        """Append to the settings file."""
        with (self.home / "signetry.toml").open("a") as file:
            file.write(text)


@contextmanager
def serving(home: Path, *init: str, configuration: str = "", database_url: str = "", workers: int = 2) -> Iterator[Service]:
    """Create an installation in ``home`` and serve it while the block runs."""
    service = Service(home, database_url=database_url, workers=workers)
    service.init(*init)
    if configuration:
        service.configure(configuration)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def eventually(condition: Any, *, seconds: float = 15.0, message: str = "it did not happen") -> None:  # noqa: ANN401 - anything callable
    """Return once ``condition()`` is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(message)
