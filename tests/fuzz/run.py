"""Send mutated SCEP messages to a SCEP endpoint: ``python -m tests.fuzz.run``, as ``make fuzz`` does.

Without ``--url`` it starts a service of its own, with every switch for old algorithms on, and watches its processes' memory.
Fails on an HTTP status of 500 and above, on a connection that breaks, on a traceback in an answer, and on a server (``--pids``)
whose memory grew by more than ``--growth`` between the first tenth of the run and its end. The seed makes a run repeatable,
except for the keys and nonces of the envelopes in it.
"""

import argparse
import base64
import http.client
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from urllib.parse import quote, urlsplit

from cryptography import x509

from scep.cms import read_certificates
from tests.daemons.service import serving
from tests.fuzz.messages import MessageSource
from tests.scep.messages import CAPTURED, CLIENT, CSR, captured
from tests.vectors.scep.build import built

_GET_EVERY = 10
_GET_LIMIT = 6000
_SHOWN_FAILURES = 10
_INTERNAL_ERROR = 500


class Endpoint:
    """A SCEP endpoint over one connection that is kept alive."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        self._connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=30)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get(self, query: str) -> tuple[int, bytes]:
        """Send a GET and return status and body."""
        self._connection.request("GET", f"{self._path}?{query}")
        return self._read()

    def post(self, message: bytes) -> tuple[int, bytes]:
        """Send a PKIOperation by POST and return status and body."""
        self._connection.request("POST", f"{self._path}?operation=PKIOperation", body=message)
        return self._read()

    def _read(self) -> tuple[int, bytes]:
        response = self._connection.getresponse()
        return response.status, response.read()

    def ra_certificate(self) -> x509.Certificate:
        """Return the first certificate of GetCACert: the RA's."""
        status, body = self.get("operation=GetCACert")
        if status != http.client.OK:
            message = f"GetCACert answered {status}"
            raise SystemExit(message)
        return x509.load_der_x509_certificate(read_certificates(body)[0])


def resident_kibibytes(pid: int) -> int:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def fuzz(endpoint: Endpoint, source: MessageSource, count: int, pids: Sequence[int]) -> tuple[list[str], dict[int, int]]:
    """Send ``count`` mutants; return what went wrong, and by how many KiB each process grew after the first tenth."""
    failures: list[str] = []
    statuses: Counter[int] = Counter()
    baseline = dict.fromkeys(pids, 0)
    began = time.monotonic()
    for number, mutant in enumerate(islice(source, count)):
        if number == count // 10:
            baseline = {pid: resident_kibibytes(pid) for pid in pids}
        try:
            status, body = _sent(endpoint, number, mutant)
        except (http.client.HTTPException, OSError) as error:
            failures.append(f"message {number}: the connection broke: {error!r}")
            continue
        statuses[status] += 1
        if status >= _INTERNAL_ERROR or b"Traceback" in body:
            failures.append(f"message {number}: status {status}: {body[:200]!r}")
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{count} messages in {seconds:.0f} s ({count / seconds:.0f}/s), by status: {dict(sorted(statuses.items()))}\n"
    )
    return failures, {pid: resident_kibibytes(pid) - before for pid, before in baseline.items()}


def _sent(endpoint: Endpoint, number: int, mutant: bytes) -> tuple[int, bytes]:
    if number % _GET_EVERY == 0 and len(mutant) < _GET_LIMIT:
        encoded = quote(base64.b64encode(mutant), safe="")
        return endpoint.get(f"operation=PKIOperation&message={encoded}")
    return endpoint.post(mutant)


@contextmanager
def _target(url: str | None, pids: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield what to send to and whose memory to watch: what was named, or a service that lives as long as the block."""
    if url is not None:
        yield url, pids
        return
    museum = "\n[endpoints.museum]\nmuseum = true\n"
    with tempfile.TemporaryDirectory() as home, serving(Path(home), "--ca-key", "p256", configuration=museum) as service:
        yield f"{service.url}/scep/museum", list(service.children().values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a SCEP endpoint that runs already")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=8894)
    parser.add_argument("--pids", type=lambda text: [int(pid) for pid in text.split(",") if pid], default=[], help="a,b,c")
    parser.add_argument("--growth", type=int, default=32, help="MiB a process may grow by")
    options = parser.parse_args(arguments)
    originals = [*(captured(name) for name in CAPTURED), *built()]
    with _target(options.url, options.pids) as (url, pids), closing(Endpoint(url)) as endpoint:
        source = MessageSource(options.seed, originals, signer=CLIENT, recipient=endpoint.ra_certificate(), request=CSR)
        failures, growth = fuzz(endpoint, source, options.count, pids)
    for pid, kibibytes in growth.items():
        sys.stdout.write(f"process {pid} grew by {kibibytes / 1024:.1f} MiB\n")
        if kibibytes > options.growth * 1024:
            failures.append(f"process {pid} grew by more than {options.growth} MiB")
    for failure in failures[:_SHOWN_FAILURES]:
        sys.stderr.write(failure + "\n")
    if len(failures) > _SHOWN_FAILURES:
        sys.stderr.write(f"and {len(failures) - _SHOWN_FAILURES} more\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
