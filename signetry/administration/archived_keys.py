"""What is in the key archive, as lists show it. Of private keys there is nothing to see."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from ca.authorisation import PersonId
from people.persons import person_named, upns_of
from pkcs_import import keeping
from pkcs_import.keeping import KeptCertificate, KeptKey, Origin
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.trust import Trust


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate over an archived key. ``is_ours`` of one that our authority issued."""

    subject: str
    issuer: str
    serial: str
    sha256: str
    not_before: datetime
    not_after: datetime
    purpose: Purpose
    trust: Trust
    concerns: tuple[Concern, ...]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class KeyView:
    """An archived key: whose it is, where it is from, and its certificates, the latest first."""

    id: int
    person: str
    origin: Origin
    algorithm: str
    spki_sha256: str
    kept_at: datetime
    certificates: tuple[CertificateView, ...]


def listed(session: Session, *, person: str | None, before: int | None, limit: int) -> list[KeyView]:
    """Return archived keys, the newest first; ``person`` is a UPN, mail address or number. Raises UnknownPerson."""
    whose = None if person is None else PersonId(person_named(session, person).id)
    return _views(session, keeping.list_keys(session, person=whose, before=before, limit=limit))


def show(session: Session, number: int) -> KeyView:
    """Return an archived key. Raises UnknownArchivedKey."""
    (view,) = _views(session, [keeping.key_of(session, number)])
    return view


def _views(session: Session, keys: Sequence[KeptKey]) -> list[KeyView]:
    upns = upns_of(session, {key.person for key in keys})
    return [
        KeyView(
            id=key.id,
            person=upns[key.person],
            origin=key.origin,
            algorithm=key.algorithm,
            spki_sha256=key.spki_sha256,
            kept_at=key.kept_at,
            certificates=tuple(map(_certificate, key.certificates)),
        )
        for key in keys
    ]


def _certificate(kept: KeptCertificate) -> CertificateView:
    return CertificateView(
        subject=kept.subject,
        issuer=kept.issuer,
        serial=kept.serial,
        sha256=kept.sha256,
        not_before=kept.not_before,
        not_after=kept.not_after,
        purpose=kept.purpose,
        trust=kept.trust,
        concerns=kept.concerns,
        is_ours=kept.certificate_id is not None,
    )
