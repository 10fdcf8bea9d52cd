"""Persons with archived keys, an archive process that packs them, and Intune before it: what tests of pushing stand on."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.serialization import Encoding as CertificateEncoding
from sqlalchemy import select
from sqlmodel import Session

from audit.log import Actor
from audit.records import AuditEvent
from ca.authorisation import PersonId
from foundation.errors import SignetryError
from foundation.tables import table_of
from foundation.transactions import Transactions
from intune.imported_pfx import ConnectorKey
from intune.pfx_certificates import PfxCertificates
from intune.transport import Transport
from pkcs_import import delivery
from pkcs_import.archive import Delivered, DeliveryOrder, PackedKey
from pkcs_import.delivery import Handed
from pkcs_import.intune_plan import Connector, Plan
from pkcs_import.intune_push import IntunePush, Outcome
from pkcs_import.keeping import NewCertificate, NewKey, Origin, keep
from pkcs_import.purpose import Purpose
from pkcs_import.records import Delivery, PushedPfx
from pkcs_import.sealing import Binding, SealedKey
from pkcs_import.trust import Trust
from tests.clocks import ManualClock
from tests.intune.files import PASSPHRASE, identity, packed
from tests.intune.pfx_service import KEY_NAME, PROVIDER, PfxService, thumbprint
from tests.intune.tenants import tenant_of
from tests.pkcs_import.recovering import add_archive_key

ACTOR = Actor("cli:test")


@dataclass
class Pushing:
    """A push under test: ``orders`` is what the archive process was asked for, ``handed`` what listeners were told."""

    store: Transactions
    clock: ManualClock
    service: PfxService
    transport: Transport
    key: ConnectorKey
    key_name: str = KEY_NAME
    orders: list[DeliveryOrder] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    refusal: SignetryError | None = None
    meanwhile: Callable[[], None] = field(default=lambda: None)
    _archive_key: int | None = None
    _names: dict[str, str] = field(default_factory=dict)

    def archive(self, person: PersonId, *names: str, purpose: Purpose = Purpose.ENCRYPTION) -> list[str]:
        """Put identities of these names into the archive; return their thumbprints."""
        if self._archive_key is None:
            self._archive_key = add_archive_key(self.store, self.clock.now())
        return [self._archive_one(person, name, purpose, self._archive_key) for name in names]

    def _archive_one(self, person: PersonId, name: str, purpose: Purpose, archive_key: int) -> str:
        certificate = identity(name)[1]
        der = certificate.public_bytes(CertificateEncoding.DER)
        digest = hashlib.sha256(der).hexdigest()
        self._names[digest] = name
        uid = hashlib.sha256(f"{person} {name}".encode()).hexdigest()
        new = NewKey(Binding(uid[:32], person, digest), SealedKey(archive_key, b"-", b"-", b"-"), "secp256r1", Origin.IMPORTED)
        kept = NewCertificate(
            der=der,
            sha256=digest,
            chain=(),
            subject=certificate.subject.rfc4514_string(),
            issuer="CN=Some CA",
            serial="01",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            purpose=purpose,
            trust=Trust.UNKNOWN,
        )
        self.store.write(lambda session: keep(session, new, [kept], actor=ACTOR, now=self.clock.now()))
        return thumbprint(certificate)

    @property
    def push(self) -> IntunePush:
        """The push."""
        certificates = PfxCertificates.of(tenant_of(self.service.cloud), self.transport, patience_seconds=600)
        connector = Connector(self.key, self.key_name, PROVIDER)
        return IntunePush(self.store, self.clock, ACTOR, certificates, connector, self._deliver, [self._hear])

    def plan(self, *persons: PersonId) -> list[tuple[str, str, str]]:
        """Return what would be done: change, thumbprint, reason."""
        return [(str(step.change), step.thumbprint, step.reason) for plan in self.push.plans(persons) for step in plan.steps]

    def run(self, *persons: PersonId) -> list[Outcome]:
        """Do what is to be done."""
        push = self.push
        return [outcome for plan in push.plans(persons) for outcome in push.carry_out(plan)]

    def plans(self, *persons: PersonId) -> list[Plan]:
        """Return the plans themselves."""
        return list(self.push.plans(persons))

    def rows(self) -> dict[str, tuple[str, bool]]:
        """Return what is on record: of each thumbprint the UPN, and whether it is known to be there."""
        table = table_of(PushedPfx)
        with self.store.reading() as session:
            return {row.thumbprint: (row.upn, row.pushed_at is not None) for row in session.execute(select(table))}

    def deliveries(self) -> list[str]:
        """Return the states of the deliveries."""
        table = table_of(Delivery)
        with self.store.reading() as session:
            return list(session.scalars(select(table.c.state).order_by(table.c.id)))

    def events(self, *kinds: str) -> list[tuple[str, dict[str, object]]]:
        """Return the audit events of these kinds."""
        table = table_of(AuditEvent)
        with self.store.reading() as session:
            rows = session.execute(select(table).where(table.c.action.in_(kinds)).order_by(table.c.id)).all()
        return [(row.action, row.details) for row in rows]

    def _hear(self, _session: Session, handed: Handed) -> None:
        self.handed.append(handed)

    def _deliver(self, order: DeliveryOrder) -> Delivered:
        self.orders.append(order)
        if self.refusal is not None:
            raise self.refusal

        def act(session: Session) -> tuple[int, Sequence[PackedKey]]:
            keys = delivery.admit(session, order, self.clock.now())
            files = []
            for number, key in enumerate(keys):
                sha256 = delivery.certificate_for(key).sha256
                files.append(PackedKey(f"{number}.p12", packed(self._names[sha256]), (key.id,), (sha256,)))
            return delivery.record(session, order, files, actor=ACTOR, now=self.clock.now()), files

        number, files = self.store.write(act)
        self.meanwhile()
        return Delivered(number, tuple(files), None, self.key.encrypt(PASSPHRASE))
