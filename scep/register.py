"""What is on record about a request: the certificate that signed it, and the answer it got before.

A transactionID is not unique, clients derive it from their key; what makes a request the same one again is said in ``retry_key``.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from sqlalchemy import Row, bindparam, insert, select, update
from sqlmodel import Session

from ca.authorisation import ProfileName
from ca.records import Certificate
from foundation.statements import Prepared
from foundation.tables import table_of
from people.activity import require_active
from scep.certificate import CarriedCertificate
from scep.errors import AnswerExpired, RenewalRefused
from scep.records import Enrolment
from scep.renewal import HeldCertificate

_CERTIFICATE = table_of(Certificate)
_ENROLMENT = table_of(Enrolment)
_KEPT = Prepared(
    select(
        _CERTIFICATE.c.id,
        _CERTIFICATE.c.der,
        _CERTIFICATE.c.profile,
        _CERTIFICATE.c.revoked_at,
        _CERTIFICATE.c.not_after,
        _ENROLMENT.c.withheld_until,
    )
    .join(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_ENROLMENT.c.retry_key == bindparam("retry_key"))
)
_OBTAINED = (
    select(_CERTIFICATE, _ENROLMENT.c.withheld_until)
    .join(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_CERTIFICATE.c.id == bindparam("certificate_id"))
)
_HELD = Prepared(
    select(_CERTIFICATE, _ENROLMENT.c.endpoint, _ENROLMENT.c.withheld_until)
    .outerjoin(_ENROLMENT, _ENROLMENT.c.certificate_id == _CERTIFICATE.c.id)
    .where(_CERTIFICATE.c.authority_id == bindparam("authority_id"), _CERTIFICATE.c.serial == bindparam("serial"))
)
_REVOKED_SINCE = Prepared(
    select(_CERTIFICATE.c.revoked_at).where(_CERTIFICATE.c.id == bindparam("certificate_id")).with_for_update(read=True)
)
_KEEP = Prepared(insert(_ENROLMENT), "retry_key", "endpoint", "transaction_id", "certificate_id", "created_at", "withheld_until")
_RELEASE = (
    update(_ENROLMENT)
    .where(_ENROLMENT.c.retry_key == bindparam("of_request"), _ENROLMENT.c.withheld_until.is_not(None))
    .values(withheld_until=None)
    .returning(_ENROLMENT.c.certificate_id)
)


_HOLDER = select(_CERTIFICATE.c.person_id, _CERTIFICATE.c.device_id).where(_CERTIFICATE.c.id == bindparam("certificate_id"))
_RETIRE = (
    update(_ENROLMENT)
    .where(
        _ENROLMENT.c.retry_key == bindparam("of_request"),
        _ENROLMENT.c.certificate_id.in_(select(_CERTIFICATE.c.id).where(_CERTIFICATE.c.not_after < bindparam("expired_by"))),
    )
    .values(retry_key=bindparam("retired"))
)


class Issuer(Protocol):
    """An authority by what its certificates say of it."""

    @property
    def id(self) -> int:
        """Its number on record."""
        ...

    @property
    def subject_der(self) -> bytes:
        """Its name, encoded."""
        ...


@dataclass(frozen=True, slots=True)
class FormerIssuer:
    """An issuing CA that another has succeeded, and whose certificates may be renewed."""

    id: int
    subject_der: bytes
    certificate_der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GrantedCertificate:
    """What a request gets: a certificate (DER) of a profile.

    ``again`` where an identical request had been granted it before; ``withheld`` while it must not be handed out.
    """

    der: bytes = field(repr=False)
    profile: ProfileName
    again: bool
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The certificate that a request got, to be given again to the same request; withheld from it until then, if at all."""

    retry_key: str
    endpoint: str
    transaction_id: str
    certificate_id: int
    withheld_until: datetime | None = None


