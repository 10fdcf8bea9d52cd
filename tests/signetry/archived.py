"""Real keys in the archive of an installation, and the archive process's own code without the process."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlmodel import Session

from ca.authorisation import PersonId
from people.persons import person_named
from pkcs_import.archive_keys import current_archive_key
from pkcs_import.keeping import NewCertificate, NewKey, Origin, keep
from pkcs_import.opening import Opener
from pkcs_import.purpose import Purpose
from pkcs_import.sealing import Binding, new_uid
from pkcs_import.trust import Trust
from pkcs_import.workshop_messages import Message
from signetry.archive_client import ArchiveClient
from signetry.archive_keystore import open_archive_keystores
from signetry.archive_messages import Question, question
from signetry.archive_process import Archive
from signetry.house import House

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """A key with its certificate, and under which number the archive has it."""

    key: PrivateKey
    certificate: x509.Certificate
    archived: int


def certificate_of(key: PrivateKey, email: str, not_before: datetime, not_after: datetime) -> x509.Certificate:
    """Return a self-signed encryption certificate for an address."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, email.partition("@")[0])])
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=is_rsa,
        data_encipherment=False,
        key_agreement=not is_rsa,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(email)]), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(key, hashes.SHA256())
    )


def archive_history(house: House, email: str, keys: Sequence[PrivateKey]) -> list[Identity]:
    """Put a person's encryption keys into the archive, sealed as an import seals them, the oldest first, a year each."""
    year, now = timedelta(days=365), house.clock.now()
    kept = []
    for age, key in zip(range(len(keys) - 1, -1, -1), keys, strict=True):
        begin = now - age * year - timedelta(days=1)
        certificate = certificate_of(key, email, begin, begin + year)
        kept.append(Identity(key, certificate, _archived(house, email, key, certificate)))
    return kept


def _archived(house: House, email: str, key: PrivateKey, certificate: x509.Certificate) -> int:
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    spki = key.public_key().public_bytes(serialization.Encoding.DER, public)
    pkcs8 = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    der = certificate.public_bytes(serialization.Encoding.DER)

    def act(session: Session) -> int:
        person = PersonId(person_named(session, email).id)
        binding = Binding(new_uid(), person, hashlib.sha256(spki).hexdigest())
        sealed = current_archive_key(session).seal(pkcs8, binding)
        new = NewCertificate(
            der=der,
            sha256=hashlib.sha256(der).hexdigest(),
            chain=(),
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            purpose=Purpose.ENCRYPTION,
            trust=Trust.UNKNOWN,
        )
        algorithm = f"rsa{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else key.curve.name
        new_key = NewKey(binding, sealed, algorithm, Origin.IMPORTED)
        now, listeners = house.clock.now(), house.kept_listeners
        return keep(session, new_key, [new], actor=house.actor, now=now, listeners=listeners)[0]

    return house.transactions.write(act)


class ArchiveHere(ArchiveClient):
    """The archive process's answers, worked out in this process under the clock of ``house``."""

    def __init__(self, house: House) -> None:
        super().__init__(house.settings, may_start=False)
        self._opener = Opener(open_archive_keystores(house.settings))
        self._archive = Archive(house.settings, house.transactions, house.clock, self._opener)

    def close(self) -> None:
        """Let go of the archive's keys."""
        self._opener.close()

    def _ask(self, asked: Question) -> Message:
        return self._archive.answer(question(asked))
