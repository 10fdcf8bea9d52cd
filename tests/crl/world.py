"""A root and an issuing CA in a database, and certificates they issued: what revocation and publication act on."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import insert
from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import CaName
from ca.certificate import new_serial
from ca.errors import KeyUnavailable
from ca.issuance import IssuingAuthority
from ca.keys import PrivateKey, signature_hash
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason, revoke
from ca.selection import by_serial
from crl.publication import Outcome, PublicationSettings, ensure_schedules, publish_due
from foundation.transactions import Transactions
from tests.clocks import ManualClock

ROOT, ISSUING = 1, 2


class World:
    """Both authorities, with keys at hand; ``locked`` names those whose key cannot be used."""

    def __init__(self, transactions: Transactions, clock: ManualClock, root_key: PrivateKey, issuing_key: PrivateKey) -> None:
        self.transactions = transactions
        self.clock = clock
        self.locked: set[int] = set()
        self.settings = PublicationSettings()
        start = clock.now() - timedelta(days=400)
        self.root_certificate = ca_certificate("Root", root_key, "Root", root_key, start)
        self.issuing_certificate = ca_certificate("Issuing CA", issuing_key, "Root", root_key, start)
        self._by_id = {
            ROOT: _authority(ROOT, "root", self.root_certificate, root_key),
            ISSUING: _authority(ISSUING, "issuing", self.issuing_certificate, issuing_key),
        }
        self.issuing_key = issuing_key
        transactions.write(self._store_authorities)

    def authorities(self, authority_id: int) -> IssuingAuthority:
        """Return an authority, as the composition root would."""
        if authority_id in self.locked:
            raise KeyUnavailable("the key is in the safe")
        return self._by_id[authority_id]

    def issue(self, *, person: int | None = None, not_after: datetime | None = None, key: PrivateKey | None = None) -> int:
        """Issue a certificate from the issuing CA and return its row's id."""
        now = self.clock.now()
        issuer, not_before = self.issuing_certificate, now - timedelta(minutes=5)
        certificate = (
            x509.CertificateBuilder(issuer.subject, _name("someone"), (key or self.issuing_key).public_key(), new_serial())
            .not_valid_before(not_before)
            .not_valid_after(not_after or now + timedelta(days=365))
            .sign(self.issuing_key, signature_hash(self.issuing_key))
        )
        return self.transactions.write(lambda session: _store(session, ISSUING, certificate, now, person=person))

    def reissue(self) -> x509.Certificate:
        """Give the issuing CA another certificate over its key."""
        root_key = self._by_id[ROOT].private_key
        newer = ca_certificate("Issuing CA", self.issuing_key, "Root", root_key, self.clock.now())
        self.transactions.write(lambda session: _store(session, ROOT, newer, self.clock.now(), certifies=ISSUING))
        return newer

    def revoke(self, certificate: x509.Certificate, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        """Revoke a certificate."""

        def act(session: Session) -> None:
            now = self.clock.now()
            found = by_serial(session, f"{certificate.serial_number:x}", now=now)
            revoke(session, [found.id], reason, actor=Actor("cli:tester"), now=now)

        self.transactions.write(act)

    def start(self) -> None:
        """Do what the service does at its start."""
        self.transactions.write(lambda session: ensure_schedules(session, self.clock.now()))

    def publish(self) -> list[Outcome]:
        """Publish what is due."""
        return publish_due(self.transactions, self.authorities, self.clock, self.settings)

    def _store_authorities(self, session: Session) -> None:
        now = self.clock.now()
        for authority_id, name, issuer in ((ROOT, "root", None), (ISSUING, "issuing", ROOT)):
            session.execute(
                insert(CertificationAuthority).values(
                    id=authority_id, name=name, issuer_id=issuer, key_reference=name, key_algorithm="p256", created_at=now
                )
            )
        _store(session, ROOT, self.root_certificate, now, certifies=ROOT)
        _store(session, ROOT, self.issuing_certificate, now, certifies=ISSUING)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def ca_certificate(subject: str, key: PrivateKey, issuer: str, issuer_key: PrivateKey, start: datetime) -> x509.Certificate:
    """Return a certification authority's certificate that begins at ``start``."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder(_name(issuer), _name(subject), key.public_key(), new_serial())
        .not_valid_before(start.replace(microsecond=0))
        .not_valid_after(start.replace(microsecond=0) + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(issuer_key, signature_hash(issuer_key))
    )


def _authority(authority_id: int, name: str, certificate: x509.Certificate, key: PrivateKey) -> IssuingAuthority:
    return IssuingAuthority(authority_id, CaName(name), certificate, certificate.public_bytes(Encoding.DER), key)


def _store(
    session: Session,
    authority_id: int,
    certificate: x509.Certificate,
    now: datetime,
    *,
    certifies: int | None = None,
    person: int | None = None,
) -> int:
    done = session.execute(
        insert(Certificate).values(
            authority_id=authority_id,
            serial=f"{certificate.serial_number:032x}",
            profile="test",
            subject=certificate.subject.rfc4514_string(),
            person_id=person,
            certifies_id=certifies,
            spki_sha256="0" * 64,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            issued_at=now,
            der=certificate.public_bytes(Encoding.DER),
        )
    )
    return int(done.inserted_primary_key[0])  # type: ignore[attr-defined]
