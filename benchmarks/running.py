"""Starting servers on loopback for a measurement, and ending them again, by their own process id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

_START_SECONDS = 60
_STOP_SECONDS = 15


def free_port() -> int:
    """Return a port on loopback that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def signetry_environment(home: Path, public_port: int | None = None) -> dict[str, str]:
    """Return the environment in which ``signetry`` works on ``home``, with its listeners on free ports."""
    return {
        **os.environ,
        # The command of this very environment, wherever it is.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SIGNETRY_HOME": str(home),
        "SIGNETRY_PUBLIC_LISTEN": f"127.0.0.1:{public_port or free_port()}",
        "SIGNETRY_DEVICE_LISTEN": f"127.0.0.1:{free_port()}",
        "SIGNETRY_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "SIGNETRY_LOG_LEVEL": "warning",
    }


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` while the block runs."""
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        stopped(process)


def stopped(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` in the orderly way, or without it when it takes too long."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return once ``url`` answers with HTTP 200.

    Raises:
        RuntimeError: the process ended, or it took too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - a loopback address that we made
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer in {_START_SECONDS} seconds")
