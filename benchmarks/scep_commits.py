"""How often the disk is waited for: calls of fdatasync and fsync in the web processes, for each enrolment.

    python -m benchmarks.scep_commits [--requests N] [--connections 16]

Counted by ``strace -fc``, which slows everything down: the rate of this run means nothing. What is counted is what decides the
rate on a disk whose flushes are slow.
"""

import argparse
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import load
from benchmarks.scep_requests import Requests
from benchmarks.scep_servers import Served, signetry

_FLUSHES = ("fdatasync", "fsync")
_STOP_SECONDS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500, help="requests to send")
    parser.add_argument("--connections", type=int, default=16, help="connections to send them over")
    arguments = parser.parse_args()
    requests = Requests()
    with signetry("rsa2048") as served, tempfile.TemporaryDirectory() as directory:
        made = served.requests(requests, arguments.requests)
        with _traced(served, Path(directory)) as counts:
            outcome = load.run(served.url, made, arguments.connections)
        flushes = sum(map(_flushes, counts))
    print(f"enrolments {arguments.requests}, failed {outcome.failed}, connections {arguments.connections}")
    print(f"flushes {flushes}, for each enrolment {flushes / arguments.requests:.2f}")


@contextmanager
def _traced(served: Served, directory: Path) -> Iterator[list[Path]]:
    """Count the flushes of each web process while the block runs; yield the files that the counts are in afterwards."""
    files = [directory / str(number) for number in served.web_processes]
    tracers = [
        subprocess.Popen(
            ["strace", "-f", "-c", "-e", f"trace={','.join(_FLUSHES)}", "-p", str(number), "-o", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number, file in zip(served.web_processes, files, strict=True)
    ]
    try:
        for tracer in tracers:
            # It says so once it has attached.
            assert tracer.stderr is not None  # noqa: S101 - a pipe, as asked for
            if b"attached" not in tracer.stderr.readline():
                raise SystemExit("strace cannot attach to the web processes")
        time.sleep(0.2)
        yield files
    finally:
        for tracer in tracers:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=_STOP_SECONDS)


def _flushes(file: Path) -> int:
    lines = [line.split() for line in file.read_text().splitlines()]
    return sum(int(fields[3]) for fields in lines if fields and fields[-1] in _FLUSHES)


if __name__ == "__main__":
    main()
