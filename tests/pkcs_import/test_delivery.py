"""Who may have which keys delivered, and what is on record of it: on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update
from sqlmodel import Session

from ca.records import Certificate, CertificationAuthority
from foundation.tables import table_of
from people.devices import DeviceFields, change_device, deactivate_device, get_device
from people.persons import deactivate_person
from pkcs_import import delivery, delivery_register
from pkcs_import.delivery import Handed, Method, State
from pkcs_import.delivery_register import DeliveryFilter
from pkcs_import.errors import DeliveryRefused, UnknownDelivery
from pkcs_import.purpose import Purpose
from pkcs_import.records import Delivery
from signetry.database import Database
from tests.clocks import ManualClock
from tests.people.samples import events
from tests.pkcs_import.delivering import ACTOR, DAY, PACKAGE, Deliveries, prepared

_DELIVERY = table_of(Delivery)


@pytest.fixture
def world(store: Database, clock: ManualClock) -> Deliveries:
    return prepared(store, clock)


def refusal(world: Deliveries, **changes: object) -> str:
    with pytest.raises(DeliveryRefused) as refused:
        world.admitted(world.order(**changes))  # type: ignore[arg-type] # the fields of an order
    return str(refused.value)


def hand(world: Deliveries, number: int, *listeners: delivery.HandedListener) -> Handed:
    return world.store.write(
        lambda session: delivery.hand(session, number, actor=ACTOR, now=world.clock.now(), listeners=listeners)
    )


def held(world: Deliveries, device: int) -> frozenset[int]:
    with world.store.reading() as session:
        return delivery.held_by(session, device)


def test_all_encryption_keys_go_the_current_one_first_then_the_newest(world: Deliveries) -> None:
    oldest = world.key("2023", begins=-1000 * DAY, ends=-700 * DAY)
    long_lived = world.key("long", begins=-800 * DAY, ends=900 * DAY)
    to_come = world.key("to come", begins=10 * DAY, ends=1000 * DAY)
    current = world.key("current", begins=-5 * DAY, ends=300 * DAY, purpose=Purpose.BOTH)
    world.key("signing", purpose=Purpose.SIGNING)
    world.key("identity", purpose=Purpose.AUTHENTICATION)
    assert [key.id for key in world.admitted(world.order())] == [current, to_come, long_lived, oldest]


def test_a_revoked_certificate_makes_no_key_the_current_one(world: Deliveries) -> None:
    now = world.clock.now()
    row = {
        "id": 7,
        "authority_id": 1,
        "serial": "0a",
        "profile": "smime-encryption",
        "subject": "CN=Alice",
        "person_id": world.alice,
        "spki_sha256": "0" * 64,
        "not_before": now - DAY,
        "not_after": now + 900 * DAY,
        "issued_at": now,
        "der": b"-",
        "revoked_at": now,
        "revocation_reason": "keyCompromise",
    }

    def prepare(session: Session) -> None:
        authority = {"id": 1, "name": "issuing", "key_reference": "x", "key_algorithm": "p256", "created_at": now}
        session.execute(insert(table_of(CertificationAuthority)), authority)
        session.execute(insert(table_of(Certificate)), row)

    world.store.write(prepare)
    good = world.key("good", begins=-300 * DAY)
    revoked = world.key("revoked", ends=900 * DAY, certificate_id=7)
    assert [key.id for key in world.admitted(world.order())] == [good, revoked]


def test_of_several_certificates_over_a_key_the_one_for_encryption_that_ends_last_goes_with_it(world: Deliveries) -> None:
    world.key("renewed", begins=-300 * DAY, ends=10 * DAY)
    world.key("renewed", begins=-2 * DAY, ends=400 * DAY)
    world.key("renewed", begins=-DAY, ends=900 * DAY, purpose=Purpose.SIGNING)
    (key,) = world.admitted(world.order())
    assert delivery.certificate_for(key).not_after == world.clock.now() + 400 * DAY


def test_an_order_may_name_some_of_the_keys_and_none_but_the_persons(world: Deliveries) -> None:
    older, newer = world.key("older", ends=100 * DAY), world.key("newer")
    foreign = world.key("foreign", person=world.person("bob"))
    assert [key.id for key in world.admitted(world.order(key_ids=(older,)))] == [older]
    assert [key.id for key in world.admitted(world.order(key_ids=(older, newer)))] == [newer, older]
    assert "none of the person's" in refusal(world, key_ids=(older, foreign))


def test_a_device_of_somebody_else_gets_nothing(world: Deliveries) -> None:
    world.key("current")
    world.person("bob")
    assert "not this person's" in refusal(world, device=world.device("bobs", "bob"))
    assert "not this person's" in refusal(world, device=world.device("nobodys", None))
    assert "not active" in refusal(world, device=4711)


def test_who_is_not_active_gets_nothing_and_their_devices_neither(world: Deliveries) -> None:
    world.key("current")
    now = world.clock.now()
    world.store.write(lambda session: deactivate_device(session, world.phone, actor=ACTOR, now=now))
    assert refusal(world) == "nothing is delivered: the device is not active"
    world.store.write(lambda session: deactivate_person(session, world.alice, actor=ACTOR, now=now))
    assert refusal(world) == "nothing is delivered: the person is not active"
    assert "person is not active" in refusal(world, method=Method.INTUNE, device=None)


def test_there_must_be_a_key(world: Deliveries) -> None:
    world.key("signing", purpose=Purpose.SIGNING)
    assert refusal(world) == "the archive holds no encryption key of this person"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "pigeon"}, "no such method"),
        ({"device": None}, "registered device"),
        ({"method": Method.INTUNE}, "registered device"),
        ({"method": Method.LINK}, "has a link"),
        ({"token_digest": "0" * 64}, "has a link"),
        ({"expires_at": None}, "over before"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(world: Deliveries, changes: dict[str, object], words: str) -> None:
    world.key("current")
    assert words in refusal(world, **changes)


def test_a_method_that_is_switched_off_delivers_nothing(world: Deliveries) -> None:
    world.key("current")
    with pytest.raises(DeliveryRefused, match=r"not delivered by file here: archive\.delivery_methods"):
        world.store.write(lambda s: delivery.admit(s, world.order(), world.clock.now(), methods=[Method.LINK, Method.MAIL]))


def test_a_device_holds_a_key_once_it_was_handed_over_and_no_sooner(world: Deliveries) -> None:
    old, new = world.key("old", ends=10 * DAY), world.key("new")
    tablet = world.device("alice-tablet", "alice")
    number = world.deliver(world.order(separate=True))
    assert held(world, world.phone) == frozenset()
    told: list[Handed] = []
    hand(world, number, lambda _session, handed: told.append(handed))
    assert held(world, world.phone) == {old, new}
    assert held(world, tablet) == frozenset()
    assert told == [Handed(number, world.alice, world.phone, Method.FILE, (new, old))]


def test_a_delivery_is_handed_over_once(world: Deliveries) -> None:
    world.key("current")
    number = world.deliver(world.order())
    hand(world, number)
    for missing in (number, 4711):
        with pytest.raises(UnknownDelivery, match="ready to be handed over"):
            hand(world, missing)


def test_one_by_link_is_fetched_and_not_handed_over(world: Deliveries) -> None:
    world.key("current")
    number, _ = world.link()
    with pytest.raises(UnknownDelivery):
        hand(world, number)


def test_what_a_listener_refuses_is_not_handed_over(world: Deliveries) -> None:
    world.key("current")
    number = world.deliver(world.order())

    def refuse(_session: Session, _handed: Handed) -> None:
        raise DeliveryRefused("no")

    with pytest.raises(DeliveryRefused):
        hand(world, number, refuse)
    assert held(world, world.phone) == frozenset()
    hand(world, number)


def test_only_what_waits_at_a_link_is_kept_packed(world: Deliveries) -> None:
    world.key("current")
    by_link, token = world.link()
    by_file = world.deliver(world.order())
    with world.store.reading() as session:
        rows = {row.id: row for row in session.execute(select(_DELIVERY))}
    assert (rows[by_link].package, rows[by_link].token_digest) == (PACKAGE, token.digest)
    assert (rows[by_file].package, rows[by_file].token_digest) == (None, None)


def test_a_new_link_for_a_device_takes_the_place_of_the_one_that_waits(world: Deliveries) -> None:
    world.key("current")
    tablet = world.device("alice-tablet", "alice")
    (first, _), (beside, _) = world.link(), world.link(device=tablet)
    second, _ = world.link()
    with world.store.reading() as session:
        states = {each.id: each.state for each in delivery_register.matching(session, limit=10)}
        emptied = session.execute(select(_DELIVERY.c.package, _DELIVERY.c.token_digest).where(_DELIVERY.c.id == first)).one()
    assert states == {first: State.STOPPED, beside: State.READY, second: State.READY}
    assert tuple(emptied) == (None, None)
    (replaced,) = [event.details["replaces"] for event in events(world.store) if "replaces" in event.details]
    assert replaced == [first]


def test_every_step_is_an_audit_event_without_anything_secret(world: Deliveries) -> None:
    world.key("current")
    _, token = world.link()
    hand(world, world.deliver(world.order()))
    told = [event for event in events(world.store) if event.action.startswith("delivery.")]
    assert [event.action for event in told] == ["delivery.ordered", "delivery.ordered", "delivery.handed"]
    assert told[0].details["method"] == "link"
    assert told[0].details["device"] == world.phone
    for event in told:
        assert token.digest not in str(event.details)
        assert token.text not in str(event.details)


def test_deliveries_are_listed_by_person_device_and_state_the_newest_first(world: Deliveries) -> None:
    old, new = world.key("old", ends=10 * DAY), world.key("new")
    bob = world.person("bob")
    world.key("bobs", person=bob)
    bobs = world.device("bobs", "bob")
    one = world.deliver(world.order())
    two = world.deliver(world.order(person=bob, device=bobs))
    three = world.deliver(world.order(key_ids=(old,)))
    hand(world, one)
    with world.store.reading() as session:

        def listed(**wanted: object) -> list[int]:
            chosen = DeliveryFilter(**wanted)  # type: ignore[arg-type] # its fields
            return [each.id for each in delivery_register.matching(session, chosen, limit=10)]

        assert listed() == [three, two, one]
        assert listed(person=world.alice) == [three, one]
        assert listed(device=bobs) == [two]
        assert listed(state=State.READY) == [three, two]
        assert [each.id for each in delivery_register.matching(session, before=three, limit=1)] == [two]
        shown = delivery_register.get(session, one)
        (newest, oldest) = shown.keys
        assert delivery_register.get(session, three).keys == (oldest,)
        assert newest != oldest
        assert new != old
        with pytest.raises(UnknownDelivery):
            delivery_register.get(session, 4711)
    assert (shown.method, shown.state, shown.device, shown.ended_at) == (
        Method.FILE,
        State.HANDED,
        world.phone,
        world.clock.now(),
    )


def test_who_gets_a_device_later_finds_nothing_on_it(world: Deliveries) -> None:
    """The record stays with the keys: those are Alice's, whoever carries the phone."""
    key = world.key("current")
    hand(world, world.deliver(world.order()))
    world.person("bob")

    def pass_on(session: Session) -> None:
        fields = replace(get_device(session, world.phone).fields, owner="bob@example.com")
        assert isinstance(fields, DeviceFields)
        change_device(session, world.phone, fields, actor=ACTOR, now=world.clock.now())

    world.store.write(pass_on)
    assert held(world, world.phone) == {key}
    assert "not this person's" in refusal(world)


def test_an_order_whose_time_has_come_is_refused(world: Deliveries) -> None:
    world.key("current")
    order = world.order()
    world.clock.advance(timedelta(days=1))
    with pytest.raises(DeliveryRefused, match="over before"):
        world.admitted(order)


def test_two_who_hand_over_the_same_delivery_do_it_once(world: Deliveries) -> None:
    world.key("current")
    number = world.deliver(world.order())

    def late(session: Session) -> None:
        session.execute(update(_DELIVERY).where(_DELIVERY.c.id == number).values(state=str(State.STOPPED)))
        delivery.settle(session, number, State.HANDED, actor=ACTOR, now=world.clock.now())

    with pytest.raises(UnknownDelivery, match="is over"):
        world.store.write(late)
