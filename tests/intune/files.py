"""PKCS #12 files as they are uploaded to Intune."""

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from cryptography.x509.oid import NameOID

from intune.imported_pfx import ConnectorKey, ImportedPfx, Statement, thumbprint_of
from tests.intune.pfx_service import KEY_NAME, PROVIDER

PASSPHRASE = "made-by-a-machine"
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def identity(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """Return a key and its certificate, always the same for one name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    return key, builder.not_valid_before(BEGUN).not_valid_after(BEGUN + timedelta(days=365)).sign(key, hashes.SHA256())


def packed(name: str) -> bytes:
    """Return the PKCS #12 of an identity under PASSPHRASE."""
    key, certificate = identity(name)
    return pkcs12.serialize_key_and_certificates(b"", key, certificate, None, BestAvailableEncryption(PASSPHRASE.encode()))


def imported(name: str, upn: str, connector: ConnectorKey) -> ImportedPfx:
    """Return an identity as it is imported."""
    certificate = identity(name)[1]
    statement = Statement(
        thumbprint=thumbprint_of(certificate.public_bytes(Encoding.DER)),
        user_principal_name=upn,
        intended_purpose="smimeEncryption",
        start=certificate.not_valid_before_utc,
        expiration=certificate.not_valid_after_utc,
        provider_name=PROVIDER,
        key_name=KEY_NAME,
        padding_scheme=connector.padding_scheme,
    )
    return ImportedPfx(statement, packed(name), connector.encrypt(PASSPHRASE))
