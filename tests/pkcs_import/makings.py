"""Persons who get keys that are made here: authorities, the archive's key, and a workshop in this process."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count

from cryptography.hazmat.primitives import serialization
from sqlalchemy import insert, select
from sqlmodel import Session, col

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import Authorisation, DeviceId, PersonId, ProfileName, SubjectNames
from ca.issuance import IssuingAuthority, build, record
from ca.keys import KeyAlgorithm
from ca.profiles import SMIME_DUAL, profile_named
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevocationReason, revoke
from foundation.tables import table_of
from people.devices import DeviceFields, add_device, deactivate_device
from people.person import PersonFields, PersonRecord
from people.persons import add_person
from pkcs_import import delivery
from pkcs_import.archive import DeliveryOrder, PackedKey
from pkcs_import.archive_keys import record_archive_key
from pkcs_import.delivery import Method
from pkcs_import.keeping import Kept, NewCertificate, NewKey, Origin, keep
from pkcs_import.making import Made, Maker, Making, Order
from pkcs_import.packing import Encoding
from pkcs_import.publication_holds import Holds, certificate_ids
from pkcs_import.purpose import Purpose
from pkcs_import.sealing import ArchivePrivateKey, ArchivePublicKey, Binding, SealedKey, new_uid
from pkcs_import.trust import Trust
from pkcs_import.workshop import MadeKey
from signetry.database import Database
from tests.ca.keystores import shared_key
from tests.clocks import ManualClock

ACTOR = Actor("test:making")
_AUTHORITY = table_of(CertificationAuthority)
_CERTIFICATE = table_of(Certificate)


class WorkshopHere:
    """Makes keys as the workshop does, in this process; ``meanwhile`` runs while one is being made."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.made: list[bytes] = []
        self._which = count(500)

    def make(self, algorithm: KeyAlgorithm, person: int, archive: ArchivePublicKey) -> MadeKey:
        """Make a key pair."""
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        key = shared_key(algorithm, next(self._which))
        spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        pkcs8 = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.made.append(pkcs8)
        binding = Binding(new_uid(), person, hashlib.sha256(spki).hexdigest())
        return MadeKey(key.public_key(), binding, archive.seal(pkcs8, binding))


