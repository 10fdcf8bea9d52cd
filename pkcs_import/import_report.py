"""What became of the files of an import."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pkcs_import.keeping import NewCertificate
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.trust import Trust


class Outcome(StrEnum):
    """What became of a file."""

    IMPORTED = "imported"
    PRESENT = "already there"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class CertificateReport:
    """A certificate of a file, as far as a report shows it."""

    subject: str
    issuer: str
    serial: str
    sha256: str
    algorithm: str
    not_before: datetime
    not_after: datetime
    purpose: Purpose
    trust: Trust
    concerns: tuple[Concern, ...]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file: ``line`` is its place in the list or folder, ``reason`` why it was refused.

    ``notes`` are what somebody should look at all the same. Of a file that was there already, and was not opened again, the
    certificates are not shown.
    """

    line: int
    file: str
    outcome: Outcome
    upn: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    certificates: tuple[CertificateReport, ...] = ()


@dataclass(slots=True)
class Totals:
    """How many files an import saw, and what became of them."""

    dry_run: bool
    files: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    marked: int = 0
    interrupted: bool = False

    def add(self, report: FileReport) -> None:
        """Count a file."""
        self.files += 1
        self.counts[report.outcome] += 1
        self.marked += bool(report.notes)


def certificate_report(certificate: NewCertificate, algorithm: str) -> CertificateReport:
    """Return what a report shows of a certificate over a key of this algorithm."""
    return CertificateReport(
        subject=certificate.subject,
        issuer=certificate.issuer,
        serial=certificate.serial,
        sha256=certificate.sha256,
        algorithm=algorithm,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        purpose=certificate.purpose,
        trust=certificate.trust,
        concerns=certificate.concerns,
    )
