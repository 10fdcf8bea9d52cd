"""The keys that an authority has besides the one it certifies with, each for one purpose: made, renewed in time, loaded.

They have certificates of that authority's own. The newest key of a purpose is the one in use; those before it serve what was made
for them until their certificates expire.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import SubjectNames
from ca.issuance import IssuanceListener, IssuingAuthority, build, record
from ca.keys import KeyAlgorithm, KeyStore, open_key
from ca.profiles import CertificateProfile
from ca.records import Certificate, ServiceKey


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a service key is for.

    Attributes:
        name: in the database, in the key's reference and in the audit record.
        title: begins the common name of its certificates.
        profile: of its certificates.
        algorithm: of the key.
        renewed_before_end: how long before its certificate ends the next key is made.
    """

    name: str
    title: str
    profile: CertificateProfile
    algorithm: KeyAlgorithm
    renewed_before_end: timedelta


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A service key as it is kept: the reference in the key store, and the newest certificate over it."""

    reference: str
    not_after: datetime
    certificate_der: bytes = field(repr=False)


def create_service_key(
    session: Session,
    keystore: KeyStore,
    authority: IssuingAuthority,
    purpose: Purpose,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> CertifiedKey:
    """Make the next key of an authority for ``purpose``, which is the one in use from the commit on."""
    query = select(func.count()).where(col(ServiceKey.authority_id) == authority.id, col(ServiceKey.purpose) == purpose.name)
    number = session.exec(query).one() + 1
    reference = f"{authority.name}-{purpose.name}-{number}"
    key = open_key(keystore, reference, purpose.algorithm)
    names = SubjectNames(display_name=f"{purpose.title} {number} of {authority.name}")
    built = build(authority, purpose.profile, names, key.public_key(), now=now)
    certificate_id = record(session, built, authority=authority, authorisation=None, actor=actor, now=now, listeners=listeners)
    session.add(
        ServiceKey(
            authority_id=authority.id,
            purpose=purpose.name,
            certificate_id=certificate_id,
            key_reference=reference,
            created_at=now,
        )
    )
    session.flush()
    details = {"serial": built.serial, "key": reference}
    record_event(session, Event(actor, f"{purpose.name}-key.created", f"ca:{authority.name}", details=details), now=now)
    return CertifiedKey(reference, built.not_after, built.der)


def is_service_key_due(session: Session, authority_id: int, purpose: Purpose, *, now: datetime) -> bool:
    """Say whether an authority needs a new key for ``purpose``: it has none, or the newest one nears its end."""
    newest = session.exec(_unrevoked(authority_id, purpose).limit(1)).first()
    return newest is None or newest[1] - now < purpose.renewed_before_end


def service_keys(session: Session, authority_id: int, purpose: Purpose, *, now: datetime) -> list[CertifiedKey]:
    """Return an authority's keys for ``purpose`` whose certificates are good, the newest first."""
    rows = session.exec(_unrevoked(authority_id, purpose).where(col(Certificate.not_after) > now))
    return [CertifiedKey(reference, not_after, der) for reference, not_after, der in rows]


def _unrevoked(authority_id: int, purpose: Purpose) -> Select[str, datetime, bytes]:
    return (
        select(ServiceKey.key_reference, Certificate.not_after, Certificate.der)
        .join(Certificate, col(ServiceKey.certificate_id) == col(Certificate.id))
        .where(
            col(ServiceKey.authority_id) == authority_id,
            col(ServiceKey.purpose) == purpose.name,
            col(Certificate.revoked_at).is_(None),
        )
        .order_by(col(ServiceKey.id).desc())
    )
