"""Whose keys are in the vectors: made when missing, otherwise read from the PEM files beside this one."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE: Final = Path(__file__).parent
ROOT, ISSUING = "root", "issuing"
AUTHORITIES: Final = (ROOT, ISSUING)
# Ann has an old certificate, which has expired, and a new one; Bob has an elliptic curve, Cid Ed25519.
PERSONS: Final = ("ann-old", "ann", "bob", "cid")
_NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
_NOT_AFTER = {"ann-old": datetime(2023, 1, 1, tzinfo=UTC)}
_NEVER = datetime(2049, 12, 31, tzinfo=UTC)


@cache
def key(name: str) -> CertificateIssuerPrivateKeyTypes:
    """Return the private key of a party."""
    path = HERE / f"{name}.key.pem"
    if not path.exists():
        made = _generated(name)
        path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    loaded = serialization.load_pem_private_key(path.read_bytes(), None, unsafe_skip_rsa_key_validation=True)
    return cast("CertificateIssuerPrivateKeyTypes", loaded)


def _generated(name: str) -> CertificateIssuerPrivateKeyTypes:
    if name.startswith("ann"):
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate() if name == "cid" else ec.generate_private_key(ec.SECP256R1())


def pkcs8(name: str) -> bytes:
    """Return the private key of a party as PKCS #8 DER."""
    return key(name).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def spki(name: str) -> bytes:
    """Return the public key of a party as SubjectPublicKeyInfo DER."""
    return key(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def certificate(name: str) -> x509.Certificate:
    """Return the certificate of a party; the persons' are of ``issuing``, which is of ``root``."""
    path = HERE / f"{name}.pem"
    if not path.exists():
        path.write_bytes(_issued(name).public_bytes(Encoding.PEM))
    return x509.load_pem_x509_certificate(path.read_bytes())


def der(name: str) -> bytes:
    """Return the certificate of a party as DER."""
    return certificate(name).public_bytes(Encoding.DER)


def _name(party: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"PKCS #12 vectors {party.removesuffix('-old')}")])


def _issued(name: str) -> x509.Certificate:
    is_authority = name in AUTHORITIES
    issuer = ROOT if is_authority else ISSUING
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=name.startswith("ann"),
        data_encipherment=False,
        key_agreement=name == "bob",
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key(name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER.get(name, _NEVER))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(usage, critical=True)
    )
    if not is_authority:
        mail = f"{name.removesuffix('-old')}@example.com"
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(mail)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(key(issuer), hashes.SHA256())
