"""A SCEP endpoint without a network: a P-256 issuing CA in a database, its RA, people to certify, and our client before it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import httpx2
from cryptography import x509
from sqlalchemy import func, select
from sqlmodel import Session, col

from audit.log import Actor
from audit.records import AuditEvent
from ca import hierarchy, ra_keys
from ca.authorisation import CaName, DeviceId, PersonId, ProfileName
from ca.hierarchy import NewAuthority
from ca.issuance import IssuanceListener
from ca.keys import KeyAlgorithm
from ca.profiles import DEVICE_PROFILES, PERSON_PROFILES
from ca.records import Certificate
from foundation.transactions import Transactions
from people.devices import DeviceFields, DeviceRecord, add_device
from people.person import PersonFields, PersonRecord
from people.persons import add_person
from scep import challenge, client
from scep.client import ClientKey, Identity, ScepClient
from scep.endpoint import Endpoint
from scep.endpoint_keys import EndpointKeys
from scep.enrolment import Enroller
from scep.records import Enrolment
from scep.responder import Responder
from scep.signing import Signer
from tests.ca.keystores import MemoryKeyStore
from tests.clocks import ManualClock

ACTOR = Actor("test")
PUBLIC_URL = "http://pki.example.com"

DEFAULT = Endpoint("default", CaName("issuing"), frozenset((*PERSON_PROFILES, *DEVICE_PROFILES)), renew_after=0.66)


class World:
    """Everything an enrolment needs, over one database."""

    def __init__(self, transactions: Transactions, clock: ManualClock, listeners: tuple[IssuanceListener, ...] = ()) -> None:
        self.transactions = transactions
        self.clock = clock
        self.keystore = MemoryKeyStore()
        self.endpoints = {"default": DEFAULT, "other": replace(DEFAULT, name="other", profiles=frozenset(PERSON_PROFILES))}
        self.enroller = Enroller(transactions, clock, listeners=listeners)
        transactions.write(self._create)

    def _create(self, session: Session) -> None:
        now = self.clock.now()
        root_name = NewAuthority(CaName("root"), "Root", KeyAlgorithm.P384)
        root = hierarchy.create_root(session, self.keystore, root_name, public_url=PUBLIC_URL, actor=ACTOR, now=now)
        issuing_name = NewAuthority(CaName("issuing"), "Issuing CA", KeyAlgorithm.P256)
        self.authority = hierarchy.create_issuing(
            session, self.keystore, root, issuing_name, public_url=PUBLIC_URL, actor=ACTOR, now=now
        )
        pair = ra_keys.create_ra_key(session, self.keystore, self.authority, actor=ACTOR, now=now)
        self.ra = Signer.of(pair.certificate, pair.private_key)

    def keys(self, name: CaName) -> EndpointKeys:
        """Return what answers; there is one issuing CA."""
        assert name == "issuing"
        return EndpointKeys(self.authority, (self.ra,))

    @property
    def responder(self) -> Responder:
        """The responder over the endpoints as they are now."""
        return Responder(self.endpoints, self.keys, self.enroller, self.transactions)

    def configure(self, name: str = "default", **changes: object) -> None:
        """Change an endpoint's configuration."""
        self.endpoints[name] = replace(self.endpoints[name], **changes)  # type: ignore[arg-type]

    def add_person(self, upn: str = "alice@example.com", email: str = "alice@example.com", **more: object) -> PersonRecord:
        """Record a person."""
        fields = PersonFields(upn=upn, email=email, **{"display_name": "Alice Smith", **more})  # type: ignore[arg-type]
        return self.transactions.write(lambda session: add_person(session, fields, actor=ACTOR, now=self.clock.now()))

    def add_device(self, name: str = "phone-1", **more: object) -> DeviceRecord:
        """Record a device."""
        fields = DeviceFields(name=name, **more)  # type: ignore[arg-type]
        return self.transactions.write(lambda session: add_device(session, fields, actor=ACTOR, now=self.clock.now()))

    def challenge(
        self,
        person: PersonRecord | None,
        *,
        profile: str = "identity",
        endpoint: str = "default",
        device: DeviceRecord | None = None,
    ) -> str:
        """Mint a challenge that lives an hour."""
        order = challenge.ChallengeOrder(
            endpoint=endpoint,
            profile=ProfileName(profile),
            person=PersonId(person.id) if person else None,
            device=DeviceId(device.id) if device else None,
            lifetime=timedelta(hours=1),
        )
        minted = self.transactions.write(
            lambda session: challenge.mint(session, order, actor=ACTOR, now=self.clock.now()),
        )
        return minted[0]

    def client(self, endpoint: str = "default") -> ScepClient:
        """Return our client, talking to the responder."""
        return ScepClient(f"http://scep.test/scep/{endpoint}", transport=httpx2.MockTransport(self._serve))

    def _serve(self, request: httpx2.Request) -> httpx2.Response:
        endpoint = request.url.path.removeprefix("/scep/")
        match request.url.params["operation"]:
            case "GetCACaps":
                return httpx2.Response(200, text=self.responder.capabilities(endpoint))
            case "GetCACert":
                return httpx2.Response(200, content=self.responder.ca_certificates(endpoint)[1])
            case _:
                return httpx2.Response(200, content=self.responder.pki_operation(endpoint, request.content, origin="192.0.2.1"))

    def enrol(
        self,
        key: ClientKey,
        presented: str,
        *,
        csr: x509.CertificateSigningRequest | None = None,
        endpoint: str = "default",
    ) -> Identity:
        """Enrol with our client."""
        with self.client(endpoint) as ours:
            return ours.enrol(ours.ca_certificates(), key, csr or client.build_csr(key, "a device", presented))

    def renew(self, held: Identity, key: ClientKey, endpoint: str = "default") -> Identity:
        """Renew with our client."""
        with self.client(endpoint) as ours:
            return ours.renew(ours.ca_certificates(), held, key)

    def counts(self) -> Mapping[str, int]:
        """Count what enrolments leave behind: end-entity certificates, enrolments, and the audit events of either kind."""
        person_certificates = select(func.count()).select_from(Certificate).where(col(Certificate.person_id).is_not(None))
        refusals = select(func.count()).select_from(AuditEvent).where(col(AuditEvent.action) == "enrolment.refused")
        with self.transactions.reading() as session:
            return {
                "certificates": session.execute(person_certificates).scalar_one(),
                "enrolments": session.execute(select(func.count()).select_from(Enrolment)).scalar_one(),
                "refusals": session.execute(refusals).scalar_one(),
            }
