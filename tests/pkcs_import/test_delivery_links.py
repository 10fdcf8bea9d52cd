"""One-time links: fetched once, by whoever has the token, while person and device are active; on both databases."""

import threading
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Row, select, update
from sqlmodel import Session

from ca.authorisation import PersonId
from foundation.tables import table_of
from people.devices import change_device, deactivate_device, get_device, reactivate_device
from people.persons import deactivate_person
from pkcs_import import delivery, delivery_ends, delivery_links
from pkcs_import.delivery import Handed, State
from pkcs_import.delivery_links import Offer, new_link
from pkcs_import.delivery_package import Package
from pkcs_import.errors import UnknownDelivery
from pkcs_import.records import Delivery
from signetry.database import Database
from tests.clocks import ManualClock
from tests.people.samples import events
from tests.pkcs_import.delivering import ACTOR, DAY, PACKAGE, Deliveries, prepared

_DELIVERY = table_of(Delivery)
NOWHERE = "this link leads to nothing, or to nothing any more: a link works once, and for a limited time"


@pytest.fixture
def world(store: Database, clock: ManualClock) -> Deliveries:
    made = prepared(store, clock)
    made.key("old", ends=10 * DAY)
    made.key("new")
    return made


def look(world: Deliveries, token: str) -> Offer:
    with world.store.reading() as session:
        return delivery_links.offered(session, token, now=world.clock.now())


def fetch(world: Deliveries, token: str, *listeners: delivery.HandedListener) -> Package:
    now = world.clock.now()
    return world.store.write(
        lambda session: delivery_links.fetch(session, token, origin="198.51.100.9", now=now, listeners=listeners)
    )


def leads_nowhere(world: Deliveries, token: str) -> bool:
    for attempt in (look, fetch):
        with pytest.raises(UnknownDelivery) as nowhere:
            attempt(world, token)
        assert str(nowhere.value) == NOWHERE
    return True


def change(world: Deliveries, number: int, **values: object) -> None:
    world.store.write(lambda session: session.execute(update(_DELIVERY).where(_DELIVERY.c.id == number).values(values)))


def test_looking_at_a_link_uses_nothing_up(world: Deliveries) -> None:
    number, token = world.link()
    for _ in range(3):
        assert look(world, token.text) == Offer(number, "alice-phone", 2, world.clock.now() + DAY)
    assert fetch(world, token.text).content == PACKAGE


def test_a_link_works_once_and_then_the_device_holds_the_keys(world: Deliveries) -> None:
    number, token = world.link()
    told: list[Handed] = []
    package = fetch(world, token.text, lambda _session, handed: told.append(handed))
    assert package == Package(f"mail-keys-{number}.p12", "application/x-pkcs12", PACKAGE)
    assert [(handed.delivery_id, handed.device, len(handed.key_ids)) for handed in told] == [(number, world.phone, 2)]
    with world.store.reading() as session:
        row = session.execute(select(_DELIVERY).where(_DELIVERY.c.id == number)).one()
        assert delivery.held_by(session, world.phone) == set(told[0].key_ids)
    assert (row.state, row.package, row.token_digest, row.ended_at) == (State.FETCHED, None, None, world.clock.now())
    assert leads_nowhere(world, token.text)
    (event,) = [event for event in events(world.store) if event.action == "delivery.fetched"]
    assert (event.actor, event.origin) == (f"link:{number}", "198.51.100.9")


def test_of_two_who_fetch_at_the_same_moment_one_gets_it(world: Deliveries) -> None:
    _, token = world.link()
    barrier, got = threading.Barrier(2), []

    def attempt() -> None:
        barrier.wait()
        try:
            got.append(fetch(world, token.text).content)
        except UnknownDelivery:
            got.append(b"nothing")

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [PACKAGE, b"nothing"]


