"""What is on record of each person's keys: written once, in the transaction of whoever brings them, and read by all.

Nothing here opens a seal. A key that is there already stays as it is; another certificate over it is added.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, insert, select
from sqlmodel import Session

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import PersonId
from foundation.tables import table_of
from pkcs_import.errors import UnknownArchivedKey
from pkcs_import.purpose import Concern, Purpose
from pkcs_import.records import ArchivedCertificate, ArchivedKey
from pkcs_import.sealing import Binding, SealedKey
from pkcs_import.trust import Trust

_KEY = table_of(ArchivedKey)
_CERTIFICATE = table_of(ArchivedCertificate)


class Origin(StrEnum):
    """Where a key comes from."""

    IMPORTED = "imported"
    MADE = "made"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A sealed private key to be kept. ``algorithm`` is for people: ``rsa2048``, ``secp256r1``."""

    binding: Binding
    sealed: SealedKey
    algorithm: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate over a key that is kept, as ``pkcs_import.records.ArchivedCertificate`` describes it."""

    der: bytes = field(repr=False)
    sha256: str
    chain: tuple[bytes, ...] = field(repr=False)
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    purpose: Purpose
    trust: Trust
    concerns: tuple[Concern, ...] = ()
    # Where it is one of ours.
    certificate_id: int | None = None


@dataclass(frozen=True, slots=True)
class KeptCertificate:
    """A certificate over an archived key, as recorded."""

    id: int
    certificate_id: int | None
    sha256: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    purpose: Purpose
    trust: Trust
    concerns: tuple[Concern, ...]
    kept_at: datetime
    der: bytes = field(repr=False)
    chain: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptKey:
    """An archived key, as recorded, with its certificates, the newest first."""

    id: int
    uid: str
    person: PersonId
    origin: Origin
    spki_sha256: str
    algorithm: str
    kept_at: datetime
    certificates: tuple[KeptCertificate, ...]

    @property
    def is_for_encryption(self) -> bool:
        """Whether mail is encrypted to it: such keys are recovered and delivered with all their predecessors."""
        return any(each.purpose in (Purpose.ENCRYPTION, Purpose.BOTH) for each in self.certificates)

    @property
    def not_after(self) -> datetime:
        """When the newest of its certificates ends."""
        return max(each.not_after for each in self.certificates)


@dataclass(frozen=True, slots=True)
class Kept:
    """A certificate that has just been recorded over an archived key, as listeners see it: before the commit."""

    archived_certificate_id: int
    key_id: int
    person: PersonId
    origin: Origin
    certificate: NewCertificate


KeptListener = Callable[[Session, Kept], None]


def keep(
    session: Session,
    key: NewKey,
    certificates: Sequence[NewCertificate],
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[KeptListener] = (),
) -> tuple[int, int]:
    """Record a key and the certificates over it, in the caller's transaction; return the key's id and how many rows are new.

    The person's key of the same SubjectPublicKeyInfo stays as it was sealed before; certificates that are there already stay,
    too. What is new is told to the ``listeners`` and, once, to the audit record.
    """
    person = PersonId(key.binding.person)
    key_id = session.scalar(select(_KEY.c.id).where(_KEY.c.person_id == person, _KEY.c.spki_sha256 == key.binding.spki_sha256))
    new = 0
    if key_id is None:
        key_id = _insert_key(session, key, now)
        new += 1
    have = set(session.scalars(select(_CERTIFICATE.c.sha256).where(_CERTIFICATE.c.archived_key_id == key_id)))
    added: list[Kept] = []
    for certificate in certificates:
        if certificate.sha256 in have:
            continue
        have.add(certificate.sha256)
        added.append(
            Kept(_insert_certificate(session, key_id, person, certificate, now), key_id, person, key.origin, certificate)
        )
    new += len(added)
    if new:
        details = {
            "person": person,
            "origin": str(key.origin),
            "key": key.binding.spki_sha256,
            "algorithm": key.algorithm,
            "certificates": [each.certificate.sha256 for each in added],
        }
        record_event(session, Event(actor, "key.archived", f"archived-key:{key_id}", details=details), now=now)
    for kept in added:
        for listener in listeners:
            listener(session, kept)
    return key_id, new


def are_kept(session: Session, person: int, spki_sha256: str, certificates: Sequence[NewCertificate]) -> bool:
    """Say whether a person's key is there with all of ``certificates``."""
    kept = select(_CERTIFICATE.c.sha256).join(_KEY).where(_KEY.c.person_id == person, _KEY.c.spki_sha256 == spki_sha256)
    return {each.sha256 for each in certificates} <= set(session.scalars(kept))


