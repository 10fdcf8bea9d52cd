"""An installation, opened: everything that commands, requests and jobs work with, put together in one place."""

import os
import pwd
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Self

from sqlmodel import Session

from audit.log import Actor
from ca import hierarchy, ra_keys, reissue
from ca.authorisation import CaName, PersonId, ProfileName
from ca.errors import CertificateAwaited, UnknownAuthority
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import KeyStore
from ca.revocation import RevocationListener, RevokedCertificate
from ca.rows import find_row, id_of
from ca.subject import Organisation
from crl import publication
from crl.publication import Freshness, PublicationSettings
from foundation.clock import Clock, SystemClock
from foundation.errors import NotFound, SignetryError
from foundation.transactions import Transactions
from people.persons import PersonListener
from pkcs_import.delivery import Handed, HandedListener
from pkcs_import.delivery_ends import EndedListener
from pkcs_import.keeping import KeptListener, is_anything_archived
from pkcs_import.publication_holds import Holds
from pkcs_import.workshop import Workshop
from scep import withheld
from scep.endpoint import Endpoint, UnknownEndpoint
from scep.limits import EndpointLimits
from signetry import delivery_mails
from signetry.archive_client import ArchiveClient
from signetry.authorities import Authorities
from signetry.database import Database, open_database
from signetry.directories import Directories, directory
from signetry.instruments import Instruments
from signetry.issuers import needing_ra_keys, published_for
from signetry.keystores import open_keystore
from signetry.notices import Notices
from signetry.pfx_publication import foreign_source
from signetry.settings import Settings, load_settings

# They are renewed a month before their end; besides, every change of the database is an occasion to look.
_RA_KEYS_LOOKED_AT_EVERY = timedelta(hours=1)


class NotInitialised(NotFound):
    """The state directory holds no installation yet, or one whose making was interrupted."""


