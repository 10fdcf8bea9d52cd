"""The certificates that SCEP messages carry: the signer's, above all."""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from ca.key_policy import is_costly
from scep.decoding import decode
from scep.errors import MalformedMessage


@asn1.sequence
class _TbsCertificate:
    version: Annotated[int | None, asn1.Explicit(0)]
    serial_number: int
    signature: asn1.TLV
    issuer: asn1.TLV
    validity: asn1.TLV
    subject: asn1.TLV
    public_key: asn1.TLV
    issuer_unique_id: Annotated[asn1.BitString | None, asn1.Implicit(1)]
    subject_unique_id: Annotated[asn1.BitString | None, asn1.Implicit(2)]
    extensions: Annotated[list[asn1.TLV] | None, asn1.Explicit(3)]


@asn1.sequence
class _Certificate:
    tbs: _TbsCertificate
    algorithm: asn1.TLV
    signature: asn1.BitString


@dataclass(frozen=True, slots=True)
class CarriedCertificate:
    """A certificate in a message: never trusted by being there.

    ``x509`` is None when the library refuses it; the public key is all that is needed of a throwaway signer, and Windows makes
    them with negative serial numbers.
    """

    der: bytes
    issuer_der: bytes
    serial_number: int
    subject_der: bytes
    public_key: PublicKeyTypes
    x509: x509.Certificate | None

    @property
    def spki_sha256(self) -> str:
        """The SHA-256 of its key's SubjectPublicKeyInfo, in hex."""
        spki = self.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(spki).hexdigest()


def read_certificate(der: bytes) -> CarriedCertificate:
    """Read what a message needs of a certificate.

    Raises:
        MalformedMessage: the structure is broken or the public key unreadable.
    """
    tbs = decode(_Certificate, der).tbs
    try:
        public_key = serialization.load_der_public_key(asn1.encode_der(tbs.public_key))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage("a certificate with an unreadable public key") from error
    if isinstance(public_key, rsa.RSAPublicKey) and is_costly(public_key):
        raise MalformedMessage("a certificate with an oversized RSA key")
    loaded = None
    if tbs.serial_number > 0:
        try:
            loaded = x509.load_der_x509_certificate(der)
        except (ValueError, x509.InvalidVersion):
            loaded = None
    return CarriedCertificate(
        der=der,
        issuer_der=asn1.encode_der(tbs.issuer),
        serial_number=tbs.serial_number,
        subject_der=asn1.encode_der(tbs.subject),
        public_key=public_key,
        x509=loaded,
    )


def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """Return the certificate's subjectKeyIdentifier, computed from its key where the extension is missing or unreadable."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
