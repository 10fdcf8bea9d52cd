"""What is on record about a request: the certificate that signed it, and the answer it got before.

A transactionID is not unique, clients derive it from their key; what makes a request the same one again is said in ``retry_key``.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, insert, select
from sqlmodel import Session

from ca.authorisation import ProfileName
from ca.issuance import IssuingAuthority
from ca.records import Certificate
from foundation.tables import table_of
from scep.certificate import CarriedCertificate
from scep.errors import RenewalRefused
from scep.records import Enrolment
from scep.renewal import HeldCertificate

_CERTIFICATE = table_of(Certificate)
_ENROLMENT = table_of(Enrolment)
_KEPT = (
    select(_CERTIFICATE.c.der, _CERTIFICATE.c.profile, _CERTIFICATE.c.revoked_at, _CERTIFICATE.c.not_after)
    .join(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_ENROLMENT.c.retry_key == bindparam("retry_key"))
)
_HELD = (
    select(_CERTIFICATE, _ENROLMENT.c.endpoint)
    .outerjoin(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_CERTIFICATE.c.authority_id == bindparam("authority_id"), _CERTIFICATE.c.serial == bindparam("serial"))
)
_REVOKED_SINCE = (
    select(_CERTIFICATE.c.revoked_at).where(_CERTIFICATE.c.id == bindparam("certificate_id")).with_for_update(read=True)
)
_KEEP = insert(_ENROLMENT)


@dataclass(frozen=True, slots=True)
class GrantedCertificate:
    """What a request gets: a certificate (DER) of a profile; ``again`` where an identical request had got it before."""

    der: bytes = field(repr=False)
    profile: ProfileName
    again: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The certificate that a request got, to be given again to the same request."""

    retry_key: str
    endpoint: str
    transaction_id: str
    certificate_id: int


def retry_key(endpoint: str, transaction_id: str, csr: bytes, challenge: str, held: HeldCertificate | None) -> str:
    """Return what two requests have in common when they are the same one: a digest, in hex.

    Endpoint, transactionID, certificate request and challenge, and the signing certificate where it is one of ours. Who else
    signed does not count: Windows signs every attempt with a new key (facts/scep.md section 3). The challenge counts by itself
    because it need not be in the certificate request, which is the same one as last year where a client keeps its key.
    """
    digests = (hashlib.sha256(part).hexdigest() for part in (csr, challenge.encode()))
    parts = (endpoint, transaction_id, *digests, held.serial if held else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def kept(session: Session, key: str, *, now: datetime) -> GrantedCertificate | None:
    """Return the certificate that the request of this retry key got, or None.

    Raises:
        RenewalRefused: it has been revoked since, or has expired.
    """
    row = session.execute(_KEPT, {"retry_key": key}).one_or_none()
    if row is None:
        return None
    if row.revoked_at is not None:
        raise RenewalRefused("the certificate issued to this request has been revoked")
    if row.not_after < now:
        raise RenewalRefused("the certificate issued to this request has expired")
    return GrantedCertificate(bytes(row.der), ProfileName(row.profile), again=True)


def keep(session: Session, answer: Answer, *, now: datetime) -> None:
    """Record an answer, in the transaction that records its certificate.

    The database refuses a second one for the same request (IntegrityError).
    """
    session.execute(
        _KEEP,
        {
            "retry_key": answer.retry_key,
            "endpoint": answer.endpoint,
            "transaction_id": answer.transaction_id,
            "certificate_id": answer.certificate_id,
            "created_at": now,
        },
    )


def held(session: Session, authority: IssuingAuthority, signer: CarriedCertificate) -> HeldCertificate | None:
    """Return the certificate of ``authority`` that signed the request: the very bytes on record, not just its name and number."""
    if signer.issuer_der != authority.subject_der:
        return None
    row = session.execute(_HELD, {"authority_id": authority.id, "serial": f"{signer.serial_number:032x}"}).one_or_none()
    if row is None or row.der != signer.der:
        return None
    return HeldCertificate(
        id=row.id,
        serial=row.serial,
        profile=ProfileName(row.profile),
        person=row.person_id,
        device=row.device_id,
        endpoint=row.endpoint,
        not_before=row.not_before,
        not_after=row.not_after,
        revoked=row.revoked_at is not None,
        der=row.der,
    )


def require_unrevoked(session: Session, certificate: HeldCertificate) -> None:
    """Return if ``certificate`` is good, and hold it so until the commit: it may have been revoked since it was looked up.

    Raises:
        RenewalRefused: it has been.
    """
    if session.execute(_REVOKED_SINCE, {"certificate_id": certificate.id}).scalar_one() is not None:
        raise RenewalRefused("the certificate to be renewed is revoked")
