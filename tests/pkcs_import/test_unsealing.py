"""The two operations of the archive process: what they hand out, to whom, and what they leave on record."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates, load_pkcs12
from sqlalchemy import select, update
from sqlmodel import Session

from audit.log import Actor
from ca.authorisation import PersonId
from foundation.tables import table_of
from people import devices, persons
from people.devices import DeviceFields
from pkcs_import import delivery, delivery_register, recovery, recovery_requests, unsealing
from pkcs_import.archive import Delivered, DeliveryOrder, Recovered
from pkcs_import.delivery import Method
from pkcs_import.errors import DeliveryRefused, RecoveryRefused, SealBroken
from pkcs_import.opening import Opener, SealedRecord
from pkcs_import.packing import Encoding
from pkcs_import.purpose import Purpose
from pkcs_import.records import ArchivedCertificate, ArchivedKey, DeliveredKey, Delivery
from pkcs_import.recovery import Duty, Participant, Wanted
from pkcs_import.recovery_requests import State
from pkcs_import.unsealing import DeliveryRules, RecoveryExport
from signetry.database import Database
from tests.clocks import ManualClock
from tests.people.samples import events
from tests.pkcs_import.archiving import (
    ACTOR,
    ArchivedPair,
    KeysInMemory,
    certificate_over,
    curve_keys,
    events_of,
    make_archive_key,
    put,
)
from tests.pkcs_import.recovering import Offices, add_person, taking_part

KEYS = table_of(ArchivedKey)
CERTIFICATES = table_of(ArchivedCertificate)
ORDERED_BY = Actor("token:3:olga", origin="192.0.2.9")


class Counting(Opener):
    """An opener that says how often it was asked; ``meanwhile`` happens while it works."""

    def __init__(self, keystore: KeysInMemory) -> None:
        super().__init__([keystore])
        self.opened: list[int] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def open(self, record: SealedRecord) -> bytes:
        """Open a seal."""
        self.opened.append(record.id)
        self.meanwhile()
        return super().open(record)


@dataclass
class World:
    """Alice with a phone and three encryption keys, the oldest first, and one that signs; Bob with a phone, and a key."""

    store: Database
    clock: ManualClock
    opener: Counting
    alice: PersonId
    bob: PersonId
    phone: int
    bobs_phone: int
    pairs: list[ArchivedPair]
    signing: ArchivedPair
    bobs: ArchivedPair
    chain: tuple[bytes, ...] = field(repr=False)

    def order(self, **changes: Any) -> DeliveryOrder:  # noqa: ANN401 - DeliveryOrder's
        """Return an order of all of Alice's keys for her phone, as a file."""
        usual = DeliveryOrder(
            person=self.alice,
            device=self.phone,
            method=Method.FILE,
            encoding=Encoding.MODERN,
            ordered_by=ORDERED_BY.name,
            expires_at=self.clock.now() + timedelta(hours=1),
        )
        return replace(usual, **changes)

    def deliver(self, order: DeliveryOrder | None = None, rules: DeliveryRules | None = None) -> Delivered:
        """Have an order packed."""
        now, rules = self.clock.now(), rules or DeliveryRules()
        return unsealing.deliver(self.store, self.opener, order or self.order(), rules, actor=ORDERED_BY, now=now)

    def change(self, table: Any, row: int, **values: object) -> None:  # noqa: ANN401 - a table
        """Do to a row what somebody with access to the database could."""
        column = table.c.archived_key_id if table is CERTIFICATES else table.c.id
        self.store.write(lambda session: session.execute(update(table).where(column == row).values(**values)))

    def deliveries(self) -> int:
        """Return how many deliveries are on record."""
        with self.store.reading() as session:
            return len(session.execute(select(table_of(Delivery).c.id)).all())


@pytest.fixture
def world(store: Database, clock: ManualClock) -> World:
    now, keystore = clock.now(), KeysInMemory()
    make_archive_key(store, keystore, "archive-1", now)
    alice, bob = (add_person(store, name, now) for name in ("alice", "bob"))

    def add_phone(owner: str) -> int:
        given = DeviceFields(name=f"{owner}s-phone", owner=f"{owner}@example.com")
        return store.write(lambda session: devices.add_device(session, given, actor=ACTOR, now=now)).id

    keys = curve_keys(6)
    authority = certificate_over(keys[5], "Some CA", now, now + timedelta(days=9)).public_bytes(serialization.Encoding.DER)
    chain = (authority,)
    pairs = [put(store, alice, key, now, age_in_years=2 - number, chain=chain) for number, key in enumerate(keys[:3])]
    signing = put(store, alice, keys[3], now, purpose=Purpose.SIGNING)
    bobs = put(store, bob, keys[4], now)
    return World(store, clock, Counting(keystore), alice, bob, add_phone("alice"), add_phone("bob"), pairs, signing, bobs, chain)


