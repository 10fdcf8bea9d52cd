"""Enrolments a second over SCEP: ``signetry serve`` beside the RSA floor and Debian's ``scepserver``, in one run.

    python -m benchmarks.scep_enrolment [--requests N] [--connections 1,8,16] [--ca-keys rsa2048,p256]

Clients and RA have RSA-2048 keys; the store is SQLite as configured by default (WAL, synchronous=FULL); every request has a
one-time challenge of its own. The load generator runs on the same processors.
"""

import argparse
import os

from benchmarks import floor, load
from benchmarks.running import processor_seconds
from benchmarks.scep_requests import Requests
from benchmarks.scep_servers import Served, scepserver, signetry


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600, help="requests at each number of connections")
    parser.add_argument("--connections", default="1,8,16", help="numbers of connections, separated by commas")
    parser.add_argument("--ca-keys", default="rsa2048,p256", help="the issuing CA's keys, one installation for each")
    parser.add_argument("--floor-seconds", type=float, default=3.0, help="how long the floor is measured")
    parser.add_argument("--without-scepserver", action="store_true", help="measure signetry alone")
    arguments = parser.parse_args()
    levels = [int(level) for level in arguments.connections.split(",")]
    requests = Requests()

    floor_rate = floor.rate(2048, arguments.floor_seconds)
    print(f"floor, {len(os.sched_getaffinity(0))} processors, three RSA-2048 private operations a round: {floor_rate:.0f}/s")
    print("server            connections   rate/s  of floor  median ms   p99 ms  failed  server ms  generator ms")
    for ca_key in arguments.ca_keys.split(","):
        with signetry(ca_key) as served:
            for level in levels:
                _measure(f"signetry {ca_key}", served, requests, level, arguments.requests, floor_rate)
    if not arguments.without_scepserver:
        with scepserver() as served:
            for level in levels:
                _measure("scepserver", served, requests, level, arguments.requests, floor_rate)


def _measure(name: str, served: Served, requests: Requests, connections: int, count: int, floor_rate: float) -> None:
    made = served.requests(requests, count)
    before = sum(map(processor_seconds, served.web_processes))
    outcome = load.run(served.url, made, connections)
    used = sum(map(processor_seconds, served.web_processes)) - before
    server = f"{used / count * 1000:.2f}" if served.web_processes else "-"
    print(
        f"{name:<17} {connections:>11} {outcome.rate:>8.0f} {outcome.rate / floor_rate:>9.2f} {outcome.median * 1000:>10.1f} "
        f"{outcome.p99 * 1000:>8.1f} {outcome.failed:>7} {server:>10} {outcome.generator_cpu * 1000:>13.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
