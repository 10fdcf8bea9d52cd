"""Read mutated PKCS #12 files: ``python -m tests.fuzz.run_containers``, as ``make fuzz`` does.

Fails on any exception but a refusal, on a file that takes longer than ``--seconds``, and when the memory of the process grew by
more than ``--growth`` between the first tenth of the run and its end. The seed makes a run repeatable.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import islice

from tests.fuzz.containers import PASSWORD, ContainerSource, digested
from tests.fuzz.run import resident_kibibytes
from tests.vectors.pkcs12.make import RECIPES
from tests.vectors.pkcs12.parties import HERE

_SHOWN_FAILURES = 10
# Those of NSS and Java do so many iterations that a run would be about those.
_SLOW = ("nss", "java-legacy", "openssl-100000")


def originals() -> list[bytes]:
    """Return the vectors that are quick to open."""
    names = (name for name, recipe in RECIPES.items() if recipe.vector.password == PASSWORD and not name.startswith(_SLOW))
    return [(HERE / f"{name}.p12").read_bytes() for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7292)
    parser.add_argument("--seconds", type=float, default=15, help="a file may take at most")
    parser.add_argument("--growth", type=int, default=64, help="MiB the process may grow by")
    options = parser.parse_args(arguments)
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    baseline, slowest = 0, 0.0
    began = time.monotonic()
    for number, made in enumerate(islice(ContainerSource(options.seed, originals()), options.count)):
        if number == options.count // 10:
            baseline = resident_kibibytes(os.getpid())
        started = time.process_time()
        try:
            outcomes[digested(made)] += 1
        except Exception as error:  # noqa: BLE001 - that there is none is what is tested
            failures.append(f"file {number}: {error!r}")
        taken = time.process_time() - started
        slowest = max(slowest, taken)
        if taken > options.seconds:
            failures.append(f"file {number}: took {taken:.1f} s")
    growth = resident_kibibytes(os.getpid()) - baseline
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{options.count} files in {seconds:.0f} s, the slowest in {slowest:.1f} s, growth {growth / 1024:.1f} MiB, "
        f"by outcome: {dict(sorted(outcomes.items()))}\n"
    )
    if growth > options.growth * 1024:
        failures.append(f"the process grew by {growth / 1024:.1f} MiB")
    for failure in failures[:_SHOWN_FAILURES]:
        sys.stderr.write(failure + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
