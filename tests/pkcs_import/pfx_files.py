"""PKCS #12 files as people bring them, written by the library itself, and whom they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import insert
from sqlmodel import Session

from audit.log import Actor
from ca.subject import UPN
from foundation import tlv
from foundation.tables import table_of
from foundation.transactions import Transactions
from people import persons
from people.person import PersonFields, PersonRecord
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchiveKey
from pkcs_import.sealing import ArchivePublicKey
from tests.ca.authorities import NOW
from tests.ca.foreign import Foreign

ACTOR = Actor("cli:root")
PASSWORD = "Schlüssel 鍵"
_NONE_OF_THEM = dict.fromkeys(
    ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign"), False
) | dict.fromkeys(("crl_sign", "encipher_only", "decipher_only"), False)
_USAGES = {
    Purpose.SIGNING: ("digital_signature",),
    Purpose.ENCRYPTION: ("key_encipherment", "key_agreement"),
    Purpose.BOTH: ("digital_signature", "key_encipherment"),
    Purpose.AUTHENTICATION: ("digital_signature",),
}


@dataclass(frozen=True)
class Wish:
    """What a certificate is to say."""

    emails: Sequence[str] = ("alice@example.com",)
    upn: str = ""
    purpose: Purpose = Purpose.ENCRYPTION
    client_auth: bool = False
    common_name: str = "Alice"
    issuer: Foreign | None = None
    not_before: datetime = NOW - timedelta(days=300)
    not_after: datetime = NOW + timedelta(days=300)
    more: Sequence[tuple[x509.ExtensionType, bool]] = field(default=())


_WISH = Wish()


def certificate(key: Any, wish: Wish = _WISH) -> x509.Certificate:  # noqa: ANN401 - a private key
    """Make a certificate over ``key``; by itself where nobody is to issue it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.common_name)])
    issuer = subject if wish.issuer is None else wish.issuer.certificate.subject
    names: list[x509.GeneralName] = [x509.RFC822Name(each) for each in wish.emails]
    if wish.upn:
        names.append(x509.OtherName(UPN, tlv.tlv(0x0C, wish.upn.encode())))
    signing = wish.purpose is Purpose.AUTHENTICATION
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] if signing else [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    if wish.client_auth:
        purposes.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    builder = x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), wish.not_before, wish.not_after
    )
    usage = x509.KeyUsage(**_NONE_OF_THEM | dict.fromkeys(_USAGES[wish.purpose], True))
    extensions: list[tuple[x509.ExtensionType, bool]] = [(usage, True), (x509.ExtendedKeyUsage(purposes), False), *wish.more]
    if names:
        extensions.append((x509.SubjectAlternativeName(names), False))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key if wish.issuer is None else wish.issuer.key, hashes.SHA256())


def pfx(
    key: Any,  # noqa: ANN401 - a private key
    own: x509.Certificate,
    *others: x509.Certificate,
    password: str | None = PASSWORD,
) -> bytes:
    """Return a file with a key, its certificate and others."""
    encryption: KeySerializationEncryption = NoEncryption()
    if password is not None:
        encryption = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(2048)
            .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
            .hmac_hash(hashes.SHA256())
            .build(password.encode())
        )
    return pkcs12.serialize_key_and_certificates(b"key", key, own, others or None, encryption)


def simple_pfx(wish: Wish = _WISH, *, password: str | None = PASSWORD) -> bytes:
    """Return a file with a new key and a certificate over it."""
    key = ec.generate_private_key(ec.SECP256R1())
    return pfx(key, certificate(key, wish), password=password)


def der(found: x509.Certificate) -> bytes:
    """Return a certificate as DER."""
    return found.public_bytes(Encoding.DER)


def add_person(store: Transactions, name: str, *aliases: str) -> PersonRecord:
    """Record ``name@example.com``, whose UPN is at another domain."""
    fields = PersonFields(upn=f"{name}@corp.example.com", email=f"{name}@example.com", aliases=aliases)
    return store.write(lambda session: persons.add_person(session, fields, actor=ACTOR, now=NOW))


def archive_public_key(key: rsa.RSAPrivateKey, row: int = 1) -> ArchivePublicKey:
    """Return the public half of an archive key."""
    return ArchivePublicKey.from_spki(row, spki(key))


def spki(key: Any) -> bytes:  # noqa: ANN401 - a private key
    """Return the SubjectPublicKeyInfo of a private key."""
    from_key: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return from_key


def add_archive_key(store: Transactions, key: rsa.RSAPrivateKey) -> ArchivePublicKey:
    """Record an archive key."""
    public = archive_public_key(key)
    row = {"key_id": public.key_id, "reference": "archive-1", "algorithm": "rsa2048", "spki": spki(key), "created_at": NOW}
    records = table_of(ArchiveKey)

    def act(session: Session) -> int:
        made: int = session.execute(insert(records).returning(records.c.id), row).scalar_one()
        return made

    return archive_public_key(key, store.write(act))
