"""The keys, requests and certificates of our client (RFC 8894 section 2.3)."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AttributeOID, NameOID

from scep.signing import Signer

ClientKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_SIGNER_LIFETIME: Final = timedelta(days=7)


class KeyKind(StrEnum):
    """A kind of key that our client makes."""

    RSA2048 = "rsa2048"
    RSA3072 = "rsa3072"
    RSA4096 = "rsa4096"
    P256 = "p256"
    P384 = "p384"
    P521 = "p521"


_CURVES: Final[dict[KeyKind, ec.EllipticCurve]] = {
    KeyKind.P256: ec.SECP256R1(),
    KeyKind.P384: ec.SECP384R1(),
    KeyKind.P521: ec.SECP521R1(),
}


def generate_key(kind: KeyKind) -> ClientKey:
    """Make a key."""
    curve = _CURVES.get(kind)
    return ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    private_key: ClientKey = field(repr=False)


def named(common_name: str) -> x509.Name:
    """Return a subject of nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def build_csr(key: ClientKey, subject: str | x509.Name, challenge: str = "") -> x509.CertificateSigningRequest:
    """Return a certificate request for ``key``: a name, which the server may ignore, and the challengePassword."""
    builder = x509.CertificateSigningRequestBuilder(named(subject) if isinstance(subject, str) else subject)
    if challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256())


def challenge_in(csr: x509.CertificateSigningRequest) -> str:
    """Return the challengePassword in a certificate request, empty when there is none."""
    try:
        return csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value.decode()
    except (x509.AttributeNotFound, UnicodeDecodeError):
        return ""


def throwaway_signer(key: ClientKey, subject: x509.Name) -> Signer:
    """Return what a first request is signed with: ``key`` and a self-signed certificate over it (RFC 8894 section 2.3)."""
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=subject, subject_name=subject, public_key=key.public_key(), serial_number=1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _SIGNER_LIFETIME)
        .sign(key, hashes.SHA256())
    )
    return Signer.of(certificate, key)


@dataclass(frozen=True, slots=True)
class Application:
    """What a client asks for, and asks for again until it has an answer: a certificate over ``key``.

    With ``held``, that certificate is to be renewed. The transactionID comes from the certificate request alone: whoever keeps
    that, keeps everything.
    """

    csr: x509.CertificateSigningRequest
    key: ClientKey = field(repr=False)
    held: Identity | None = None

    @property
    def transaction_id(self) -> str:
        """The transactionID of every message about it."""
        return hashlib.sha256(self.csr.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def signer(self) -> Signer:
        """What its messages are signed with."""
        if self.held is None:
            return throwaway_signer(self.key, self.csr.subject)
        return Signer.of(self.held.certificate, self.held.private_key)

    def is_answered_by(self, certificate: x509.Certificate) -> bool:
        """Say whether a certificate is over its key."""
        try:
            return certificate.public_key() == self.key.public_key()
        except (ValueError, UnsupportedAlgorithm):
            return False
