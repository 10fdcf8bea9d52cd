"""The LDAP directories of an installation: made from the settings, told what happens, worked off by a job each."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial

from sqlmodel import Session, col, select

from audit.log import Actor
from ca.authorisation import CaName
from ca.issuance import IssuedCertificate, IssuingAuthority
from ca.keys import KeyStore
from ca.records import Certificate, CertificationAuthority
from ca.revocation import RevokedCertificate
from crl import publication
from foundation.clock import Clock
from foundation.transactions import Transactions
from ldap_publish import outbox, standing
from ldap_publish.checking import Checker
from ldap_publish.client import LdapClient
from ldap_publish.directory import Directory, Missing, Server, SmimeAttribute
from ldap_publish.errors import UnknownDirectory
from ldap_publish.foreign import ForeignSource
from ldap_publish.outbox import Subject
from ldap_publish.publication_keys import PublicationKeys, create_publication_key, is_publication_key_due
from ldap_publish.publishing import Publisher
from ldap_publish.records import SubjectKind
from ldap_publish.subjects import Sources
from ldap_publish.template import DnTemplate
from ldap_publish.wanted import profiles_of
from people.person import PersonRecord
from pkcs_import.keeping import Kept
from pkcs_import.purpose import Purpose
from signetry.directory_settings import DirectorySettings
from signetry.files import read_secret
from signetry.jobs import Job
from signetry.pfx_publication import unpublished

_KEYS_LOOKED_AT_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Directories:
    """The directories of the settings, by name, and what publication to them needs.

    ``issuers`` says which are the authorities whose persons' values are signed; ``authority`` loads one with its key; ``foreign``
    knows of the certificates of others that are published.
    """

    configured: Mapping[str, Directory]
    transactions: Transactions
    clock: Clock
    keystore: KeyStore
    actor: Actor
    authority: Callable[[CaName], IssuingAuthority]
    issuers: Callable[[Session], Collection[CaName]]
    foreign: ForeignSource
    _at_work: list[Publisher] = field(default_factory=list, init=False, repr=False)

    @cached_property
    def sources(self) -> Sources:
        """What the room takes from elsewhere."""
        return Sources(crl=_newest_crl, signer=PublicationKeys(self.keystore).signer, withheld=unpublished, foreign=self.foreign)

    def named(self, name: str) -> Directory:
        """Return a directory.

        Raises:
            UnknownDirectory: none is configured under this name.
        """
        if name not in self.configured:
            known = ", ".join(sorted(self.configured)) or "none"
            raise UnknownDirectory(f"there is no directory {name!r}; configured are {known}")
        return self.configured[name]

    def publisher(self, name: str) -> Publisher:
        """Return what publishes to a directory, for the caller to close. Raises UnknownDirectory."""
        return Publisher(self.named(name), LdapClient, self.transactions, self.clock, self.sources)

    def checker(self, name: str) -> Checker:
        """Return what compares a directory with the records, for the caller to close. Raises UnknownDirectory."""
        directory = self.named(name)
        return Checker(directory, LdapClient(directory.server), self.transactions, self.clock, self.sources)

    def take_note(self) -> list[str]:
        """Owe everything to directories that are new, or configured otherwise than before; return which. Run at each start."""
        now = self.clock.now()
        return self.transactions.write(lambda session: standing.take_note(session, self.configured.values(), now, self.foreign))

    def issued(self, session: Session, issued: IssuedCertificate) -> None:
        """Owe what follows from a new certificate: a listener of issuance."""
        if issued.person is not None:
            self._owe_person(session, issued.person, issued.certificate.profile)
        elif issued.certifies is not None:
            self.authority_changed(session, issued.certifies)

    def revoked(self, session: Session, revoked: RevokedCertificate) -> None:
        """Owe what follows from a revocation, a hold or a release: a listener of revocation."""
        if revoked.person_id is not None:
            self._owe_person(session, revoked.person_id, revoked.profile)
        elif revoked.device_id is None and self._with_authorities:
            query = select(Certificate.certifies_id).where(col(Certificate.id) == revoked.certificate_id)
            certifies = session.exec(query).one_or_none()
            if certifies is not None:
                self.authority_changed(session, certifies)

    def authority_changed(self, session: Session, authority_id: int) -> None:
        """Owe what follows from an authority's new certificate or CRL: a listener of CRL publication."""
        outbox.owe(session, self._with_authorities, Subject(SubjectKind.AUTHORITY, authority_id), self.clock.now())

    def person_changed(self, session: Session, person: PersonRecord) -> None:
        """Owe what follows from a change of a person, whose entry may be another one now: a listener of such changes."""
        outbox.owe_again(session, self.configured, Subject(SubjectKind.PERSON, person.id), self.clock.now())

    def kept(self, session: Session, kept: Kept) -> None:
        """Owe what follows from a certificate of another authority whose key is archived: a listener of the archive."""
        certificate = kept.certificate
        if certificate.certificate_id is None and certificate.purpose in (Purpose.ENCRYPTION, Purpose.BOTH):
            outbox.owe(session, self.configured, Subject(SubjectKind.PERSON, kept.person), self.clock.now())

    def released(self, session: Session, person_id: int) -> None:
        """Owe what follows from a certificate's being held back no more: a listener of ``publication_holds``."""
        outbox.owe(session, self.configured, Subject(SubjectKind.PERSON, person_id), self.clock.now())

    def jobs(self) -> list[Job]:
        """Return what the worker does: a job for each directory, and one for the keys where anything is signed."""
        publishers = [self.publisher(name) for name in self.configured]
        self._at_work.extend(publishers)
        jobs = [self._job(publisher) for publisher in publishers]
        if self._with_signatures:
            jobs.append(Job("ldap-publication-keys", run=self.renew_publication_keys, next_due=self.next_look_at_keys))
        return jobs

    def close(self) -> None:
        """Hang up on all directories that jobs have talked to."""
        while self._at_work:
            self._at_work.pop().close()

    def renew_publication_keys(self) -> int:
        """Make the publication keys that are due, and owe everybody the new signature; return how many were made."""
        with self.transactions.reading() as session:
            names = sorted(self.issuers(session))
        return sum(self._renew_publication_key(self.authority(name)) for name in names)

    def next_look_at_keys(self, session: Session) -> datetime:
        """Return when the publication keys must be looked at: at once where one is missing, revoked or near its end."""
        now = self.clock.now()
        query = select(CertificationAuthority.id).where(col(CertificationAuthority.name).in_(self.issuers(session)))
        due = any(is_publication_key_due(session, number, now=now) for number in session.exec(query) if number is not None)
        return now if due else now + _KEYS_LOOKED_AT_EVERY

    def _job(self, publisher: Publisher) -> Job:
        return Job(f"ldap:{publisher.directory.name}", run=lambda: publisher.run().settled, next_due=publisher.next_due)

    def _renew_publication_key(self, authority: IssuingAuthority) -> bool:
        now = self.clock.now()

        def renew(session: Session) -> bool:
            if not is_publication_key_due(session, authority.id, now=now):
                return False
            create_publication_key(session, self.keystore, authority, actor=self.actor, now=now)
            for directory in self._with_signatures:
                outbox.owe_persons(session, directory, now, self.foreign)
            return True

        return self.transactions.write(renew)

    def _owe_person(self, session: Session, person_id: int, profile: str) -> None:
        names = self._by_profile.get(profile, ())
        if names:
            outbox.owe(session, names, Subject(SubjectKind.PERSON, person_id), self.clock.now())

    @cached_property
    def _by_profile(self) -> dict[str, tuple[str, ...]]:
        published = {name: profiles_of(directory.publish) for name, directory in self.configured.items()}
        profiles = {profile for each in published.values() for profile in each}
        return {profile: tuple(name for name, each in published.items() if profile in each) for profile in profiles}

    @cached_property
    def _with_authorities(self) -> tuple[str, ...]:
        return tuple(name for name, directory in self.configured.items() if directory.authority_base)

    @cached_property
    def _with_signatures(self) -> tuple[Directory, ...]:
        return tuple(each for each in self.configured.values() if each.smime_attribute is SmimeAttribute.SIGNED)


def directory(name: str, configured: DirectorySettings) -> Directory:
    """Return a directory as it is configured; its password file is read whenever somebody logs on, not before."""
    return Directory(
        name=name,
        kind=configured.kind,
        server=Server(
            host=configured.host,
            port=configured.port,
            security=configured.security,
            bind_dn=configured.bind_dn,
            password=partial(_password, configured, f"directories.{name}.password_file"),
            ca_file=configured.ca_file,
            timeout_seconds=configured.timeout_seconds,
        ),
        search_base=configured.search_base,
        search_filter=configured.filter,
        publish=configured.publish,
        smime_attribute=configured.smime_attribute,
        authority_base=configured.authority_base,
        missing=configured.missing,
        create_dn=DnTemplate(configured.create_dn) if configured.missing is Missing.CREATE else None,
        create_classes=configured.classes,
    )


def _password(configured: DirectorySettings, setting: str) -> str:
    return read_secret(configured.password_file, setting).decode()


def _newest_crl(session: Session, authority_id: int) -> bytes | None:
    head = publication.current(session, authority_id)
    return None if head is None else publication.encoded(session, head.id)