def keys_of(session: Session, person: PersonId) -> list[KeptKey]:
    """Return a person's keys with their certificates, the newest first by the end of their certificates."""
    return keys_of_all(session, [person]).get(person, [])


def keys_of_all(session: Session, persons: Collection[PersonId]) -> dict[PersonId, list[KeptKey]]:
    """Return each person's keys; see ``keys_of``."""
    keys = session.execute(select(_KEY).where(_KEY.c.person_id.in_(list(persons)))).all()
    certificates = session.execute(select(_CERTIFICATE).where(_CERTIFICATE.c.person_id.in_(list(persons)))).all()
    by_key: dict[int, list[KeptCertificate]] = {}
    for row in certificates:
        by_key.setdefault(row.archived_key_id, []).append(_certificate(row))
    found: dict[PersonId, list[KeptKey]] = {}
    for row in keys:
        newest_first = sorted(by_key.get(row.id, ()), key=lambda each: (each.not_after, each.id), reverse=True)
        found.setdefault(PersonId(row.person_id), []).append(_key(row, newest_first))
    for kept in found.values():
        kept.sort(key=lambda each: (each.not_after, each.id), reverse=True)
    return found


def is_anything_archived(session: Session) -> bool:
    """Say whether there is any key in the archive."""
    return session.execute(select(_KEY.c.id).limit(1)).first() is not None


def list_keys(session: Session, *, person: PersonId | None, before: int | None, limit: int) -> list[KeptKey]:
    """Return up to ``limit`` keys, of one person or of all, those kept last first, beginning behind the key ``before``."""
    page = select(_KEY.c.id, _KEY.c.person_id).order_by(_KEY.c.id.desc()).limit(limit)
    if person is not None:
        page = page.where(_KEY.c.person_id == person)
    if before is not None:
        page = page.where(_KEY.c.id < before)
    wanted = session.execute(page).all()
    found = keys_of_all(session, {PersonId(row.person_id) for row in wanted})
    by_id = {key.id: key for keys in found.values() for key in keys}
    return [by_id[row.id] for row in wanted]


def key_of(session: Session, key_id: int) -> KeptKey:
    """Return the key of this id. Raises UnknownArchivedKey."""
    person = session.scalar(select(_KEY.c.person_id).where(_KEY.c.id == key_id))
    for kept in () if person is None else keys_of(session, PersonId(person)):
        if kept.id == key_id:
            return kept
    raise UnknownArchivedKey(f"there is no archived key {key_id}")


def _insert_key(session: Session, key: NewKey, now: datetime) -> int:
    values = {
        "uid": key.binding.uid,
        "person_id": key.binding.person,
        "origin": str(key.origin),
        "spki_sha256": key.binding.spki_sha256,
        "key_algorithm": key.algorithm,
        "archive_key_id": key.sealed.archive_key,
        "wrapped_key": key.sealed.wrapped_key,
        "nonce": key.sealed.nonce,
        "ciphertext": key.sealed.ciphertext,
        "kept_at": now,
    }
    inserted: int = session.execute(insert(_KEY).returning(_KEY.c.id), values).scalar_one()
    return inserted


def _insert_certificate(session: Session, key_id: int, person: PersonId, certificate: NewCertificate, now: datetime) -> int:
    values = {
        "archived_key_id": key_id,
        "person_id": person,
        "certificate_id": certificate.certificate_id,
        "sha256": certificate.sha256,
        "der": certificate.der,
        "chain": b"".join(certificate.chain),
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "purpose": str(certificate.purpose),
        "trust": str(certificate.trust),
        "concerns": [str(each) for each in certificate.concerns],
        "kept_at": now,
    }
    inserted: int = session.execute(insert(_CERTIFICATE).returning(_CERTIFICATE.c.id), values).scalar_one()
    return inserted


def _certificate(row: Row[Any]) -> KeptCertificate:
    return KeptCertificate(
        id=row.id,
        certificate_id=row.certificate_id,
        sha256=row.sha256,
        subject=row.subject,
        issuer=row.issuer,
        serial=row.serial,
        not_before=row.not_before,
        not_after=row.not_after,
        purpose=Purpose(row.purpose),
        trust=Trust(row.trust),
        concerns=tuple(Concern(each) for each in row.concerns),
        kept_at=row.kept_at,
        der=bytes(row.der),
        chain=bytes(row.chain),
    )


def _key(row: Row[Any], certificates: Sequence[KeptCertificate]) -> KeptKey:
    return KeptKey(
        id=row.id,
        uid=row.uid,
        person=PersonId(row.person_id),
        origin=Origin(row.origin),
        spki_sha256=row.spki_sha256,
        algorithm=row.key_algorithm,
        kept_at=row.kept_at,
        certificates=tuple(certificates),
    )
