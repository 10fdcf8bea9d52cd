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


def children_of(process_id: int) -> list[tuple[int, str]]:
    """Return the processes that ``process_id`` has started, by id, each with its command line."""
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return [(int(child), Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()) for child in children]


def resident_bytes(process_id: int) -> int:
    """Return the memory that a process holds now, without what it shares (PSS would count that in parts)."""
    fields = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
    private = [line.split() for line in fields if line.startswith(("Private_Clean:", "Private_Dirty:"))]
    return sum(int(field[1]) for field in private) * 1024


def processor_seconds(process_id: int) -> float:
    """Return the processor time that a process has used, its own and the system's for it."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
