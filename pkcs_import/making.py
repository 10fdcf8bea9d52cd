"""Certificates for encrypting mail whose keys are made here: for a person, the first one, a new one, or one in another's place.

The key pair is made in a process of its own (``workshop``), which hands out the public half and the private one sealed to the
archive. The certificate is built outside the transaction that records everything: certificate, archived key, audit events, what
is owed for them, and that the certificate is not published yet where devices wait for its key (``publication_holds``).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from sqlmodel import Session

from audit.log import Actor
from ca import issuance
from ca.authorisation import Authorisation, PersonId, SubjectNames
from ca.certificate import BuiltCertificate
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import KeyAlgorithm, PublicKey
from ca.profiles import SMIME_ENCRYPTION, CertificateProfile
from ca.subject import Organisation, alternative_names, subject_name
from foundation.clock import Clock
from foundation.transactions import Transactions
from people.activity import Inactive, hold_person, require_active
from people.person import PersonRecord
from people.persons import get_person
from pkcs_import.archive_keys import current_archive_key
from pkcs_import.encryption_certificates import EncryptionCertificate, current, newest_made
from pkcs_import.escrow import require_certificate_for_escrow, require_profile_for_escrow
from pkcs_import.keeping import KeptListener, NewCertificate, NewKey, Origin, keep
from pkcs_import.publication_holds import Holds
from pkcs_import.purpose import Purpose
from pkcs_import.sealing import ArchivePublicKey
from pkcs_import.trust import Trust
from pkcs_import.workshop import MadeKey


class KeyMaker(Protocol):
    """Where key pairs are made: ``workshop.Workshop``."""

    def make(self, algorithm: KeyAlgorithm, person: int, archive: ArchivePublicKey) -> MadeKey:
        """Make a key pair for a person, its private half sealed to the archive."""
        ...


class Demand(StrEnum):
    """When somebody is to get a new key."""

    WITHOUT = "without"
    """If they have no current certificate for encryption in the archive, made here or imported."""
    RENEWAL = "renewal"
    """If the one named is still the newest that was made here for them, and not revoked."""
    REPLACING = "replacing"
    """If they have no other current one than the one named."""


class Outcome(StrEnum):
    """What became of an order."""

    ISSUED = "issued"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Order:
    """Who is to get a key, and when; ``instead_of`` is the serial number of the certificate that the demand names."""

    person: PersonId
    demand: Demand = Demand.WITHOUT
    instead_of: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate whose key was made here, as listeners see it: before the commit.

    ``replaces`` is the newest that was made for the person before. ``held_until`` says until when it is published nowhere.
    """

    person: PersonRecord
    certificate_id: int
    certificate: BuiltCertificate
    replaces: EncryptionCertificate | None
    held_until: datetime | None


MadeListener = Callable[[Session, Made], None]


@dataclass(frozen=True, slots=True)
class Making:
    """What became of an order: the certificate that the person has now, and how it stands with its publication."""

    outcome: Outcome
    person: PersonRecord
    serial: str
    origin: Origin
    not_after: datetime
    held_until: datetime | None = None


