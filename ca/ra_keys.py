"""The keys of the registration authority: RSA whatever the issuing CA uses, apart from its key, short-lived and renewed in time.

Sources: RFC 8894 section 2.1.2 (the recipient of a request needs an RSA key); design.md section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import func
from sqlmodel import Session, col, select

from audit.log import Actor, Event
from audit.log import record as record_event
from ca.authorisation import SubjectNames
from ca.errors import KeyUnavailable
from ca.issuance import IssuanceListener, IssuingAuthority, build, record
from ca.keys import KeyAlgorithm, KeyStore, PrivateKey, open_key
from ca.profiles import SCEP_RA
from ca.records import Certificate, RaKey

RA_KEY_ALGORITHM = KeyAlgorithm.RSA2048
# A third of the certificate's 90 days is left for a worker that is down, and for clients that keep the old certificate.
RA_KEY_RENEWED_BEFORE_END = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class RaKeyPair:
    """A key of the registration authority, with which an endpoint decrypts requests and signs replies."""

    certificate: x509.Certificate
    certificate_der: bytes = field(repr=False)
    private_key: rsa.RSAPrivateKey = field(repr=False)


def create_ra_key(
    session: Session,
    keystore: KeyStore,
    authority: IssuingAuthority,
    *,
    actor: Actor,
    now: datetime,
    listeners: Sequence[IssuanceListener] = (),
) -> RaKeyPair:
    """Make the next RA key of an issuing CA, which from now on is the one that GetCACert names."""
    made = session.exec(select(func.count()).where(col(RaKey.authority_id) == authority.id)).one()
    reference = f"{authority.name}-ra-{made + 1}"
    key = open_key(keystore, reference, RA_KEY_ALGORITHM)
    names = SubjectNames(display_name=f"SCEP RA {made + 1} of {authority.name}")
    built = build(authority, SCEP_RA, names, key.public_key(), now=now)
    certificate_id = record(session, built, authority=authority, authorisation=None, actor=actor, now=now, listeners=listeners)
    row = RaKey(authority_id=authority.id, certificate_id=certificate_id, key_reference=reference, created_at=now)
    session.add(row)
    session.flush()
    details = {"serial": built.serial, "key": reference}
    record_event(session, Event(actor, "ra-key.created", f"ca:{authority.name}", details=details), now=now)
    return _pair(built.der, key)


def load_ra_keys(session: Session, keystore: KeyStore, authority: IssuingAuthority, *, now: datetime) -> list[RaKeyPair]:
    """Load the RA keys of an issuing CA, newest first: the current one signs, all of them decrypt until they expire."""
    query = (
        select(RaKey, Certificate.der)
        .join(Certificate, col(RaKey.certificate_id) == col(Certificate.id))
        .where(
            col(RaKey.authority_id) == authority.id,
            col(Certificate.not_after) > now,
            col(Certificate.revoked_at).is_(None),
        )
        .order_by(col(RaKey.id).desc())
    )
    return [_pair(der, keystore.load(row.key_reference)) for row, der in session.exec(query)]


def is_ra_key_due(session: Session, authority_id: int, *, now: datetime) -> bool:
    """Say whether an issuing CA needs a new RA key: it has none, or the newest one nears its end."""
    query = (
        select(Certificate.not_after)
        .join(RaKey, col(RaKey.certificate_id) == col(Certificate.id))
        .where(col(RaKey.authority_id) == authority_id, col(Certificate.revoked_at).is_(None))
        .order_by(col(RaKey.id).desc())
    )
    not_after = session.exec(query).first()
    return not_after is None or not_after - now < RA_KEY_RENEWED_BEFORE_END


def _pair(certificate_der: bytes, key: PrivateKey) -> RaKeyPair:
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyUnavailable("an RA key must be an RSA key")
    return RaKeyPair(x509.load_der_x509_certificate(certificate_der), certificate_der, key)
