"""The keys of the registration authority: RSA whatever the issuing CA uses, apart from its key, short-lived and renewed in time.

Sources: RFC 8894 section 2.1.2 (the recipient of a request needs an RSA key); design.md section 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlmodel import Session

from audit.log import Actor
from ca.errors import KeyUnavailable
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import KeyAlgorithm, KeyStore
from ca.profiles import SCEP_RA
from ca.service_keys import CertifiedKey, Purpose, create_service_key, is_service_key_due, service_keys

# A third of the certificate's 90 days is left for a worker that is down, and for clients that keep the old certificate.
RA_KEY_RENEWED_BEFORE_END = timedelta(days=30)
REGISTRATION = Purpose("ra", "SCEP RA", SCEP_RA, KeyAlgorithm.RSA2048, RA_KEY_RENEWED_BEFORE_END)


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
    made = create_service_key(session, keystore, authority, REGISTRATION, actor=actor, now=now, listeners=listeners)
    return _pair(made, keystore)


def load_ra_keys(session: Session, keystore: KeyStore, authority_id: int, *, now: datetime) -> list[RaKeyPair]:
    """Load the RA keys of an issuing CA, newest first: the current one signs, all of them decrypt until they expire."""
    return [_pair(kept, keystore) for kept in service_keys(session, authority_id, REGISTRATION, now=now)]


def has_ra_key(session: Session, authority_id: int, *, now: datetime) -> bool:
    """Say whether an issuing CA has an RA key in force."""
    return bool(service_keys(session, authority_id, REGISTRATION, now=now))


def is_ra_key_due(session: Session, authority_id: int, *, now: datetime) -> bool:
    """Say whether an issuing CA needs a new RA key: it has none, or the newest one nears its end."""
    return is_service_key_due(session, authority_id, REGISTRATION, now=now)


def _pair(kept: CertifiedKey, keystore: KeyStore) -> RaKeyPair:
    key = keystore.load(kept.reference)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyUnavailable("an RA key must be an RSA key")
    return RaKeyPair(x509.load_der_x509_certificate(kept.certificate_der), kept.certificate_der, key)
