"""What a long run does to a web process: its memory after 5,000 and after 20,000 enrolments.

    python -m benchmarks.scep_growth [--first 5000] [--last 20000]

Memory is what the process shares with no other. Both numbers of enrolments are those of all web processes together.
"""

import argparse

from benchmarks import load
from benchmarks.running import resident_bytes
from benchmarks.scep_requests import Requests
from benchmarks.scep_servers import Served, signetry

_CONNECTIONS = 16
# What is prepared at once, so that the load generator stays small itself.
_PORTION = 2500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=5000, help="enrolments before memory is first looked at")
    parser.add_argument("--last", type=int, default=20000, help="enrolments before it is looked at again")
    arguments = parser.parse_args()
    requests = Requests()
    with signetry("rsa2048") as served:
        _enrol(served, requests, arguments.first)
        first = [resident_bytes(number) for number in served.web_processes]
        _enrol(served, requests, arguments.last - arguments.first)
        last = [resident_bytes(number) for number in served.web_processes]
    print(f"web process   MiB after {arguments.first}   MiB after {arguments.last}   growth")
    for number, (before, after) in enumerate(zip(first, last, strict=True), start=1):
        print(f"{number:<13} {before / 2**20:>15.1f} {after / 2**20:>17.1f} {after / before - 1:>8.1%}")


def _enrol(served: Served, requests: Requests, count: int) -> None:
    for done in range(0, count, _PORTION):
        outcome = load.run(served.url, served.requests(requests, min(_PORTION, count - done)), _CONNECTIONS)
        if outcome.failed:
            raise SystemExit(f"{outcome.failed} enrolments failed")


if __name__ == "__main__":
    main()
