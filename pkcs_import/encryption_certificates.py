"""Which certificates that mail is encrypted to a person has in the archive: the current ones, and the newest one made here.

Those of ours are as good as the authority's record says; of another authority's only its time is known.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, select, update
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import PersonId
from ca.records import Certificate
from ca.revocation import RevocationReason
from foundation.tables import table_of
from pkcs_import.keeping import Origin
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchivedCertificate, ArchivedKey

_KEY = table_of(ArchivedKey)
_ARCHIVED = table_of(ArchivedCertificate)
_CERTIFICATE = table_of(Certificate)
_FOR_ENCRYPTION: Final = (Purpose.ENCRYPTION, Purpose.BOTH)


@dataclass(frozen=True, slots=True)
class EncryptionCertificate:
    """A certificate that mail is encrypted to, over a key in the archive.

    ``certificate_id`` is its number where it is one of ours; ``is_revoked`` is then what the authority's record says, on hold
    included, and always False where it is not.
    """

    key_id: int
    person: PersonId
    origin: Origin
    certificate_id: int | None
    serial: str
    not_before: datetime
    not_after: datetime
    is_revoked: bool


@dataclass(frozen=True, slots=True)
class ImportedCertificate:
    """A certificate of another authority that mail is encrypted to, with what is needed to publish it."""

    person: PersonId
    der: bytes = field(repr=False)
    # DER after DER, its issuer first.
    chain: bytes = field(repr=False)
    serial: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime


def current(session: Session, persons: Collection[PersonId], now: datetime) -> dict[PersonId, list[EncryptionCertificate]]:
    """Return each person's certificates that mail can be encrypted to now: in force and not revoked, the newest first.

    Not those over a key that is known to be compromised, nor those made here before such a one: whoever has that key had theirs,
    and directories publish neither.
    """
    in_force = (_ARCHIVED.c.not_before <= now, _ARCHIVED.c.not_after > now, _CERTIFICATE.c.revoked_at.is_(None))
    query = _of_persons(persons).where(*in_force).order_by(_ARCHIVED.c.not_before.desc(), _ARCHIVED.c.id.desc())
    rows = session.execute(query).all()
    lost_keys, lost_until = _compromised(session, {row.person_id for row in rows})
    found: dict[PersonId, list[EncryptionCertificate]] = defaultdict(list)
    for row in rows:
        is_before = row.origin == Origin.MADE and (row.certificate_id or 0) < lost_until.get(row.person_id, 0)
        if not is_before and row.archived_key_id not in lost_keys:
            found[PersonId(row.person_id)].append(_encryption_certificate(row))
    return found


def newest_made(session: Session, persons: Collection[PersonId]) -> dict[PersonId, EncryptionCertificate]:
    """Return the newest certificate that was made here for each person, whatever it is worth."""
    made = _of_persons(persons).where(_KEY.c.origin == str(Origin.MADE)).order_by(_ARCHIVED.c.certificate_id)
    return {PersonId(row.person_id): _encryption_certificate(row) for row in session.execute(made)}


def escrowed(session: Session, certificate_ids: Collection[int]) -> set[int]:
    """Return those of our certificates, by number, over whose keys the archive has the private half."""
    query = select(_ARCHIVED.c.certificate_id).where(_ARCHIVED.c.certificate_id.in_(list(certificate_ids)))
    return set(session.scalars(query))


def imported(session: Session, persons: Collection[int]) -> dict[PersonId, list[ImportedCertificate]]:
    """Return each person's certificates of other authorities that may be published, in force or not."""
    names = ("person_id", "der", "chain", "serial", "not_before", "not_after")
    columns = [_ARCHIVED.c[name] for name in names]
    query = select(*columns, _KEY.c.spki_sha256).join_from(_ARCHIVED, _KEY, _KEY.c.id == _ARCHIVED.c.archived_key_id)
    found: dict[PersonId, list[ImportedCertificate]] = defaultdict(list)
    for row in session.execute(query.where(*_PUBLISHABLE, _ARCHIVED.c.person_id.in_(list(persons))).order_by(_ARCHIVED.c.id)):
        found[PersonId(row.person_id)].append(
            ImportedCertificate(
                PersonId(row.person_id),
                bytes(row.der),
                bytes(row.chain),
                row.serial,
                row.spki_sha256,
                row.not_before,
                row.not_after,
            )
        )
    return found