@dataclass(frozen=True)
class House:
    """Everything a command or a process works with.

    ``actor`` stands in the audit record for whoever acts through this house.
    """

    settings: Settings
    clock: Clock
    database: Database
    keystore: KeyStore
    actor: Actor
    instruments: Instruments = field(default_factory=Instruments)
    # Whether this is a web process or the worker; commands may do more by themselves.
    is_service: bool = False

    @property
    def transactions(self) -> Transactions:
        """The store, as use cases see it."""
        return self.database

    @cached_property
    def authorities(self) -> Authorities:
        """The certification authorities with their keys."""
        return Authorities(
            self.database, self.keystore, self.clock, self.settings.public_url, observer=self.instruments.key_operation
        )

    @cached_property
    def organisation(self) -> Organisation | None:
        """The organisation named in sponsor-validated subjects; None where it is not configured."""
        configured = self.settings.organisation
        if not configured.name:
            return None
        return Organisation(name=configured.name, identifier=configured.identifier, country=configured.country)

    @cached_property
    def endpoints(self) -> dict[str, Endpoint]:
        """The SCEP endpoints by name."""
        return {
            name: Endpoint(
                name=name,
                issuing_ca=CaName(configured.issuing_ca),
                profiles=frozenset(ProfileName(profile) for profile in configured.profiles),
                renew_after=configured.renew_after,
                legacy=configured.legacy,
                museum=configured.museum,
                reply_chain=configured.reply_chain,
                subject_from_request=frozenset(configured.subject_from_request),
                limits=EndpointLimits(
                    requests_per_minute=configured.requests_per_minute,
                    certificates_per_day=configured.certificates_per_day,
                    waiting_at_most=configured.waiting_at_most,
                    waiting_per_address=configured.waiting_per_address,
                ),
                challenge=configured.challenge,
            )
            for name, configured in self.settings.endpoints.items()
        }

    @property
    def issuance_listeners(self) -> tuple[IssuanceListener, ...]:
        """Who owes something for every certificate issued; called in the issuing transaction."""
        return (self.directories.issued,) if self.directories.configured else ()

    @property
    def revocation_listeners(self) -> tuple[RevocationListener, ...]:
        """Who owes something for every certificate revoked, held or released: the authority's CRL, first of all."""
        always = (self._owe_crl, self._publish_instead)
        return (*always, self.directories.revoked) if self.directories.configured else always

    @property
    def person_listeners(self) -> tuple[PersonListener, ...]:
        """Who owes something for every change of what is recorded of a person."""
        return (self.directories.person_changed,) if self.directories.configured else ()

    @property
    def handed_listeners(self) -> tuple[HandedListener, ...]:
        """Who is told that a device holds keys from now on; called in the transaction that notes it."""
        return (self._publish_what_is_held,)

    @property
    def ended_listeners(self) -> tuple[EndedListener, ...]:
        """Who is told of deliveries that are stopped or over; called in the transaction that ends them."""
        return (partial(delivery_mails.call_off, clock=self.clock),)

    @property
    def publication_holds(self) -> Holds:
        """What holds back the publication of certificates made here until devices hold their keys."""
        return Holds(
            actor=self.actor,
            publish_after=timedelta(days=self.settings.archive.publish_after),
            withheld=withheld.certificate_ids,
            listeners=(self.directories.released,) if self.directories.configured else (),
        )

    @property
    def kept_listeners(self) -> tuple[KeptListener, ...]:
        """Who owes something for every certificate that the key archive keeps; called in the transaction that keeps it."""
        return (self.directories.kept,) if self.directories.configured else ()

    @cached_property
    def workshop(self) -> Workshop:
        """The process in which private keys are read and made; it is started when it is needed."""
        return Workshop()

    @cached_property
    def archive(self) -> ArchiveClient:
        """The archive process, which alone opens what is in the key archive; a command starts it where it does not run."""
        return ArchiveClient(self.settings, may_start=not self.is_service)

    @cached_property
    def directories(self) -> Directories:
        """The LDAP directories, and what publication to them needs."""
        return Directories(
            configured={name: directory(name, each) for name, each in self.settings.directories.items()},
            transactions=self.database,
            clock=self.clock,
            keystore=self.keystore,
            actor=self.actor,
            authority=self.authorities.authority,
            issuers=self._published,
            foreign=foreign_source(CaName(self.settings.archive.issuing_ca)),
        )

    @cached_property
    def notices(self) -> Notices:
        """The mails to persons."""
        follow = partial(delivery_mails.follow, handed=self.handed_listeners, ended=self.ended_listeners)
        return Notices(
            settings=self.settings.notices,
            transactions=self.database,
            clock=self.clock,
            actor=self.actor,
            public_url=self.settings.public_url,
            listeners=(partial(follow, actor=self.actor, clock=self.clock),),
        )

    @cached_property
    def publication_settings(self) -> PublicationSettings:
        """How long CRLs are good for, as configured."""
        crl = self.settings.crl
        root = timedelta(days=crl.root_validity_days)
        return PublicationSettings(
            issuing=Freshness(timedelta(hours=crl.validity_hours), timedelta(minutes=crl.interval_minutes)),
            root=Freshness(root, root / 3),
        )

    def endpoint(self, name: str) -> Endpoint:
        """Return a SCEP endpoint.

        Raises:
            UnknownEndpoint: none has this name.
        """
        if name not in self.endpoints:
            raise UnknownEndpoint(f"there is no SCEP endpoint {name!r}; configured are {', '.join(sorted(self.endpoints))}")
        return self.endpoints[name]

    def authority(self, name: str) -> IssuingAuthority:
        """Return a certification authority with its key. Raises UnknownAuthority, KeyUnavailable."""
        return self.authorities.authority(CaName(name))

    def issuing_now(self, name: str) -> IssuingAuthority:
        """Return the CA that issues in the lineage of ``name``, as at an endpoint that names it. Raises as ``authority``."""
        return self.authorities.issuing_now(CaName(name))

    def acting_as(self, actor: Actor) -> Self:
        """Return this house as another actor works with it; what is open, the authorities' keys above all, stays open."""
        other = replace(self, actor=actor)
        other.__dict__["authorities"] = self.authorities
        other.__dict__["directories"] = self.directories
        other.__dict__["archive"] = self.archive
        other.__dict__["workshop"] = self.workshop
        return other

    def publish_crls(self) -> list[publication.Outcome]:
        """Build and publish every CRL that is due."""
        authorities, listeners = self.authorities.crl_issuer, [self.directories.authority_changed]
        return publication.publish_due(self.transactions, authorities, self.clock, self.publication_settings, listeners)

    def reissue(self, name: CaName, session: Session) -> IssuingAuthority:
        """Certify an issuing CA's key again, under today's public URL, in the transaction of ``session``."""
        return reissue.reissue_issuing(
            session,
            self.keystore,
            name,
            self.settings.public_url,
            actor=self.actor,
            now=self.clock.now(),
            listeners=self.issuance_listeners,
        )

    def follow_public_url(self) -> list[CaName]:
        """Re-issue every issuing CA whose certificate still points at an earlier public URL; return which."""
        with self.transactions.reading() as session:
            due = [record.name for record in hierarchy.authorities(session) if self.is_reissue_due(session, record.name)]
        for name in due:
            self.transactions.write(partial(self.reissue, name))
        return due

    def is_reissue_due(self, session: Session, name: CaName) -> bool:
        """Say whether an authority's certificate points at an earlier public URL; one that is revoked is not made again."""
        try:
            return reissue.is_reissue_due(session, name, self.settings.public_url)
        except UnknownAuthority:
            return False

    def require_complete(self) -> None:
        """Return if ``signetry init`` came to its end here.

        Raises:
            NotInitialised: there is no authority yet.
            CertificateAwaited: there is one, and it waits for its certificate.
            SchemaOutdated: the database holds no schema, or another release's.
        """
        self.database.check_schema()
        with self.transactions.reading() as session:
            if any(record.is_ours for record in hierarchy.authorities(session)):
                return
            awaited = hierarchy.awaiting_certificate(session)
        if awaited:
            raise CertificateAwaited(
                f"the issuing CA has no certificate yet: have {self.settings.home / f'{awaited[0]}.csr'} signed by the authority "
                f"above it, then run signetry ca install FILE --name {awaited[0]}"
            )
        raise NotInitialised(f"{self.settings.home} holds no authority yet: run signetry init, it goes on where it stopped")

    def renew_ra_keys(self) -> int:
        """Give every issuing CA of an endpoint whose RA certificate nears its end a new RA key; return how many got one.

        Raises:
            UnknownAuthority, KeyUnavailable: an issuing CA cannot be used; the others have been seen to all the same.
        """
        renewed = 0
        failure: SignetryError | None = None
        with self.transactions.reading() as session:
            needing = {CaName(row.name) for row in needing_ra_keys(session, self._endpoint_authorities)}
            # What the settings name and nobody made has no lineage, and is to be complained of below.
            names = sorted(needing | {name for name in self._endpoint_authorities if find_row(session, name) is None})
        for name in names:
            try:
                authority = self.authorities.authority(name)
                renewed += self.transactions.write(partial(self._renew_ra_key, authority))
            except SignetryError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return renewed

    def next_look_at_ra_keys(self, session: Session) -> datetime:
        """Return when the RA keys must be looked at: at once where one is missing, revoked or near its end."""
        now = self.clock.now()
        rows = needing_ra_keys(session, self._endpoint_authorities)
        due = any(ra_keys.is_ra_key_due(session, id_of(row), now=now) for row in rows)
        return now if due else now + _RA_KEYS_LOOKED_AT_EVERY

    @property
    def _endpoint_authorities(self) -> set[CaName]:
        return {endpoint.issuing_ca for endpoint in self.endpoints.values()}

    def _renew_ra_key(self, authority: IssuingAuthority, session: Session) -> bool:
        now = self.clock.now()
        if not ra_keys.is_ra_key_due(session, authority.id, now=now):
            return False
        ra_keys.create_ra_key(session, self.keystore, authority, actor=self.actor, now=now, listeners=self.issuance_listeners)
        return True

    def _published(self, session: Session) -> list[CaName]:
        """Return whose persons' certificates directories hold: the archive's CA is among them once there is something in it."""
        names = self._endpoint_authorities
        if is_anything_archived(session):
            names = names | {CaName(self.settings.archive.issuing_ca)}
        return published_for(session, names, now=self.clock.now())

    def _publish_what_is_held(self, session: Session, handed: Handed) -> None:
        self.publication_holds.review(session, handed.person, self.clock.now())

    def _publish_instead(self, session: Session, revoked: RevokedCertificate) -> None:
        """Hold back nothing that took the place of what is revoked."""
        if revoked.person_id is not None:
            self.publication_holds.review(session, PersonId(revoked.person_id), self.clock.now())

    def _owe_crl(self, session: Session, revoked: RevokedCertificate) -> None:
        publication.owe(session, revoked.authority_id, self.clock.now())

    def close(self) -> None:
        """Finish what is under way and let go of directories, database and keys."""
        if "directories" in self.__dict__:
            self.directories.close()
        if "archive" in self.__dict__:
            self.archive.close()
        if "workshop" in self.__dict__:
            self.workshop.close()
        self.database.close()
        self.keystore.close()


def open_house(
    settings: Settings | None = None,
    *,
    actor: Actor | None = None,
    grouped: bool = False,
    instruments: Instruments | None = None,
) -> House:
    """Open the installation that the settings name.

    Args:
        settings: where it is; read from file and environment when not given.
        actor: who acts, for the audit record; the operating system's user when not given.
        grouped: whether writes of several threads share commits, as in a web process.
        instruments: who is told of what is done; nobody when not given.

    Raises:
        NotInitialised: there is none.
        ConfigurationError: the settings, or a file they name, cannot be used.
    """
    settings = settings or load_settings()
    if not settings.key_passphrase_file.exists():
        raise NotInitialised(f"{settings.home} holds no installation yet: run signetry init")
    return House(
        settings=settings,
        clock=SystemClock(),
        database=open_database(settings, grouped=grouped),
        keystore=open_keystore(settings),
        actor=actor or Actor(f"cli:{_operator()}"),
        instruments=instruments or Instruments(),
        is_service=grouped,
    )


def _operator() -> str:
    """Return the operating system's user; not from the environment, where anybody can be anybody."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid-{number}"
