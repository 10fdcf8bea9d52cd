"""How long a CRL of many entries takes: assembled from memory, and published from a SQLite database.

    python -m benchmarks.crl_build [SIZE…]        sizes are 10000, 100000 and 1000000 by default

Each measurement runs in a process of its own, so that its peak of resident memory is its own. ``build`` takes entries encoded
beforehand; ``publish`` reads them from the database, builds, verifies and stores, as the worker does.
"""

import argparse
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import insert, make_url
from sqlmodel import Session

from ca.authorisation import CaName
from ca.issuance import IssuingAuthority
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason, encode_entry
from crl.build import CrlContent, Entries, build
from crl.publication import PublicationSettings, ensure_schedules, publish_due
from foundation.clock import SystemClock
from foundation.tables import table_of
from signetry.database import Database

SIZES = (10_000, 100_000, 1_000_000)
_BATCH = 20_000
_REASON = RevocationReason.SUPERSEDED


def main() -> None:
    """Measure every size in both ways, or one of them when called as its own child."""
    parser = argparse.ArgumentParser(description="Measure building CRLs.")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--measure", choices=("build", "publish"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        (_measure_build if given.measure == "build" else _measure_publish)(given.sizes[0])
        return
    print(f"{'what':<8} {'entries':>9} {'seconds':>8} {'CRL MB':>7} {'peak RSS MB':>12} {'of it at start':>15}", flush=True)
    for size in given.sizes:
        for what in ("build", "publish"):
            subprocess.run([sys.executable, "-m", "benchmarks.crl_build", "--measure", what, str(size)], check=True)


def _measure_build(size: int) -> None:
    authority = _authority()
    now = datetime.now(UTC).replace(microsecond=0)
    encoded = [entry for _, entry in _entries(size, now)]
    at_start = _peak()
    begun = time.perf_counter()
    content = CrlContent(1, now, now + timedelta(hours=24))
    built = build(authority.certificate, authority.private_key, Entries.collect(encoded), content)
    _report("build", size, time.perf_counter() - begun, len(built.der), at_start)


def _measure_publish(size: int) -> None:
    authority = _authority()
    with tempfile.TemporaryDirectory() as directory:
        database = Database(make_url(f"sqlite:///{Path(directory) / 'bench.db'}"))
        database.migrate()
        database.write(lambda session: _fill(session, authority, size))
        at_start = _peak()
        begun = time.perf_counter()
        (outcome,) = publish_due(database, lambda _: authority, SystemClock(), PublicationSettings())
        took = time.perf_counter() - begun
        if outcome.entry_count != size:
            raise SystemExit(f"the CRL holds {outcome.entry_count} entries instead of {size}")
        _report("publish", size, took, 0, at_start)
        database.close()


def _fill(session: Session, authority: IssuingAuthority, size: int) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    columns = {"id": authority.id, "name": authority.name, "key_reference": "none", "key_algorithm": "p256", "created_at": now}
    session.execute(insert(table_of(CertificationAuthority)), columns)
    same = {
        "authority_id": authority.id,
        "profile": "identity",
        "subject": "CN=somebody",
        "spki_sha256": "0" * 64,
        "not_before": now - timedelta(days=1),
        "not_after": now + timedelta(days=365),
        "issued_at": now,
        # The room a certificate takes, for the entries lie between them.
        "der": bytes(1200),
        "revoked_at": now,
        "revocation_reason": str(_REASON),
    }
    rows = []
    for serial, entry in _entries(size, now):
        rows.append({**same, "serial": f"{serial:032x}", "crl_entry": entry})
        if len(rows) == _BATCH:
            session.execute(insert(table_of(Certificate)), rows)
            rows.clear()
    if rows:
        session.execute(insert(table_of(Certificate)), rows)
    ensure_schedules(session, now)


def _entries(size: int, now: datetime) -> Iterator[tuple[int, bytes]]:
    """Yield serial numbers of the usual size, in no order, with their entries."""
    for n in range(size):
        # An odd factor permutes the numbers below a power of two: distinct, and scattered as random ones are.
        serial = 1 << 126 | (n * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 126)
        yield serial, encode_entry(serial, now, _REASON)


def _authority() -> IssuingAuthority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Benchmark CA")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return IssuingAuthority(1, CaName("bench"), certificate, certificate.public_bytes(Encoding.DER), key)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _report(what: str, size: int, seconds: float, length: int, at_start: float) -> None:
    megabytes = f"{length / 1e6:.1f}" if length else ""
    print(f"{what:<8} {size:>9,} {seconds:>8.3f} {megabytes:>7} {_peak():>12.0f} {at_start:>15.0f}", flush=True)


if __name__ == "__main__":
    main()