def contents(pkcs12: bytes, passphrase: str | None) -> PKCS12KeyAndCertificates:
    assert passphrase is not None
    return load_pkcs12(pkcs12, passphrase.encode())


# --- deliver ---


@pytest.mark.parametrize("encoding", Encoding)
def test_each_key_comes_with_its_certificate_and_chain(world: World, encoding: Encoding) -> None:
    delivered = world.deliver(world.order(separate=True, encoding=encoding))
    assert [file.name for file in delivered.files] == [f"encryption-keys-{number}.p12" for number in (1, 2, 3)]
    for file, pair in zip(delivered.files, reversed(world.pairs), strict=True):
        found = contents(file.pkcs12, delivered.passphrase)
        assert found.key.private_numbers() == pair.key.private_numbers()  # type: ignore[union-attr]
        assert found.cert is not None
        assert found.cert.certificate == pair.certificate
        assert [each.certificate.public_bytes(serialization.Encoding.DER) for each in found.additional_certs] == [*world.chain]
        assert file.key_ids == (pair.id,)
        assert file.certificate_sha256s == (pair.certificate.fingerprint(hashes.SHA256()).hex(),)


def test_one_file_holds_all_encryption_keys_the_current_one_first(world: World) -> None:
    delivered = world.deliver()
    (file,) = delivered.files
    assert (file.name, file.key_ids) == ("encryption-keys.p12", tuple(pair.id for pair in reversed(world.pairs)))
    assert contents(file.pkcs12, delivered.passphrase).key is not None
    # Neither what signs, nor anybody else's, was opened.
    assert set(world.opener.opened) == {pair.id for pair in world.pairs}


def test_only_the_keys_that_were_asked_for_are_opened(world: World) -> None:
    wanted = world.pairs[1].id
    delivered = world.deliver(world.order(key_ids=(wanted,)))
    assert [file.key_ids for file in delivered.files] == [(wanted,)]
    assert world.opener.opened == [wanted]


def test_a_delivery_is_on_record_and_its_passphrase_is_not(world: World) -> None:
    delivered = world.deliver()
    with world.store.reading() as session:
        row = session.execute(select(table_of(Delivery))).one()
        keys = set(session.scalars(select(table_of(DeliveredKey).c.archived_key_id)))
    assert (row.id, row.person_id, row.device_id, row.ordered_by) == (
        delivered.delivery_id,
        world.alice,
        world.phone,
        ORDERED_BY.name,
    )
    assert keys == {pair.id for pair in world.pairs}
    assert delivered.passphrase is not None
    assert delivered.passphrase not in f"{row}{[event.details for event in events(world.store)]}{delivered}"
    (event,) = events_of(world.store, "delivery.ordered")
    assert (event.actor, event.origin) == (ORDERED_BY.name, ORDERED_BY.origin)


def test_every_delivery_has_a_passphrase_of_its_own(world: World) -> None:
    assert world.deliver().passphrase != world.deliver().passphrase


@pytest.mark.parametrize(
    "wrong",
    [
        lambda world: {"device": world.bobs_phone},
        lambda world: {"person": world.bob},
        lambda world: {"key_ids": (world.bobs.id,)},
        lambda world: {"key_ids": (world.signing.id,)},
        lambda _: {"device": None},
        lambda _: {"device": 4711},
        lambda _: {"person": 4711},
        lambda _: {"method": "pigeon"},
    ],
    ids=["another's device", "another's keys", "another's key", "a key that signs", "no device", "unknown", "nobody", "no way"],
)
def test_nothing_is_opened_for_an_order_that_is_not_in_order(world: World, wrong: Callable[[World], dict[str, Any]]) -> None:
    with pytest.raises(DeliveryRefused):
        world.deliver(world.order(**wrong(world)))
    assert (world.opener.opened, world.deliveries()) == ([], 0)


def test_who_left_gets_nothing(world: World) -> None:
    now = world.clock.now()
    world.store.write(lambda session: persons.deactivate_person(session, world.alice, actor=ACTOR, now=now))
    with pytest.raises(DeliveryRefused):
        world.deliver()
    assert world.opener.opened == []


