"""A person with a device and archived keys, and deliveries of these: no seal is opened, and what is packed is any bytes."""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import PersonId
from foundation.transactions import Transactions
from people.devices import DeviceFields, add_device
from pkcs_import import delivery
from pkcs_import.archive import DeliveryOrder, PackedKey
from pkcs_import.delivery import Method
from pkcs_import.delivery_links import LinkToken, new_link
from pkcs_import.keeping import KeptKey, NewCertificate, NewKey, Origin, keep
from pkcs_import.packing import Encoding
from pkcs_import.purpose import Purpose
from pkcs_import.sealing import Binding, SealedKey
from pkcs_import.trust import Trust
from tests.clocks import ManualClock
from tests.pkcs_import.recovering import add_archive_key, add_person

ACTOR = Actor("token:3:Olga", origin="192.0.2.7")
PACKAGE = b"any bytes: a PKCS #12"
DAY = timedelta(days=1)


@dataclass
class Deliveries:
    """A store with Alice, her phone, and the archive's key."""

    store: Transactions
    clock: ManualClock
    alice: PersonId
    phone: int
    archive_key: int

    def person(self, name: str) -> PersonId:
        """Record somebody else."""
        return add_person(self.store, name, self.clock.now())

    def device(self, name: str, owner: str | None) -> int:
        """Record a device."""
        fields = DeviceFields(name=name, owner=owner and f"{owner}@example.com")
        return self.store.write(lambda session: add_device(session, fields, actor=ACTOR, now=self.clock.now())).id

    def key(
        self,
        label: str,
        *,
        person: PersonId | None = None,
        purpose: Purpose = Purpose.ENCRYPTION,
        begins: timedelta = -DAY,
        ends: timedelta = 365 * DAY,
        certificate_id: int | None = None,
    ) -> int:
        """Archive a key with a certificate; ``begins`` and ``ends`` count from now."""
        owner, now = person or self.alice, self.clock.now()
        digest = hashlib.sha256(f"{owner} {label}".encode()).hexdigest()
        sealed = SealedKey(self.archive_key, b"-", b"-", b"-")
        key = NewKey(Binding(digest[:32], owner, digest), sealed, "rsa2048", Origin.IMPORTED)
        certificate = NewCertificate(
            der=label.encode(),
            sha256=hashlib.sha256(f"{label} {begins}".encode()).hexdigest(),
            chain=(),
            subject=f"CN={label}",
            issuer="CN=Some CA",
            serial="01",
            not_before=now + begins,
            not_after=now + ends,
            purpose=purpose,
            trust=Trust.UNKNOWN,
            certificate_id=certificate_id,
        )
        return self.store.write(lambda session: keep(session, key, [certificate], actor=ACTOR, now=now))[0]

    def order(self, method: Method = Method.FILE, **changes: object) -> DeliveryOrder:
        """Return an order for Alice's phone."""
        wanted = DeliveryOrder(
            person=self.alice,
            device=self.phone,
            method=method,
            encoding=Encoding.MODERN,
            ordered_by=ACTOR.name,
            expires_at=self.clock.now() + DAY,
        )
        return replace(wanted, **changes)  # type: ignore[arg-type] # the fields of an order

    def admitted(self, order: DeliveryOrder) -> list[KeptKey]:
        """Ask whether an order may be."""
        return self.store.write(lambda session: delivery.admit(session, order, self.clock.now()))

    def deliver(self, order: DeliveryOrder) -> int:
        """Record a delivery, as the archive process does."""

        def act(session: Session) -> int:
            keys = delivery.admit(session, order, self.clock.now())
            sha256s = tuple(delivery.certificate_for(key).sha256 for key in keys)
            packed = PackedKey("encryption-keys.p12", PACKAGE, tuple(key.id for key in keys), sha256s)
            return delivery.record(session, order, [packed], actor=ACTOR, now=self.clock.now())

        return self.store.write(act)

    def link(self, **changes: object) -> tuple[int, LinkToken]:
        """Record a delivery by link; return it and its token."""
        order = self.order(Method.LINK, **changes)
        token = new_link(order.person)
        return self.deliver(replace(order, token_digest=token.digest)), token


def prepared(store: Transactions, clock: ManualClock) -> Deliveries:
    """Return a store with Alice, her phone, and the archive's key."""
    alice = add_person(store, "alice", clock.now())
    made = Deliveries(store, clock, alice, 0, add_archive_key(store, clock.now()))
    made.phone = made.device("alice-phone", "alice")
    return made