@dataclass(frozen=True)
class Maker:
    """Makes keys and certificates for persons. Threads may share it.

    Attributes:
        transactions, clock, actor: what it works with, and in whose name.
        keys: where key pairs are made.
        authority: returns the authority that issues now.
        algorithm: of the key pairs.
        holds: what holds back the certificates of those whose devices wait.
        organisation: that of sponsor-validated subjects.
        issued, kept, made: who is told of each certificate, each archived key, and both together.
        profile: of the certificates.
    """

    transactions: Transactions
    clock: Clock
    actor: Actor
    keys: KeyMaker
    authority: Callable[[], IssuingAuthority]
    algorithm: KeyAlgorithm
    holds: Holds
    organisation: Organisation | None = None
    issued: Sequence[IssuanceListener] = ()
    kept: Sequence[KeptListener] = ()
    made: Sequence[MadeListener] = ()
    profile: CertificateProfile = field(default=SMIME_ENCRYPTION)

    def rehearse(self, session: Session, order: Order) -> Making | None:
        """Say what ``make`` would do: the certificate that the person has and keeps; None where they would get one.

        Raises:
            UnknownPerson, Inactive, NamesMissing, NoArchiveKey, NotForEscrow: as ``make``.
        """
        require_profile_for_escrow(self.profile)
        person = _active(session, order.person)
        names = names_for_escrow(person)
        subject_name(self.profile, names, self.organisation)
        alternative_names(self.profile, names)
        current_archive_key(session)
        return self._present(session, order, person)

    def make(self, order: Order) -> Making:
        """Make a person a key and certify it, if ``order`` asks for one as things are.

        Raises:
            UnknownPerson: there is none of this number.
            Inactive: the person is not active.
            NamesMissing: the record has no mail address to certify.
            NoArchiveKey: there is nothing to seal private keys to.
            NotForEscrow: the profile is for something else as well.
            WorkshopUnavailable: no process is to be had that makes keys.
            UnknownAuthority, KeyUnavailable, IssuerNotValid, ProfileNotAllowed: the authority cannot issue it.
        """
        with self.transactions.reading() as session:
            present = self.rehearse(session, order)
            if present is not None:
                return present
            person = get_person(session, order.person)
            archive = current_archive_key(session)
        authority, now = self.authority(), self.clock.now()
        key = self.keys.make(self.algorithm, person.id, archive)
        names = names_for_escrow(person)
        built = issuance.build(authority, self.profile, names, key.public_key, now=now, organisation=self.organisation)
        require_certificate_for_escrow(x509.load_der_x509_certificate(built.der))
        return self.transactions.write(lambda session: self._record(session, order, key, authority, built, now))

    def _record(
        self, session: Session, order: Order, key: MadeKey, authority: IssuingAuthority, built: BuiltCertificate, now: datetime
    ) -> Making:
        # Somebody else may make one for the same person at this moment: the second one finds it.
        hold_person(session, order.person)
        person = _active(session, order.person)
        require_active(session, person=person.id, device=None)
        present = self._present(session, order, person)
        if present is not None:
            return present
        before = newest_made(session, [order.person]).get(order.person)
        authorisation = Authorisation(
            profile=built.profile,
            names=names_for_escrow(person),
            granted_by="a key made here" if before is None else f"a key made here, in the place of {before.serial}",
            person=order.person,
            renews=before.certificate_id if before else None,
        )
        certificate_id = issuance.record(
            session,
            built,
            authority=authority,
            authorisation=authorisation,
            actor=self.actor,
            now=now,
            listeners=self.issued,
        )
        sealed = NewKey(key.binding, key.sealed, algorithm_text(key.public_key), Origin.MADE)
        certificate = _kept_certificate(built, authority, certificate_id)
        key_id, _ = keep(session, sealed, [certificate], actor=self.actor, now=now, listeners=self.kept)
        held_until = self.holds.hold(session, order.person, key_id, certificate_id, now)
        made = Made(person, certificate_id, built, before, held_until)
        for listener in self.made:
            listener(session, made)
        return Making(Outcome.ISSUED, person, built.serial, Origin.MADE, built.not_after, held_until)

    def _present(self, session: Session, order: Order, person: PersonRecord) -> Making | None:
        """Return what the person has and keeps, None where the order asks for a new key."""
        if order.demand is Demand.RENEWAL:
            newest = newest_made(session, [order.person]).get(order.person)
            if newest is None or (newest.serial == order.instead_of and not newest.is_revoked):
                return None
            return _making(person, newest)
        found = current(session, [order.person], self.clock.now()).get(order.person, [])
        # One serial number is spelt with leading zeros here and without them there.
        is_named = bool(found) and found[0].serial.lstrip("0") == order.instead_of.lstrip("0")
        if not found or (order.demand is Demand.REPLACING and is_named):
            return None
        return _making(person, found[0])


def names_for_escrow(person: PersonRecord) -> SubjectNames:
    """Return what a person is certified under here: mail addresses and the name, nothing that stands for an account."""
    return SubjectNames(
        display_name=person.display_name,
        given_name=person.given_name,
        surname=person.surname,
        emails=(person.email, *person.aliases),
    )


def algorithm_text(key: PublicKey) -> str:
    """Return how the archive calls the kind of a key: ``rsa3072``, ``secp256r1``."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"rsa{key.key_size}"
    return key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else "ed25519"


def _active(session: Session, number: PersonId) -> PersonRecord:
    person = get_person(session, number)
    if not person.active:
        raise Inactive("the person is not active")
    return person


def _making(person: PersonRecord, found: EncryptionCertificate) -> Making:
    return Making(Outcome.PRESENT, person, found.serial, found.origin, found.not_after)


def _kept_certificate(built: BuiltCertificate, authority: IssuingAuthority, certificate_id: int) -> NewCertificate:
    return NewCertificate(
        der=built.der,
        sha256=hashlib.sha256(built.der).hexdigest(),
        chain=(authority.certificate_der, *authority.chain),
        subject=built.subject,
        issuer=authority.certificate.subject.rfc4514_string(),
        serial=built.serial,
        not_before=built.not_before,
        not_after=built.not_after,
        purpose=Purpose.ENCRYPTION,
        trust=Trust.OURS,
        certificate_id=certificate_id,
    )