def test_a_method_that_is_switched_off_hands_out_nothing(world: World) -> None:
    with pytest.raises(DeliveryRefused):
        world.deliver(rules=DeliveryRules(methods=(Method.LINK,)))
    assert world.opener.opened == []


def test_a_device_that_is_lost_meanwhile_gets_nothing(world: World) -> None:
    now = world.clock.now()
    world.opener.meanwhile = lambda: world.store.write(
        lambda session: devices.deactivate_device(session, world.phone, actor=ACTOR, now=now)
    )
    with pytest.raises(DeliveryRefused):
        world.deliver()
    assert world.deliveries() == 0


def test_keys_that_come_meanwhile_make_it_begin_again(world: World) -> None:
    key = curve_keys(1)[0]
    world.opener.meanwhile = lambda: put(world.store, world.alice, key, world.clock.now())
    with pytest.raises(DeliveryRefused) as refused:
        world.deliver()
    assert "order again" in str(refused.value)
    assert world.deliveries() == 0
    world.opener.meanwhile = lambda: None
    assert len(world.deliver().files[0].key_ids) == 4


def test_of_two_links_at_once_one_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits until the first is on record, and replaces it."""
    both_opened, record = threading.Barrier(2), delivery.record

    def slowly(*given: Any, **more: Any) -> int:  # noqa: ANN401 - what it is called with
        number = record(*given, **more)
        # As long as another one would take that does not wait.
        time.sleep(0.5)
        return number

    monkeypatch.setattr(delivery, "record", slowly)
    world.opener.meanwhile = lambda: both_opened.wait(20) if len(world.opener.opened) <= 2 else None
    orders = [world.order(method=Method.LINK, token_digest=64 * digit, key_ids=(world.pairs[0].id,)) for digit in "ab"]
    with ThreadPoolExecutor(2) as executor:
        delivered = sorted(each.delivery_id for each in executor.map(world.deliver, orders))
    with world.store.reading() as session:
        states = [delivery_register.get(session, number).state for number in delivered]
    assert states == [delivery.State.STOPPED, delivery.State.READY]


def test_for_intune_nobody_but_the_connector_sees_the_passphrase(world: World) -> None:
    heard: list[str] = []

    def encrypt(passphrase: str) -> bytes:
        heard.append(passphrase)
        return b"only the connector reads this"

    order = world.order(method=Method.INTUNE, device=None, separate=True)
    delivered = world.deliver(order, DeliveryRules(for_connector=encrypt))
    assert (delivered.passphrase, delivered.encrypted_passphrase) == (None, b"only the connector reads this")
    (passphrase,) = heard
    assert contents(delivered.files[0].pkcs12, passphrase).key is not None
    with pytest.raises(DeliveryRefused):
        world.deliver(order)
    assert world.deliveries() == 1


def test_no_delivery_is_on_record_whose_passphrase_cannot_be_encrypted(world: World) -> None:
    def fail(_passphrase: str) -> bytes:
        raise RuntimeError("the key is too short")

    with pytest.raises(RuntimeError):
        world.deliver(world.order(method=Method.INTUNE, device=None), DeliveryRules(for_connector=fail))
    assert world.deliveries() == 0


def test_a_row_that_was_exchanged_hands_out_nothing_and_is_reported(world: World) -> None:
    with world.store.reading() as session:
        columns = (KEYS.c.wrapped_key, KEYS.c.nonce, KEYS.c.ciphertext)
        stolen = session.execute(select(*columns).where(KEYS.c.id == world.bobs.id)).one()
    world.change(KEYS, world.pairs[0].id, **stolen._asdict())
    with pytest.raises(SealBroken):
        world.deliver()
    assert world.deliveries() == 0
    (event,) = events_of(world.store, "archive.seal-broken")
    assert (event.actor, event.subject, event.outcome) == (ORDERED_BY.name, f"person:{world.alice}", "failed")


def test_the_certificate_of_another_key_goes_with_none(world: World) -> None:
    with world.store.reading() as session:
        der = session.scalar(select(CERTIFICATES.c.der).where(CERTIFICATES.c.archived_key_id == world.bobs.id))
    world.change(CERTIFICATES, world.pairs[0].id, der=der)
    with pytest.raises(SealBroken) as refused:
        world.deliver()
    assert "another key's" in str(refused.value)
    assert world.deliveries() == 0


def test_a_row_given_to_somebody_else_opens_for_nobody(world: World) -> None:
    for table in (KEYS, CERTIFICATES):
        world.change(table, world.pairs[0].id, person_id=world.bob)
    with pytest.raises(SealBroken):
        world.deliver(world.order(person=world.bob, device=world.bobs_phone))
    assert world.deliveries() == 0


# --- recover ---


@dataclass
class Recoveries:
    """An officer and an agent."""

    world: World
    offices: Offices
    olga: Participant
    rita: Participant

    def approved(self, *, history: bool = True) -> int:
        """Ask for Alice's keys and have it approved."""
        now, wanted = self.world.clock.now(), Wanted(self.world.alice, history=history)
        write = self.world.store.write

        def ask(session: Session) -> int:
            return recovery.ask(session, wanted, "lost phone", by=self.olga, in_office=self.offices, now=now).id

        number = write(ask)
        write(lambda session: recovery.approve(session, number, by=self.rita, in_office=self.offices, now=now))
        return number

    def export(self, number: int, **how: Any) -> Recovered:  # noqa: ANN401 - RecoveryExport's
        """Export a request."""
        export = RecoveryExport(**{"request_id": number, "encoding": Encoding.MODERN, "separate": False, "by": self.olga, **how})
        return unsealing.recover(self.world.store, self.world.opener, export, self.offices, now=self.world.clock.now())

    def state(self, number: int) -> State:
        """Return how a request stands."""
        with self.world.store.reading() as session:
            return recovery_requests.get(session, number, now=self.world.clock.now()).state


