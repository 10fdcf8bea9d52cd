"""What a certificate is going to say, and that in DER: the TBSCertificate, assembled here (RFC 5280 section 4.1).

cryptography's builder makes the certificates. This is the other encoder, whose bytes they are held against before they are
released: two that have nothing in common but the encodings of names, keys and extension values must agree to the last bit. It
takes some 20 µs; to parse every field again and compare them took 50.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.authorisation import ProfileName
from ca.keys import PublicKey, signature_hash
from foundation import tlv

_VERSION_3: Final = tlv.explicit(0, tlv.integer(2))
_EXTENSIONS: Final = 3
_CRITICAL: Final = tlv.boolean(value=True)
# UTCTime knows no later year (section 4.1.2.5).
_LAST_YEAR_OF_UTC_TIME: Final = 2049

# RFC 4055 section 5 wants the NULL, RFC 5758 section 3.2 and RFC 8410 section 3 want none.
_RSA_SHA256: Final = tlv.sequence(tlv.object_identifier("1.2.840.113549.1.1.11"), tlv.null())
_ECDSA: Final = {
    "sha256": tlv.sequence(tlv.object_identifier("1.2.840.10045.4.3.2")),
    "sha384": tlv.sequence(tlv.object_identifier("1.2.840.10045.4.3.3")),
    "sha512": tlv.sequence(tlv.object_identifier("1.2.840.10045.4.3.4")),
}
_ED25519: Final = tlv.sequence(tlv.object_identifier("1.3.101.112"))


@dataclass(frozen=True, slots=True)
class Intent:
    """All that a certificate is going to say, but for its serial number and signature."""

    profile: ProfileName
    issuer: x509.Name
    subject: x509.Name
    public_key: PublicKey
    not_before: datetime
    not_after: datetime
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]


def encode(intent: Intent, serial: int, issuer_key: PublicKey) -> tuple[bytes, bytes]:
    """Return the TBSCertificate and the AlgorithmIdentifier of the signature over it, both in DER.

    The signature is made with the private half of ``issuer_key``.
    """
    algorithm = _signature_algorithm(issuer_key)
    extensions = b"".join([_extension(extension, critical) for extension, critical in intent.extensions])
    tbs = tlv.sequence(
        _VERSION_3,
        tlv.integer(serial),
        algorithm,
        intent.issuer.public_bytes(),
        tlv.sequence(_time(intent.not_before), _time(intent.not_after)),
        intent.subject.public_bytes(),
        intent.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        tlv.explicit(_EXTENSIONS, tlv.sequence(extensions)) if extensions else b"",
    )
    return tbs, algorithm


def _signature_algorithm(key: PublicKey) -> bytes:
    if isinstance(key, rsa.RSAPublicKey):
        return _RSA_SHA256
    chosen = signature_hash(key) if isinstance(key, ec.EllipticCurvePublicKey) else None
    return _ED25519 if chosen is None else _ECDSA[chosen.name]


def _extension(extension: x509.ExtensionType, critical: bool) -> bytes:  # noqa: FBT001 - as it stands in the certificate
    # FALSE is the default, which DER leaves out.
    return tlv.sequence(
        tlv.object_identifier(extension.oid.dotted_string),
        _CRITICAL if critical else b"",
        tlv.octet_string(extension.public_bytes()),
    )


def _time(time: datetime) -> bytes:
    if time.year <= _LAST_YEAR_OF_UTC_TIME:
        return tlv.tlv(tlv.UTC_TIME, b"%02d%02d%02d%02d%02d%02dZ" % (time.year % 100, *time.timetuple()[1:6]))
    return tlv.tlv(tlv.GENERALIZED_TIME, b"%04d%02d%02d%02d%02d%02dZ" % time.timetuple()[:6])