def persons_with_imported(now: datetime) -> Select[tuple[int]]:
    """Return the query for those who have such a certificate that has not expired, as ``subject_id``."""
    return select(_ARCHIVED.c.person_id.label("subject_id")).where(*_PUBLISHABLE, _ARCHIVED.c.not_after > now).distinct()


def withdraw(session: Session, person: PersonId, *, actor: Actor, now: datetime) -> list[str]:
    """Let a person's certificates of other authorities be published no more, as they leave; return the serial numbers.

    The keys stay in the archive. To be done in the transaction of the departure.
    """
    query = select(_ARCHIVED.c.id, _ARCHIVED.c.serial).where(
        *_PUBLISHABLE, _ARCHIVED.c.person_id == person, _ARCHIVED.c.not_after > now
    )
    rows = session.execute(query.order_by(_ARCHIVED.c.id)).all()
    if not rows:
        return []
    mine = _ARCHIVED.c.id.in_([row.id for row in rows])
    session.execute(update(_ARCHIVED).where(mine).values(withdrawn_at=now))
    serials = [row.serial for row in rows]
    record_event(session, Event(actor, "certificates.withdrawn", f"person:{person}", details={"serials": serials}), now=now)
    return serials


_PUBLISHABLE: Final = (
    _ARCHIVED.c.certificate_id.is_(None),
    _ARCHIVED.c.withdrawn_at.is_(None),
    _ARCHIVED.c.purpose.in_([str(each) for each in _FOR_ENCRYPTION]),
)


def _compromised(session: Session, persons: Collection[int]) -> tuple[set[int], dict[int, int]]:
    """Return the archived keys that are known to be compromised, and of each person the newest such certificate made here."""
    reasons = [str(RevocationReason.KEY_COMPROMISE), str(RevocationReason.CA_COMPROMISE)]
    query = (
        select(_KEY.c.id, _KEY.c.person_id, _KEY.c.origin, _CERTIFICATE.c.id.label("certificate_id"))
        .join_from(_KEY, _CERTIFICATE, _CERTIFICATE.c.spki_sha256 == _KEY.c.spki_sha256)
        .where(_KEY.c.person_id.in_(list(persons)), _CERTIFICATE.c.revocation_reason.in_(reasons))
        .order_by(_CERTIFICATE.c.id)
    )
    rows = session.execute(query).all() if persons else []
    made = {row.person_id: row.certificate_id for row in rows if row.origin == Origin.MADE}
    return {row.id for row in rows}, made


def _of_persons(persons: Collection[PersonId]) -> Select[Any]:
    columns: Sequence[Any] = (
        _ARCHIVED.c.archived_key_id,
        _ARCHIVED.c.person_id,
        _KEY.c.origin,
        _ARCHIVED.c.certificate_id,
        _ARCHIVED.c.serial,
        _ARCHIVED.c.not_before,
        _ARCHIVED.c.not_after,
        _CERTIFICATE.c.revoked_at,
    )
    return (
        select(*columns)
        .join_from(_ARCHIVED, _KEY, _KEY.c.id == _ARCHIVED.c.archived_key_id)
        .outerjoin(_CERTIFICATE, _CERTIFICATE.c.id == _ARCHIVED.c.certificate_id)
        .where(_ARCHIVED.c.person_id.in_(list(persons)), _ARCHIVED.c.purpose.in_([str(each) for each in _FOR_ENCRYPTION]))
    )


def _encryption_certificate(row: Row[Any]) -> EncryptionCertificate:
    return EncryptionCertificate(
        key_id=row.archived_key_id,
        person=PersonId(row.person_id),
        origin=Origin(row.origin),
        certificate_id=row.certificate_id,
        serial=row.serial,
        not_before=row.not_before,
        not_after=row.not_after,
        is_revoked=row.revoked_at is not None,
    )