@pytest.fixture
def recoveries(world: World) -> Recoveries:
    olga, rita = (add_person(world.store, name, world.clock.now()) for name in ("olga", "rita"))
    offices = Offices((Duty.ASKING, olga, 1), (Duty.DECIDING, rita, 2))
    return Recoveries(world, offices, taking_part(olga, 1, "olga"), taking_part(rita, 2, "rita"))


def test_an_approved_request_is_exported_once(recoveries: Recoveries) -> None:
    number = recoveries.approved()
    recovered = recoveries.export(number)
    (file,) = recovered.files
    assert (recovered.request_id, recovered.person, file.name) == (number, recoveries.world.alice, f"recovery-{number}.p12")
    assert file.key_ids == tuple(pair.id for pair in reversed(recoveries.world.pairs))
    found = contents(file.pkcs12, recovered.passphrase)
    assert found.cert is not None
    assert recovered.passphrase not in f"{recovered}{[event.details for event in events(recoveries.world.store)]}"
    opened = len(recoveries.world.opener.opened)
    with pytest.raises(RecoveryRefused):
        recoveries.export(number)
    assert len(recoveries.world.opener.opened) == opened


def test_every_key_of_the_history_is_in_a_file_of_its_own_where_that_is_asked_for(recoveries: Recoveries) -> None:
    recovered = recoveries.export(recoveries.approved(), separate=True, encoding=Encoding.LEGACY)
    certificates = [contents(file.pkcs12, recovered.passphrase).cert for file in recovered.files]
    found = [each.certificate for each in certificates if each is not None]
    assert found == [pair.certificate for pair in reversed(recoveries.world.pairs)]


def test_nothing_is_opened_for_a_request_that_is_not_approved(recoveries: Recoveries) -> None:
    number = recoveries.approved()
    recoveries.world.clock.advance(hours=1)
    with pytest.raises(RecoveryRefused):
        recoveries.export(number)
    assert recoveries.world.opener.opened == []


def test_what_cannot_be_opened_leaves_the_request_as_it_was_and_is_reported(recoveries: Recoveries) -> None:
    world, number = recoveries.world, recoveries.approved()
    with world.store.reading() as session:
        nonce = session.scalar(select(KEYS.c.nonce).where(KEYS.c.id == world.pairs[1].id))
    world.change(KEYS, world.pairs[1].id, nonce=bytes(12))
    with pytest.raises(SealBroken):
        recoveries.export(number)
    assert recoveries.state(number) is State.APPROVED
    assert events_of(world.store, "recovery.exported") == []
    (event,) = events_of(world.store, "archive.seal-broken")
    assert (event.subject, event.outcome) == (f"recovery:{number}", "failed")
    world.change(KEYS, world.pairs[1].id, nonce=nonce)
    recoveries.export(number)
    assert recoveries.state(number) is State.EXPORTED


def test_one_key_alone_is_recovered(recoveries: Recoveries) -> None:
    recovered = recoveries.export(recoveries.approved(history=False))
    assert [file.key_ids for file in recovered.files] == [(recoveries.world.pairs[2].id,)]
    assert recoveries.world.opener.opened == [recoveries.world.pairs[2].id]
