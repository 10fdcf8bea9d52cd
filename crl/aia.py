"""The certificates behind caIssuers: an authority's current one, and the chain above it (RFC 5280 section 4.2.2.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from sqlalchemy import select
from sqlmodel import Session, col

from ca.records import Certificate, CertificationAuthority
from crl.errors import UnknownIssuer

# A chain of ours has two or three; a loop in the records must not become one in the program.
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class AuthorityCertificate:
    """A certificate of an authority, ours or above ours."""

    der: bytes
    issued_at: datetime


def publishes_crls(session: Session, name: str) -> bool:
    """Say whether there is a certification authority of ours called ``name``; one above ours publishes its CRLs elsewhere."""
    query = select(col(CertificationAuthority.id)).where(
        col(CertificationAuthority.name) == name, col(CertificationAuthority.key_reference).is_not(None)
    )
    return session.execute(query).first() is not None


def chain(session: Session, name: str) -> Sequence[AuthorityCertificate]:
    """Return the current certificate of the authority called ``name``, then those of its issuers up to the root.

    Current is the newest that is not revoked: re-issued over the same key, it stands for what its predecessors signed.

    Raises:
        UnknownIssuer: no such authority, or it has no certificate yet.
    """
    found: list[AuthorityCertificate] = []
    authority = col(CertificationAuthority.name) == name
    for _ in range(_LONGEST_CHAIN):
        query = (
            select(col(Certificate.der), col(Certificate.issued_at), col(CertificationAuthority.issuer_id))
            .join(CertificationAuthority, col(CertificationAuthority.id) == col(Certificate.certifies_id))
            .where(authority, col(Certificate.revoked_at).is_(None))
            .order_by(col(Certificate.id).desc())
            .limit(1)
        )
        row = session.execute(query).one_or_none()
        if row is None:
            break
        found.append(AuthorityCertificate(row.der, row.issued_at))
        if row.issuer_id is None:
            break
        authority = col(CertificationAuthority.id) == row.issuer_id
    if not found:
        raise UnknownIssuer("no certification authority of this name has a certificate")
    return found


def certs_only(certificates: Sequence[AuthorityCertificate]) -> bytes:
    """Return a certs-only CMS SignedData, DER (RFC 8551 section 3.8)."""
    return pkcs7.serialize_certificates([x509.load_der_x509_certificate(item.der) for item in certificates], Encoding.DER)
