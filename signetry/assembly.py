"""The object graph, put together in one place and read from top to bottom.

``House`` is what commands work with; ``web_parts`` what a web process serves; ``jobs`` what the worker does.
"""

import getpass
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial

from sqlmodel import Session, col, select

from audit.log import Actor
from ca import hierarchy, ra_keys
from ca.authorisation import CaName, ProfileName
from ca.errors import UnknownAuthority
from ca.issuance import IssuanceListener, IssuingAuthority
from ca.keys import FileKeyStore, KeyStore
from ca.records import CertificationAuthority
from ca.revocation import RevocationListener, RevokedCertificate
from ca.subject import Organisation
from crl import http as crl_http
from crl import publication
from crl.publication import Freshness, PublicationSettings
from foundation.clock import Clock, SystemClock
from foundation.errors import NotFound, SignetryError, Unavailable
from foundation.transactions import Transactions
from scep import http as scep_http
from scep.endpoint import Endpoint, UnknownEndpoint
from scep.enrolment import Enroller
from scep.responder import Responder
from signetry.app import ReadinessCheck, WebParts
from signetry.authorities import Authorities
from signetry.database import Database, open_database
from signetry.files import read_secret
from signetry.jobs import Job
from signetry.settings import Settings, load_settings

# Threads of a web process that work on enrolments. One that waits for its commit leaves its processor to the others; more than a
# few only take turns at the interpreter: with 4 the rate was three tenths above that with 16 (docs/performance.md).
SCEP_THREADS = 4
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

    @property
    def transactions(self) -> Transactions:
        """The store, as use cases see it."""
        return self.database

    @cached_property
    def authorities(self) -> Authorities:
        """The certification authorities with their keys."""
        return Authorities(self.database, self.keystore, self.clock, self.settings.public_url)

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
            )
            for name, configured in self.settings.endpoints.items()
        }

    @property
    def issuance_listeners(self) -> tuple[IssuanceListener, ...]:
        """Who owes something for every certificate issued; called in the issuing transaction."""
        return ()

    @property
    def revocation_listeners(self) -> tuple[RevocationListener, ...]:
        """Who owes something for every certificate revoked, held or released: the authority's CRL, first of all."""
        return (self._owe_crl,)

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

    def publish_crls(self) -> list[publication.Outcome]:
        """Build and publish every CRL that is due."""
        return publication.publish_due(self.transactions, self.authorities.by_id, self.clock, self.publication_settings)

    def reissue(self, name: CaName, session: Session) -> IssuingAuthority:
        """Certify an issuing CA's key again, under today's public URL, in the transaction of ``session``."""
        return hierarchy.reissue_issuing(
            session,
            self.keystore,
            name,
            self.settings.public_url,
            actor=self.actor,
            now=self.clock.now(),
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
            return hierarchy.is_reissue_due(session, name, self.settings.public_url)
        except UnknownAuthority:
            return False

    def require_complete(self) -> None:
        """Return if ``signetry init`` came to its end here.

        Raises:
            NotInitialised: there is no authority yet.
            SchemaOutdated: the database holds no schema, or another release's.
        """
        self.database.check_schema()
        with self.transactions.reading() as session:
            if not hierarchy.authorities(session):
                raise NotInitialised(
                    f"{self.settings.home} holds no authority yet: run signetry init, it goes on where it stopped"
                )

    def renew_ra_keys(self) -> int:
        """Give every issuing CA of an endpoint whose RA certificate nears its end a new RA key; return how many got one.

        Raises:
            UnknownAuthority, KeyUnavailable: an issuing CA cannot be used; the others have been seen to all the same.
        """
        renewed = 0
        failure: SignetryError | None = None
        for name in sorted(self._endpoint_authorities):
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
        query = select(CertificationAuthority.id).where(col(CertificationAuthority.name).in_(self._endpoint_authorities))
        due = any(ra_keys.is_ra_key_due(session, number, now=now) for number in session.exec(query) if number is not None)
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

    def _owe_crl(self, session: Session, revoked: RevokedCertificate) -> None:
        publication.owe(session, revoked.authority_id, self.clock.now())

    def close(self) -> None:
        """Finish what is under way and let go of the database."""
        self.database.close()


def open_house(settings: Settings | None = None, *, actor: Actor | None = None, grouped: bool = False) -> House:
    """Open the installation that the settings name.

    Args:
        settings: where it is; read from file and environment when not given.
        actor: who acts, for the audit record; the operating system's user when not given.
        grouped: whether writes of several threads share commits, as in a web process.

    Raises:
        NotInitialised: there is none.
        ConfigurationError: the settings, or a file they name, cannot be used.
    """
    settings = settings or load_settings()
    if not settings.key_passphrase_file.exists():
        raise NotInitialised(f"{settings.home} holds no installation yet: run signetry init")
    passphrase = read_secret(settings.key_passphrase_file, "key_passphrase_file")
    return House(
        settings=settings,
        clock=SystemClock(),
        database=open_database(settings, grouped=grouped),
        keystore=FileKeyStore(settings.home / "keys", passphrase),
        actor=actor or Actor(f"cli:{getpass.getuser()}"),
    )


def web_parts(house: House) -> WebParts:
    """Return what a web process serves over ``house``, which must share commits (``grouped``)."""
    executor = ThreadPoolExecutor(SCEP_THREADS, thread_name_prefix="scep")
    enroller = Enroller(
        house.transactions,
        house.clock,
        organisation=house.organisation,
        listeners=house.issuance_listeners,
    )
    scep = scep_http.routes(Responder(house.endpoints, house.authorities.endpoint_keys, enroller), executor)

    def stop() -> None:
        executor.shutdown()
        house.close()

    return WebParts(
        public_routes=[*scep, *crl_http.routes(house.transactions, house.clock)],
        device_routes=scep,
        readiness=[
            ReadinessCheck("database", house.database.check_schema),
            ReadinessCheck("keys", partial(_check_keys, house)),
            ReadinessCheck("crl", partial(_check_crls, house)),
        ],
        stop=stop,
    )


def jobs(house: House) -> list[Job]:
    """Return what the worker does over ``house``."""
    return [
        Job("crl", run=lambda: len(house.publish_crls()), next_due=publication.next_due),
        Job("ra-keys", run=house.renew_ra_keys, next_due=house.next_look_at_ra_keys),
    ]


def _check_keys(house: House) -> None:
    for endpoint in house.endpoints.values():
        house.authorities.endpoint_keys(endpoint.issuing_ca)


def _check_crls(house: House) -> None:
    with house.transactions.reading() as session:
        for record in hierarchy.authorities(session):
            if record.revoked_at is not None:
                # Nobody asks for the CRL of an authority that its own issuer lists as revoked.
                continue
            head = publication.current(session, record.id)
            if head is None:
                raise Unavailable(f"authority {record.name} has no CRL yet")
            if head.next_update <= house.clock.now():
                raise Unavailable(f"the CRL of authority {record.name} has expired")
