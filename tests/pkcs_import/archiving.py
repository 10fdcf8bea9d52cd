"""An archive with real keys in it, over a store: what tests of sealing, opening and rotation stand on."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from sqlmodel import Session

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import PersonId
from ca.errors import KeyExists, KeyUnavailable
from ca.keys import KeyAlgorithm, KeyStore, PrivateKey, generate_key
from foundation.transactions import Transactions
from pkcs_import.archive_keys import current_archive_key, open_archive_key, record_archive_key
from pkcs_import.keeping import NewCertificate, NewKey, Origin, keep
from pkcs_import.purpose import Purpose
from pkcs_import.sealing import ArchivePublicKey, Binding, new_uid
from pkcs_import.trust import Trust
from tests.people.samples import events

ACTOR = Actor("cli:root")

PersonalKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class KeysInMemory(KeyStore):
    """A key store without files; ``loaded`` says what was asked for."""

    def __init__(self) -> None:
        self.keys: dict[str, PrivateKey] = {}
        self.loaded: list[str] = []

    def generate(self, reference: str, algorithm: KeyAlgorithm) -> PrivateKey:
        """Make a key."""
        if reference in self.keys:
            raise KeyExists(f"there is already a key {reference!r}")
        return self.keys.setdefault(reference, generate_key(algorithm))

    def load(self, reference: str) -> PrivateKey:
        """Return a key."""
        self.loaded.append(reference)
        if reference not in self.keys:
            raise KeyUnavailable(f"there is no key {reference!r}")
        return self.keys[reference]

    def exists(self, reference: str) -> bool:
        """Say whether there is a key."""
        return reference in self.keys


@dataclass(frozen=True)
class ArchivedPair:
    """A person's key with its certificate, and under which number the archive has it."""

    id: int
    key: PersonalKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    @property
    def pkcs8(self) -> bytes:
        """The private key as it was sealed."""
        return pkcs8_of(self.key)


def pkcs8_of(key: PersonalKey) -> bytes:
    """Return a private key as PKCS #8, DER."""
    return key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_archive_key(
    store: Transactions, keystore: KeyStore, reference: str, now: datetime, algorithm: KeyAlgorithm = KeyAlgorithm.P256
) -> ArchivePublicKey:
    """Make and record an archive key."""
    key = open_archive_key(keystore, reference, algorithm)
    return store.write(lambda session: record_archive_key(session, key.public_key(), reference, actor=ACTOR, now=now))


def certificate_over(key: PersonalKey, name: str, begin: datetime, end: datetime) -> x509.Certificate:
    """Return a self-signed certificate over a key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
    return builder.sign(key, hashes.SHA256())


def put(
    store: Transactions,
    person: PersonId,
    key: PersonalKey,
    now: datetime,
    *,
    age_in_years: int = 0,
    purpose: Purpose = Purpose.ENCRYPTION,
    chain: tuple[bytes, ...] = (),
    to: ArchivePublicKey | None = None,
) -> ArchivedPair:
    """Seal a person's key and keep it, with a certificate of a year."""
    begin = now - timedelta(days=1 + 365 * age_in_years)
    certificate = certificate_over(key, f"person {person}", begin, begin + timedelta(days=365))
    der = certificate.public_bytes(serialization.Encoding.DER)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    binding = Binding(new_uid(), person, hashlib.sha256(spki).hexdigest())
    new = NewCertificate(
        der=der,
        sha256=hashlib.sha256(der).hexdigest(),
        chain=chain,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        purpose=purpose,
        trust=Trust.UNKNOWN,
    )

    def act(session: Session) -> int:
        sealed = (to or current_archive_key(session)).seal(pkcs8_of(key), binding)
        return keep(session, NewKey(binding, sealed, "any", Origin.IMPORTED), [new], actor=ACTOR, now=now)[0]

    return ArchivedPair(store.write(act), key, certificate)


def curve_keys(count: int) -> list[ec.EllipticCurvePrivateKey]:
    """Return so many new keys, quickly made."""
    return [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]


def events_of(store: Transactions, action: str) -> list[AuditEvent]:
    """Return the audit events of an action, oldest first."""
    return [event for event in events(store) if event.action == action]