def test_what_is_no_token_leads_nowhere(world: Deliveries) -> None:
    _, token = world.link()
    person, _, secret = token.text.partition("-")
    wrong = (
        "",
        "-",
        secret,
        token.text[:-1],
        token.text + "A",
        token.digest,
        f"0{token.text}",
        f"{person}-",
        "x" * 10_000,
        "\ud800",
    )
    for each in (*wrong, new_link(world.alice).text, token.text.replace(f"{person}-", "4711-", 1)):
        assert leads_nowhere(world, each), each
    assert fetch(world, token.text).content == PACKAGE


def test_a_digest_that_was_moved_to_another_persons_delivery_opens_nothing(world: Deliveries) -> None:
    """Who may write to the database and has a link of their own still cannot fetch by it what is somebody else's."""
    bob = world.person("bob")
    world.key("bobs", person=bob)
    bobs, _ = world.link(person=bob, device=world.device("bobs", "bob"))
    alices, token = world.link()
    change(world, alices, token_digest=None)
    change(world, bobs, token_digest=token.digest)
    assert leads_nowhere(world, token.text)


def test_a_link_ends_with_its_time(world: Deliveries) -> None:
    _, token = world.link()
    world.clock.advance(DAY)
    assert leads_nowhere(world, token.text)


def test_a_stopped_link_leads_nowhere(world: Deliveries) -> None:
    number, token = world.link()
    world.store.write(lambda session: delivery_ends.stop(session, number, actor=ACTOR, now=world.clock.now()))
    assert leads_nowhere(world, token.text)


def test_a_link_waits_while_its_device_is_not_active(world: Deliveries) -> None:
    _, token = world.link()
    now = world.clock.now()
    world.store.write(lambda session: deactivate_device(session, world.phone, actor=ACTOR, now=now))
    assert leads_nowhere(world, token.text)
    world.store.write(lambda session: reactivate_device(session, world.phone, actor=ACTOR, now=now))
    assert fetch(world, token.text).content == PACKAGE


def test_a_link_leads_nowhere_once_its_person_is_not_active(world: Deliveries) -> None:
    _, token = world.link()
    world.store.write(lambda session: deactivate_person(session, world.alice, actor=ACTOR, now=world.clock.now()))
    assert leads_nowhere(world, token.text)


def test_a_link_leads_nowhere_once_its_device_is_somebody_elses(world: Deliveries) -> None:
    _, token = world.link()
    world.person("bob")

    def pass_on(session: Session) -> None:
        fields = replace(get_device(session, world.phone).fields, owner="bob@example.com")
        change_device(session, world.phone, fields, actor=ACTOR, now=world.clock.now())

    world.store.write(pass_on)
    assert leads_nowhere(world, token.text)


def test_a_device_that_is_lost_at_this_very_moment_gets_nothing(world: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = world.link()
    found = delivery_links._found  # noqa: SLF001 - between looking and taking there is no other place to come in

    def lost_meanwhile(session: Session, token: str, now: datetime) -> Row[Any]:
        row = found(session, token, now)
        deactivate_device(session, world.phone, actor=ACTOR, now=now)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(delivery_links, "_found", lost_meanwhile)
        with pytest.raises(UnknownDelivery) as nowhere:
            fetch(world, token.text)
    assert str(nowhere.value) == NOWHERE
    assert fetch(world, token.text).content == PACKAGE


def test_what_cannot_be_told_to_all_who_wait_is_not_fetched(world: Deliveries) -> None:
    _, token = world.link()

    def fail(_session: Session, _handed: Handed) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fetch(world, token.text, fail)
    assert fetch(world, token.text).content == PACKAGE


def test_tokens_are_long_and_never_the_same_and_no_text_shows_them() -> None:

    tokens = [new_link(PersonId(17)) for _ in range(100)]
    assert len({token.text for token in tokens}) == len({token.digest for token in tokens}) == 100
    assert all(token.text.startswith("17-") and len(token.text) == 3 + 43 for token in tokens)
    assert tokens[0].text not in repr(tokens[0])
    assert tokens[0].digest not in repr(tokens[0])
    assert PACKAGE.decode() not in repr(Package("x.p12", "x", PACKAGE))
