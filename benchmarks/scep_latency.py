"""How long an enrolment takes while others enrol: latencies at half of the highest rate, and of one client alone.

    python -m benchmarks.scep_latency [--requests N]

First one connection alone, then sixteen as fast as they can, then sixteen at half of that rate, on a schedule that does not wait
for the server (latencies count from when a request was due). The 99th percentile is given in times of the median alone.
"""

import argparse

from benchmarks import load
from benchmarks.scep_requests import Requests
from benchmarks.scep_servers import signetry

_CONNECTIONS = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="requests in each of the three parts")
    arguments = parser.parse_args()
    requests = Requests()
    with signetry("rsa2048") as served:
        alone = load.run(served.url, served.requests(requests, arguments.requests), 1)
        full = load.run(served.url, served.requests(requests, arguments.requests), _CONNECTIONS)
        half = load.run(served.url, served.requests(requests, arguments.requests), _CONNECTIONS, per_second=full.rate / 2)
    print("load                    rate/s  median ms   p99 ms  p99 in times of one alone  failed")
    for name, outcome in (("one connection", alone), ("sixteen, all they can", full), ("sixteen, half of that", half)):
        times = outcome.p99 / alone.median
        print(
            f"{name:<22} {outcome.rate:>7.0f} {outcome.median * 1000:>10.1f} {outcome.p99 * 1000:>8.1f} "
            f"{times:>26.1f} {outcome.failed:>7}"
        )


if __name__ == "__main__":
    main()