def retry_key(endpoint: str, transaction_id: str, csr_digest: str, challenge_digest: str, held: HeldCertificate | None) -> str:
    """Return what two requests have in common when they are the same one: a digest, in hex.

    Endpoint, transactionID, certificate request and challenge, and the signing certificate where it is one of ours. Who else
    signed does not count: Windows signs every attempt with a new key (facts/scep.md section 3). The challenge counts by itself
    because it need not be in the certificate request, which is the same one as last year where a client keeps its key.
    """
    parts = (endpoint, transaction_id, csr_digest, challenge_digest, held.serial if held else "")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def kept(session: Session, key: str, *, now: datetime) -> GrantedCertificate | None:
    """Return the certificate that the request of this retry key got, or None.

    Raises:
        RenewalRefused: it has been revoked since; AnswerExpired: it has expired.
    """
    row = _KEPT.row(session, {"retry_key": key})
    return None if row is None else _granted_again(row, now)


def obtained(session: Session, certificate_id: int, public_key: PublicKeyTypes, *, now: datetime) -> GrantedCertificate | None:
    """Return the certificate of this number if an enrolment got it for this very key, or None.

    Raises:
        RenewalRefused: it has been revoked since; AnswerExpired: it has expired.
    """
    row = session.execute(_OBTAINED, {"certificate_id": certificate_id}).one_or_none()
    if row is None or x509.load_der_x509_certificate(row.der).public_key() != public_key:
        return None
    return _granted_again(row, now)


def _granted_again(row: Row[Any], now: datetime) -> GrantedCertificate:
    if row.revoked_at is not None:
        raise RenewalRefused("the certificate issued to this request has been revoked")
    if row.not_after < now:
        raise AnswerExpired
    return GrantedCertificate(bytes(row.der), ProfileName(row.profile), again=True, withheld=row.withheld_until is not None)


def keep(session: Session, answer: Answer, *, now: datetime) -> None:
    """Record an answer, in the transaction that records its certificate.

    The database refuses a second one for the same request (IntegrityError).
    """
    _KEEP.run(
        session,
        {
            "retry_key": answer.retry_key,
            "endpoint": answer.endpoint,
            "transaction_id": answer.transaction_id,
            "certificate_id": answer.certificate_id,
            "created_at": now,
            "withheld_until": answer.withheld_until,
        },
    )


def retire(session: Session, retry_key: str, *, now: datetime) -> None:
    """Make room for another answer to the request of this retry key, where the certificate it got has expired."""
    retired = hashlib.sha256(f"{retry_key}\0{now.isoformat()}".encode()).hexdigest()
    session.execute(_RETIRE, {"of_request": retry_key, "retired": retired, "expired_by": now})


def release(session: Session, retry_key: str) -> int | None:
    """Let out the certificate withheld from the request of this retry key; return its id, None where it is withheld no more.

    Raises:
        Inactive: whoever it is for has been deactivated since; the transaction must not be committed.
    """
    certificate_id: int | None = session.execute(_RELEASE, {"of_request": retry_key}).scalar_one_or_none()
    if certificate_id is not None:
        holder = session.execute(_HOLDER, {"certificate_id": certificate_id}).one()
        require_active(session, person=holder.person_id, device=holder.device_id)
    return certificate_id


def held(session: Session, issuers: Iterable[Issuer], signer: CarriedCertificate) -> HeldCertificate | None:
    """Return the certificate of one of ``issuers`` that signed the request: the very bytes on record, not just name and number.

    One that is withheld has never left the house, so nobody holds it.
    """
    serial = f"{signer.serial_number:032x}"
    for issuer in issuers:
        if signer.issuer_der == issuer.subject_der:
            row = _HELD.row(session, {"authority_id": issuer.id, "serial": serial})
            if row is not None and row.der == signer.der and row.withheld_until is None:
                return _held(row)
    return None


def _held(row: Row[Any]) -> HeldCertificate:
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
    if _REVOKED_SINCE.value(session, {"certificate_id": certificate.id}) is not None:
        raise RenewalRefused("the certificate to be renewed is revoked")