@dataclass
class Makings:
    """A store with an issuing CA, an archive key and Alice; what listeners are told is kept."""

    store: Database
    clock: ManualClock
    issuing: IssuingAuthority
    archive_key: ArchivePrivateKey
    alice: PersonRecord = field(init=False)
    workshop: WorkshopHere = field(default_factory=WorkshopHere)
    withheld: set[int] = field(default_factory=set)
    issued: list[int] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    told: list[Made] = field(default_factory=list)
    released: list[PersonId] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Record what is there from the start."""

        def prepare(session: Session) -> None:
            authority = {
                "id": self.issuing.id,
                "name": self.issuing.name,
                "key_reference": "issuing",
                "key_algorithm": "p256",
                "created_at": self.clock.now(),
            }
            session.execute(insert(_AUTHORITY).values(authority))
            record_archive_key(session, self.archive_key.public_key(), "archive-1", actor=ACTOR, now=self.clock.now())

        self.store.write(prepare)
        self.alice = self.person("alice")

    @property
    def alice_id(self) -> PersonId:
        """Alice's number."""
        return PersonId(self.alice.id)

    @property
    def holds(self) -> Holds:
        """What holds back."""
        return Holds(ACTOR, timedelta(days=30), lambda _session: self.withheld, (lambda _, person: self.released.append(person),))

    @property
    def maker(self) -> Maker:
        """What makes keys."""
        return Maker(
            transactions=self.store,
            clock=self.clock,
            actor=ACTOR,
            keys=self.workshop,
            authority=lambda: self.issuing,
            algorithm=KeyAlgorithm.P256,
            holds=self.holds,
            issued=(lambda _, issued: self.issued.append(issued.id),),
            kept=(lambda _, kept: self.kept.append(kept),),
            made=(lambda _, made: self.told.append(made),),
        )

    def make(self, order: Order | None = None, **changes: object) -> Making:
        """Make Alice a key, or carry out another order."""
        return replace(self.maker, **changes).make(order or Order(self.alice_id))  # type: ignore[arg-type] # a maker's fields

    def person(self, name: str, **fields: str) -> PersonRecord:
        """Record somebody."""
        given = {"upn": f"{name}@corp.example.com", "email": f"{name}@example.com", "display_name": name} | fields
        return self.store.write(
            lambda session: add_person(session, PersonFields(**given), actor=ACTOR, now=self.clock.now())  # type: ignore[arg-type]
        )

    def device(self, name: str = "phone", mdm_id: str | None = None) -> int:
        """Record a device of Alice's."""
        fields = DeviceFields(name=name, owner=self.alice.upn, mdm_id=mdm_id)
        return self.store.write(lambda session: add_device(session, fields, actor=ACTOR, now=self.clock.now())).id

    def deactivate(self, device: int) -> None:
        """Take a device out of service."""
        self.store.write(lambda session: deactivate_device(session, device, actor=ACTOR, now=self.clock.now()))

    def deliver(self, device: int | None, method: Method = Method.FILE) -> None:
        """Hand all of Alice's keys to a device of hers, or to Intune; what follows from it is done."""
        now = self.clock.now()
        order = DeliveryOrder(
            person=self.alice_id,
            device=device,
            method=method,
            encoding=Encoding.MODERN,
            ordered_by=ACTOR.name,
            expires_at=now + timedelta(days=1),
        )

        def act(session: Session) -> None:
            keys = delivery.admit(session, order, now)
            packed = PackedKey("keys.p12", b"-", tuple(key.id for key in keys), tuple("-" for _ in keys))
            number = delivery.record(session, order, [packed], actor=ACTOR, now=now)
            delivery.hand(session, number, actor=ACTOR, now=now, listeners=[self._handed])

        self.store.write(act)

    def enrol(self, device: int, profile: ProfileName = SMIME_DUAL.name) -> int:
        """Issue Alice a certificate for a key of a device's own; return its number."""
        names = SubjectNames(display_name="Alice", upn=self.alice.upn, emails=(self.alice.email,))
        key = shared_key(KeyAlgorithm.P256, 400).public_key()
        built = build(self.issuing, profile_named(profile), names, key, now=self.clock.now())
        authorisation = Authorisation(profile, names, "test", self.alice_id, DeviceId(device))
        return self.store.write(
            lambda session: record(
                session, built, authority=self.issuing, authorisation=authorisation, actor=ACTOR, now=self.clock.now()
            )
        )

    def import_certificate(
        self, label: str = "imported", *, begins: int = -10, ends: int = 300, purpose: Purpose = Purpose.ENCRYPTION
    ) -> int:
        """Put a key of Alice's with another authority's certificate into the archive; the times are days from now."""
        now = self.clock.now()
        digest = hashlib.sha256(label.encode()).hexdigest()
        key = NewKey(Binding(digest[:32], self.alice.id, digest), SealedKey(1, b"-", b"-", b"-"), "rsa2048", Origin.IMPORTED)
        certificate = NewCertificate(
            der=label.encode(),
            sha256=digest,
            chain=(),
            subject=f"CN={label}",
            issuer="CN=Some CA",
            serial=digest[:16],
            not_before=now + timedelta(days=begins),
            not_after=now + timedelta(days=ends),
            purpose=purpose,
            trust=Trust.UNKNOWN,
        )
        return self.store.write(lambda session: keep(session, key, [certificate], actor=ACTOR, now=now))[0]

    def revoke(self, serial: str, reason: RevocationReason = RevocationReason.SUPERSEDED) -> None:
        """Revoke a certificate."""

        def act(session: Session) -> None:
            number = session.scalar(select(_CERTIFICATE.c.id).where(_CERTIFICATE.c.serial == serial))
            assert number is not None
            revoke(session, [number], reason, actor=ACTOR, now=self.clock.now())

        self.store.write(act)

    def held(self) -> set[str]:
        """Return the serial numbers of what is held back."""
        with self.store.reading() as session:
            query = select(_CERTIFICATE.c.serial).where(_CERTIFICATE.c.id.in_(certificate_ids(session)))
            return set(session.scalars(query))

    def events(self, action: str) -> list[AuditEvent]:
        """Return what the audit record says of one kind of act."""
        with self.store.reading() as session:
            query = select(AuditEvent).where(col(AuditEvent.action) == action).order_by(col(AuditEvent.id))
            return list(session.scalars(query))

    def _handed(self, session: Session, handed: delivery.Handed) -> None:
        self.holds.review(session, handed.person, self.clock.now())
