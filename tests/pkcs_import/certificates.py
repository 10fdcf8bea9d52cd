"""Certificates as other authorities issue them: over any key, for any purpose, with any name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from foundation import tlv
from tests.vectors.pkcs12.parties import key

UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def rsa_key() -> CertificatePublicKeyTypes:
    """Return an RSA public key."""
    return key("ann").public_key()


@cache
def ec_key() -> ec.EllipticCurvePublicKey:
    """Return a public key on P-384."""
    return ec.generate_private_key(ec.SECP384R1()).public_key()


@cache
def ed25519_key() -> ed25519.Ed25519PublicKey:
    """Return an Ed25519 public key."""
    return ed25519.Ed25519PrivateKey.generate().public_key()


@cache
def x25519_key() -> x25519.X25519PublicKey:
    """Return an X25519 public key."""
    return x25519.X25519PrivateKey.generate().public_key()


@cache
def x448_key() -> x448.X448PublicKey:
    """Return an X448 public key."""
    return x448.X448PrivateKey.generate().public_key()


def upn(name: str) -> x509.OtherName:
    """Return a user principal name."""
    return x509.OtherName(UPN, tlv.utf8_string(name))


@dataclass(frozen=True)
class Wanted:
    """What a certificate is to say. None leaves the extension out."""

    usages: Sequence[str] | None = None
    purposes: Sequence[x509.ObjectIdentifier] | None = None
    names: Sequence[x509.GeneralName] = ()
    subject: str = "Somebody"
    issuer: str = "Some authority"
    mails: Sequence[str] = ()
    is_authority: bool = False
    not_after: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    signer: CertificateIssuerPrivateKeyTypes | None = None


def issued(over: CertificatePublicKeyTypes, wanted: Wanted) -> x509.Certificate:
    """Return a certificate over a public key, signed by whoever (``issuing`` of the vectors by default)."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, wanted.subject)]
    subject += [x509.NameAttribute(NameOID.EMAIL_ADDRESS, mail) for mail in wanted.mails]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.issuer)]))
        .public_key(over)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(wanted.not_after)
    )
    if wanted.usages is not None:
        usage = x509.KeyUsage(**{each: each in wanted.usages for each in _USAGES})
        builder = builder.add_extension(usage, critical=True)
    if wanted.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted.purposes), critical=False)
    if wanted.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted.names), critical=False)
    if wanted.is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(wanted.signer or key("issuing"), hashes.SHA256())
