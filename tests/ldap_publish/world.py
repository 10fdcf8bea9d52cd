"""Persons with certificates in a database, a directory beside it, and what publishes from the one to the other."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert, select
from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.issuance import IssuedCertificate, IssuingAuthority, build, record
from ca.keys import KeyAlgorithm
from ca.profiles import SMIME_DUAL, profile_named
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason, RevokedCertificate, release, revoke
from foundation.tables import table_of
from ldap_publish import outbox, standing
from ldap_publish.checking import Checker, Difference
from ldap_publish.directory import (
    Directory,
    DirectoryKind,
    Missing,
    Security,
    Server,
)
from ldap_publish.outbox import Subject
from ldap_publish.publishing import Batch, Publisher
from ldap_publish.records import OwedEntry, PublishedValue, SubjectKind
from ldap_publish.status import Backlog, DirectoryReport, backlog, report
from ldap_publish.subjects import Sources
from ldap_publish.template import DnTemplate, FilterTemplate
from people.person import PersonFields, PersonRecord
from people.persons import add_person, change_person
from signetry.database import Database
from tests.ca.keystores import shared_key
from tests.clocks import ManualClock
from tests.ldap_publish.fake import FakeDirectory

ACTOR = Actor("test:ldap")
PEOPLE = "ou=people,dc=example,dc=com"
AUTHORITIES = "ou=authorities,dc=example,dc=com"
CREATED = DnTemplate(f"cn={{display_name}},{PEOPLE}")

_CERTIFICATE = table_of(Certificate)
_OWED = table_of(OwedEntry)
_PUBLISHED = table_of(PublishedValue)


def directory_of(kind: DirectoryKind = DirectoryKind.OPENLDAP, name: str = "main") -> Directory:
    """Return a directory that nobody listens behind."""
    server = Server("127.0.0.1", 9, Security.NONE, "cn=signetry", lambda: "secret", Path("/none"))
    return Directory(name=name, kind=kind, server=server, search_base=PEOPLE, search_filter=FilterTemplate("(mail={email})"))


def creating(directory: Directory) -> Directory:
    """Return the directory as one that entries are created in."""
    classes = (directory.dialect.person_class,)
    return replace(directory, missing=Missing.CREATE, create_dn=CREATED, create_classes=classes)


class World:
    """Two authorities and their persons; every act owes what it owes, as the composition root would have it."""

    def __init__(self, store: Database, clock: ManualClock, root: IssuingAuthority, issuing: IssuingAuthority) -> None:
        self.store = store
        self.clock = clock
        self.issuing = issuing
        self.fake = FakeDirectory()
        self.directory = directory_of()
        self.crls: dict[int, bytes] = {}
        self.sources = Sources(crl=lambda _session, authority: self.crls.get(authority), signer=lambda *_: None)
        self._publishers: list[Publisher] = []

        def authorities(session: Session) -> None:
            for authority, issuer in ((root, None), (issuing, root)):
                session.execute(
                    insert(CertificationAuthority).values(
                        id=authority.id,
                        name=authority.name,
                        issuer_id=issuer and issuer.id,
                        key_reference=authority.name,
                        key_algorithm="p256",
                        created_at=clock.now(),
                    )
                )
                self._store_authority(session, authority, issuer or authority)

        store.write(authorities)

    def use(self, directory: Directory) -> Directory:
        """Publish to another directory from now on."""
        self.directory = directory
        self.fake.kind = directory.kind
        self._publishers.clear()
        return directory

    def note(self) -> list[str]:
        """Take note of the directory, as the service does at its start."""
        return self.store.write(lambda session: standing.take_note(session, [self.directory], self.clock.now()))

    def add(self, name: str = "alice", **fields: str) -> PersonRecord:
        """Record a person."""
        given = {"upn": f"{name}@corp.example.com", "email": f"{name}@example.com", "display_name": name} | fields
        return self.store.write(
            lambda session: add_person(session, PersonFields(**given), actor=ACTOR, now=self.clock.now())  # type: ignore[arg-type]
        )

    def change(self, person: PersonRecord, **fields: str) -> PersonRecord:
        """Change what is recorded of a person."""

        def owe(session: Session, changed: PersonRecord) -> None:
            subject = Subject(SubjectKind.PERSON, changed.id)
            outbox.owe_again(session, [self.directory.name], subject, self.clock.now())

        wanted = replace(person.fields, **fields)  # type: ignore[arg-type] # names of fields, all of them text
        now = self.clock.now()
        return self.store.write(lambda session: change_person(session, person.id, wanted, actor=ACTOR, now=now, listeners=[owe]))

    def issue(
        self,
        person: PersonRecord,
        profile: ProfileName = SMIME_DUAL.name,
        *,
        device: int | None = None,
        renews: int | None = None,
        validity: timedelta | None = None,
    ) -> int:
        """Issue a certificate to a person; return its number."""
        names = SubjectNames(display_name=person.display_name, upn=person.upn, emails=(person.email,))
        key, now = shared_key(KeyAlgorithm.P256, 200).public_key(), self.clock.now()
        built = build(self.issuing, profile_named(profile), names, key, now=now, validity=validity)
        holder = None if device is None else DeviceId(device)
        authorisation = Authorisation(profile, names, "test", PersonId(person.id), holder, renews=renews)

        def owe(session: Session, issued: IssuedCertificate) -> None:
            self._owe(session, issued.person)

        return self.store.write(
            lambda session: record(
                session, built, authority=self.issuing, authorisation=authorisation, actor=ACTOR, now=now, listeners=[owe]
            )
        )

    def revoke(self, *numbers: int, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        """Revoke certificates."""
        now = self.clock.now()
        self.store.write(lambda session: revoke(session, numbers, reason, actor=ACTOR, now=now, listeners=[self._revoked]))

    def release(self, *numbers: int) -> None:
        """Take certificates off hold."""
        now = self.clock.now()
        self.store.write(lambda session: release(session, numbers, actor=ACTOR, now=now, listeners=[self._revoked]))

    def new_crl(self, authority_id: int, der: bytes) -> None:
        """Give an authority a CRL."""
        self.crls[authority_id] = der
        self.owe(Subject(SubjectKind.AUTHORITY, authority_id))

    def owe(self, subject: Subject) -> None:
        """Owe the directory a look."""
        self.store.write(lambda session: outbox.owe(session, [self.directory.name], subject, self.clock.now()))

    def owe_again(self) -> None:
        """Owe the directory everything."""
        self.store.write(lambda session: outbox.owe_everything(session, self.directory, self.clock.now()))

    def der(self, number: int) -> bytes:
        """Return a certificate."""
        with self.store.reading() as session:
            found: bytes = session.execute(select(_CERTIFICATE.c.der).where(_CERTIFICATE.c.id == number)).scalar_one()
        return found

    def publisher(self, directory: Directory | None = None) -> Publisher:
        """Return what publishes."""
        return Publisher(directory or self.directory, self.fake.connect, self.store, self.clock, self.sources, connections=1)

    def run(self) -> Batch:
        """Work off a batch."""
        if not self._publishers:
            self._publishers.append(self.publisher())
        return self._publishers[0].run()

    def check(self) -> list[Difference]:
        """Compare directory and records."""
        checker = Checker(self.directory, self.fake, self.store, self.clock, self.sources)
        return list(checker.differences(checker.everybody()))

    def backlog(self) -> Backlog:
        """Return what the directory is owed."""
        with self.store.reading() as session:
            return next(each for each in backlog(session, self.clock.now()) if each.directory == self.directory.name)

    def report(self) -> DirectoryReport:
        """Return how the directory fares."""
        with self.store.reading() as session:
            (found,) = report(session, {self.directory.name: self.directory}, self.clock.now())
        return found

    def next_due(self) -> object:
        """Return when there will be something to do."""
        with self.store.reading() as session:
            return outbox.next_due(session, self.directory.name, self.clock.now())

    def placed(self) -> set[tuple[str, str]]:
        """Return what is on record as ours: DN and attribute."""
        with self.store.reading() as session:
            return {(row.dn, row.attribute) for row in session.execute(select(_PUBLISHED))}

    def certificates(self, dn: str) -> list[bytes]:
        """Return what stands in a person's userCertificate."""
        return self.fake.values(dn, self.directory.dialect.user_certificate)

    def _owe(self, session: Session, person: int | None) -> None:
        if person is not None:
            outbox.owe(session, [self.directory.name], Subject(SubjectKind.PERSON, person), self.clock.now())

    def _revoked(self, session: Session, revoked: RevokedCertificate) -> None:
        self._owe(session, revoked.person_id)

    def _store_authority(self, session: Session, authority: IssuingAuthority, issuer: IssuingAuthority) -> None:
        certificate = authority.certificate
        session.execute(
            insert(Certificate).values(
                authority_id=issuer.id,
                serial=f"{certificate.serial_number:x}",
                profile="issuing-ca",
                subject=certificate.subject.rfc4514_string(),
                certifies_id=authority.id,
                spki_sha256="0" * 64,
                not_before=certificate.not_valid_before_utc,
                not_after=certificate.not_valid_after_utc,
                issued_at=self.clock.now(),
                der=certificate.public_bytes(Encoding.DER),
            )
        )
